use proptest::prelude::*;

use super::*;

const NODES: u8 = 20;
const UNITS: u8 = 4;
/// Time after which the log is right, at [`NODES`] and [`UNITS`]: until all other lines are written.
const LASTING: Duration = Duration::from_secs(480);

fn at(seconds: u64) -> BootInstant {
    BootInstant::at(Duration::from_secs(seconds))
}

fn outlier(node: &str) -> UnitOutlier {
    UnitOutlier { node: node.into(), unit: None, value: 85.0 }
}

fn outliers(nodes: &[&str]) -> Findings {
    Findings { outliers: nodes.iter().map(|node| outlier(node)).collect(), ..Findings::default() }
}

fn over(node: &str) -> Line<'static> {
    Line::Over(Key::Outlier(node.into(), None))
}

#[test]
fn outlier_is_logged_once_until_it_was_in_range_for_some_cycles() {
    let mut log = FindingsLog::default();
    let mut now = BootInstant::default();
    let (present, none) = (outliers(&["7"]), Findings::default());
    let mut update = |findings| {
        now = now + Duration::from_secs(10);
        log.update(now, findings)
    };
    let outlier = &present.outliers[0];
    assert_eq!(update(&present), [Line::Outlier { outlier, repeats: None }]);
    for _ in 1..QUIET_CYCLES {
        assert_eq!(update(&none), []);
    }
    assert_eq!(update(&present), [], "it was in range for too short a time");
    for _ in 1..QUIET_CYCLES {
        assert_eq!(update(&none), []);
    }
    assert_eq!(update(&none), [over("7")]);
    assert_eq!(update(&present), [Line::Outlier { outlier, repeats: None }]);
}

#[test]
fn outlier_that_returns_within_a_minute_is_counted() {
    let mut log = FindingsLog::default();
    let (present, none) = (outliers(&["7"]), Findings::default());
    assert_eq!(log.update(at(0), &present).len(), 1);
    for second in 1..20 {
        let lines = log.update(at(second), &none);
        assert_eq!(lines, if second == 10 { vec![over("7")] } else { vec![] });
    }
    for start in [20, 40] {
        assert_eq!(log.update(at(start), &present), [], "at {start}");
        (1..20).for_each(|second| assert_eq!(log.update(at(start + second), &none), []));
    }
    assert_eq!(
        log.update(at(60), &present),
        [Line::Outlier { outlier: &present.outliers[0], repeats: Some(2) }]
    );
}

#[test]
fn withheld_value_that_flaps_is_logged_once_a_minute() {
    let mut log = FindingsLog::default();
    let withheld = Withheld { unit: None, value: 21.5, nodes: 2, needed: 3 };
    let (present, none) = (Findings { withheld: vec![withheld], ..Findings::default() }, Findings::default());
    let withheld = &present.withheld[0];
    for second in 0..120 {
        let lines = log.update(at(second), if second % 2 == 0 { &present } else { &none });
        let repeats = if second == 60 { Some(29) } else { None };
        match second % 60 {
            0 => assert_eq!(lines, [Line::Withheld { withheld, repeats }]),
            1 => assert_eq!(lines, [Line::Over(Key::Withheld(None))], "at {second}"),
            _ => assert_eq!(lines, [], "at {second}"),
        }
    }
}

#[test]
fn outliers_that_are_remembered_are_bounded() {
    let mut log = FindingsLog::default();
    for node in 0..2 * MAX_KNOWN {
        log.update(BootInstant::default(), &outliers(&[&node.to_string()]));
    }
    assert!(log.known.len() <= MAX_KNOWN);
    let nodes: Vec<String> = (0..2 * MAX_KNOWN).map(|node| node.to_string()).collect();
    log.update(BootInstant::default(), &outliers(&nodes.iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(log.known.len() <= MAX_KNOWN);
}

#[test]
fn log_of_a_fleet_of_a_thousand_nodes_whose_values_jump_is_bounded() {
    let mut log = FindingsLog::default();
    let nodes: Vec<String> = (0..1_000).map(|node| node.to_string()).collect();
    let (mut lines, mut unlogged) = (0, 0);
    for cycle in 0..6_000u64 {
        let named: Vec<&str> =
            (0..16).map(|number| nodes[((cycle * 37 + number * 61) % 1_000) as usize].as_str()).collect();
        let now = BootInstant::at(Duration::from_millis(cycle * 100));
        for line in log.update(now, &outliers(&named)) {
            lines += 1;
            if let Line::Summary(count, nodes) = line {
                unlogged += count;
                assert_eq!(nodes.split(", ").count(), MAX_NAMES);
            }
        }
        assert!(log.known.len() < 300, "{}", log.known.len());
    }
    // 10 minutes.
    assert!(lines <= 10 * (MAX_LINES + 1), "{lines} lines");
    assert!(unlogged > 10_000, "the summaries name {unlogged}");
}

/// Knowledge of a reader of the log, and the true state.
#[derive(Default)]
struct Model {
    /// Keys that the log shows as present.
    shown: BTreeSet<Key>,
    warned: BTreeMap<Key, BootInstant>,
    lines: Vec<BootInstant>,
    summaries: Vec<BootInstant>,
    /// Occurrences that the log names.
    logged: u32,
    /// Time and number of the first of the cycles in which the key was seen, or was not seen, without exception.
    last_change: BTreeMap<Key, (bool, BootInstant, u32)>,
    cycle: u32,
    occurrences: u32,
}

impl Model {
    fn check(&mut self, now: BootInstant, findings: &Findings, lines: &[Line<'_>]) {
        for line in lines {
            if let Line::Summary(count, _) = line {
                self.summaries.push(now);
                self.logged += count;
                continue;
            }
            self.lines.push(now);
            match line {
                Line::Over(key) => assert!(self.shown.remove(key), "{key:?} is over for the second time"),
                Line::Outlier { outlier, repeats } => self.warn(now, Finding::Outlier(outlier), *repeats),
                Line::Withheld { withheld, repeats } => self.warn(now, Finding::Withheld(withheld), *repeats),
                Line::Summary(..) => {}
            }
        }
        for (lines, max) in [(&self.lines, MAX_LINES), (&self.summaries, 1)] {
            let recent = lines.iter().rev().take_while(|line| now.since(**line) < INTERVAL).count();
            assert!(recent <= max, "{recent} lines within {INTERVAL:?}");
        }
        self.see(now, findings);
    }

    fn warn(&mut self, now: BootInstant, finding: Finding<'_>, repeats: Option<u32>) {
        let key = finding.key();
        self.logged += 1 + repeats.unwrap_or(0);
        assert!(self.shown.insert(key.clone()), "{key:?} is logged although the log shows it");
        if let Some(last) = self.warned.insert(key, now) {
            assert!(now.since(last) >= INTERVAL, "two warnings within {:?}", now.since(last));
        }
    }

    fn see(&mut self, now: BootInstant, findings: &Findings) {
        self.cycle += 1;
        let outliers = findings.outliers.iter().map(Finding::Outlier);
        let seen: BTreeSet<Key> =
            outliers.chain(findings.withheld.iter().map(Finding::Withheld)).map(Finding::key).collect();
        for key in &seen {
            let absent = match self.last_change.get(key) {
                None => u32::MAX,
                Some((false, _, cycle)) => self.cycle - cycle,
                Some((true, ..)) => continue,
            };
            self.occurrences += u32::from(absent >= key.quiet_cycles());
            self.last_change.insert(key.clone(), (true, now, self.cycle));
        }
        for (key, (is_seen, since, cycle)) in &mut self.last_change {
            if *is_seen && !seen.contains(key) {
                (*is_seen, *since, *cycle) = (false, now, self.cycle);
            }
            if now.since(*since) >= LASTING && self.cycle - *cycle >= key.quiet_cycles() {
                assert_eq!(self.shown.contains(key), *is_seen, "{key:?} since {:?}", now.since(*since));
            }
        }
    }
}

/// Returns whether a key of this behaviour is seen in a cycle.
fn is_seen(behaviour: u8, random: u64) -> bool {
    match behaviour {
        0 => false,
        1 => true,
        2 => random.is_multiple_of(2),
        _ => random.is_multiple_of(16),
    }
}

/// Returns a random number that depends on all three.
fn random(seed: u64, cycle: u64, key: usize) -> u64 {
    let mixed = (seed ^ cycle.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(key as u64 + 1);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33
}

fn findings(behaviours: &[u8], seed: u64, cycle: u64) -> Findings {
    let mut findings = Findings::default();
    for (key, behaviour) in behaviours.iter().enumerate() {
        if !is_seen(*behaviour, random(seed, cycle, key)) {
            continue;
        }
        if key < usize::from(NODES) {
            findings.outliers.push(outlier(&key.to_string()));
        } else {
            findings.withheld.push(Withheld { unit: Some(key.to_string()), value: 1.0, nodes: 1, needed: 2 });
        }
    }
    findings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Each phase: number of cycles, period in milliseconds, behaviour of each key.
    #[test]
    fn log_is_bounded_and_names_all_that_lasts_and_counts_the_rest(
        phases in prop::collection::vec(
            (1u64..200, 50u64..10_000, prop::collection::vec(0u8..4, usize::from(NODES + UNITS))), 1..6),
        seed: u64,
    ) {
        let (mut log, mut model) = (FindingsLog::default(), Model::default());
        let (mut now, mut number) = (BootInstant::default(), 0);
        // Then a quiet time, in which all lines that are due are written.
        let quiet = (200, 10_000, vec![0; usize::from(NODES + UNITS)]);
        for (cycles, period, behaviours) in phases.into_iter().chain([quiet]) {
            for _ in 0..cycles {
                now = now + Duration::from_millis(period);
                number += 1;
                let findings = findings(&behaviours, seed, number);
                let lines = log.update(now, &findings);
                model.check(now, &findings, &lines);
            }
        }
        prop_assert_eq!(model.logged, model.occurrences);
        prop_assert!(log.known.is_empty() && log.unlogged.is_none());
    }
}

//! Hand-written contents of a collector: allowed ones, and violations.

use std::collections::BTreeMap;

use super::averages::Average;
use super::delivery::ExpectedReport;
use super::store::check;
use crate::chaos::check_report::{CheckReport, Violation};
use crate::collector::StoredReport;

const TIME: i64 = 1_000_000;

/// Three cycles of epoch 7, and two of epoch 8.
const CYCLES: [(i64, u64); 5] = [(7, 1), (7, 2), (7, 3), (8, 4), (8, 5)];

fn expected() -> BTreeMap<String, ExpectedReport> {
    let expected = |(epoch, cycle): (i64, u64)| {
        let average = Average { mean: cycle as f64, min: 0.0, max: 9.0, count: 3 };
        let time = Some(TIME + cycle as i64);
        let expected =
            ExpectedReport { cycle, average, time, committed: TIME, deleted: None, is_young: false };
        (format!("{epoch}-{cycle}"), expected)
    };
    CYCLES.into_iter().map(expected).collect()
}

fn stored() -> Vec<StoredReport> {
    let stored = |(epoch, cycle): (i64, u64)| StoredReport {
        id: cycle as i64,
        epoch: Some(epoch),
        cycle: Some(cycle),
        unit: None,
        time: TIME + cycle as i64,
        mean: cycle as f64,
        min: Some(0.0),
        max: Some(9.0),
        count: Some(3),
        received: TIME + 50,
        reporter: None,
    };
    CYCLES.into_iter().map(stored).collect()
}

/// Reports sent by GET contain only the mean.
fn bare() -> Vec<StoredReport> {
    stored().into_iter().map(|stored| StoredReport { min: None, max: None, count: None, ..stored }).collect()
}

#[track_caller]
fn finds(stored: &[StoredReport], posted: bool, kinds: &[Violation]) {
    let mut findings = CheckReport::default();
    check(stored, &expected(), posted, 5, &mut findings);
    let found: Vec<Violation> = findings.violations.iter().map(|violation| violation.kind).collect();
    assert_eq!(found, kinds, "{:#?}", findings.violations);
}

#[test]
fn what_is_right() {
    finds(&stored(), true, &[]);
    finds(&bare(), false, &[]);
    // A report that was delayed arrived after those of a later leader.
    let mut late = stored();
    late.rotate_left(1);
    finds(&late, true, &[]);
}

#[test]
fn what_is_held_twice() {
    let mut twice = stored();
    twice.push(twice[1].clone());
    finds(&twice, true, &[Violation::Twice]);
}

#[test]
fn what_was_told_and_is_not_known_and_the_other_way_round() {
    finds(&bare(), true, &[Violation::Altered; 5]);
    finds(&stored(), false, &[Violation::Altered; 5]);
}

#[test]
fn another_value() {
    let alter: [fn(&mut StoredReport); 6] = [
        |stored| stored.min = Some(1.0),
        |stored| stored.max = Some(1.0),
        |stored| stored.count = Some(2),
        |stored| stored.count = None,
        |stored| stored.min = Some(-0.0),
        |stored| stored.time += 2,
    ];
    for alter in alter {
        let mut altered = stored();
        alter(&mut altered[2]);
        finds(&altered, true, &[Violation::Altered]);
    }
}

#[test]
fn a_gap() {
    for gap in 0..4 {
        let mut gapped = stored();
        gapped.remove(gap);
        finds(&gapped, true, &[Violation::Gap]);
    }
    // The newest report may still be on its way, which is not a gap.
    let mut young = stored();
    young.pop();
    finds(&young, true, &[]);
}

#[test]
fn what_a_deposed_leader_said_whenever_it_came() {
    for at in 0..=5 {
        let mut stale = stored();
        stale.insert(at, StoredReport { epoch: Some(7), cycle: Some(4), ..stale[3].clone() });
        finds(&stale, true, &[Violation::Deposed]);
    }
}

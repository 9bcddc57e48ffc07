//! Hand-written histories: correct ones, and for each promise one that breaks it.

use std::collections::BTreeMap;

use super::*;
use crate::collector::Held;
use crate::journal::{Change, Transaction};

/// Time between two events, in milliseconds: long enough that no write is too late.
const STEP: i64 = 2_000;

/// A fleet with the history that a test writes.
#[derive(Clone)]
pub(super) struct Story {
    pub(super) evidence: Evidence,
    pub(super) now: i64,
    pub(super) epoch: i64,
    pub(super) cycle: u64,
    counter: i64,
    /// Path of each session's znode in the election.
    pub(super) places: BTreeMap<i64, String>,
    /// Last measurement of each node.
    pub(super) values: BTreeMap<String, f64>,
}

pub(super) fn set(path: &str, data: impl ToString) -> Change {
    Change::Set { path: path.into(), data: data.to_string().into() }
}

pub(super) fn create(path: &str, data: impl ToString) -> Change {
    Change::Create { path: path.into(), data: data.to_string().into(), ephemeral: false }
}

pub(super) fn ephemeral(path: &str, data: impl ToString) -> Change {
    Change::Create { path: path.into(), data: data.to_string().into(), ephemeral: true }
}

pub(super) fn delete(path: &str) -> Change {
    Change::Delete { path: path.into() }
}

impl Story {
    /// Creates the history of a fleet without nodes.
    pub(super) fn new(lock_step: bool) -> Story {
        let evidence =
            Evidence { lock_step, counted: true, life: i64::MAX, settled: u64::MAX, ..Evidence::default() };
        Story {
            evidence,
            now: 0,
            epoch: 1_000,
            cycle: 0,
            counter: 0,
            places: BTreeMap::new(),
            values: BTreeMap::new(),
        }
    }

    /// Creates nodes 1, 2, 3 in sessions 1, 2, 3; the first leads.
    pub(super) fn begun(lock_step: bool) -> Story {
        let mut story = Story::new(lock_step);
        (1..=3).for_each(|session| story.joins(session, session));
        story.commit(1, vec![story.check(1), create("/atalaya/term", r#"{"epoch":1000,"cycle":0}"#)]);
        if lock_step {
            story.commit(1, vec![story.check(1), create("/barrier", "")]);
        }
        story
    }

    pub(super) fn commit(&mut self, session: i64, changes: Vec<Change>) {
        self.now += STEP;
        let transaction = Transaction { zxid: self.now, session, time: self.now, changes };
        self.evidence.transactions.push(transaction);
    }

    pub(super) fn joins(&mut self, session: i64, node: i64) {
        self.commit(session, vec![Change::Opened]);
        let place = format!("/election/abc__lock__{:010}", self.places.len());
        self.commit(session, vec![ephemeral(&place, node)]);
        self.places.insert(session, place);
        let said = format!(r#"{{"pid":{node},"started":"x"}}"#);
        self.commit(session, vec![ephemeral(&format!("/atalaya/nodes/{node}"), said)]);
    }

    pub(super) fn check(&self, session: i64) -> Change {
        Change::Check { path: self.places[&session].clone() }
    }

    pub(super) fn publishes(&mut self, session: i64, value: f64) {
        self.counter += 1;
        let path = format!("/mediciones/{session}");
        let measurement = match self.values.insert(session.to_string(), value) {
            None => ephemeral(&path, value),
            Some(_) => set(&path, value),
        };
        self.commit(session, vec![measurement, set("/counter", self.counter)]);
    }

    pub(super) fn term(&self) -> String {
        format!(r#"{{"epoch":{},"cycle":{}}}"#, self.epoch, self.cycle)
    }

    /// Returns the changes of a cycle of this leader with this average.
    pub(super) fn cycle_of(&mut self, session: i64, values: &[f64]) -> Vec<Change> {
        self.cycle += 1;
        let (epoch, cycle) = (self.epoch, self.cycle);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let count = values.len();
        let report = serde_json::json!({"epoch": epoch, "cycle": cycle, "time": "x", "excluded": 0,
            "averages": [{"mean": mean, "min": min, "max": max, "count": count}]});
        let outbox = create(&format!("/atalaya/reports/{cycle}"), report);
        let mut changes = vec![self.check(session), set("/atalaya/term", self.term()), outbox];
        if self.evidence.lock_step {
            changes.extend([delete("/barrier"), create("/barrier", "")]);
        }
        changes
    }

    pub(super) fn all(&self) -> Vec<f64> {
        self.values.values().copied().collect()
    }

    /// Commits and delivers a correct cycle of all nodes.
    pub(super) fn cycles(&mut self, session: i64) {
        let changes = self.cycle_of(session, &self.all());
        self.commit(session, changes);
        self.arrives(self.epoch, self.cycle);
        self.is_done(session);
    }

    pub(super) fn is_done(&mut self, session: i64) {
        let done = vec![self.check(session), delete(&format!("/atalaya/reports/{}", self.cycle))];
        self.commit(session, done);
    }

    pub(super) fn arrives(&mut self, epoch: i64, cycle: u64) {
        let all = self.all();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        self.brings(epoch, cycle, mean);
    }

    pub(super) fn brings(&mut self, epoch: i64, cycle: u64, mean: f64) {
        self.now += STEP;
        self.evidence.arrivals.push(Arrival {
            key: Some(format!("{epoch}-{cycle}")),
            mean: Some(mean),
            time: self.now,
            kept: true,
            node: Some("1".into()),
        });
    }

    pub(super) fn leads(&mut self, session: i64) {
        self.epoch += 1;
        let changes = vec![self.check(session), set("/atalaya/term", self.term())];
        self.commit(session, changes);
    }

    /// Publishes a measurement of each node, and commits a cycle.
    pub(super) fn round(&mut self, session: i64) {
        for node in 1..=3 {
            let value = self.now as f64 + node as f64;
            self.publishes(node, value);
        }
        self.cycles(session);
    }

    pub(super) fn judged(&self) -> Verdict {
        judge(&self.evidence)
    }

    #[track_caller]
    pub(super) fn is_good(&self) -> Figures {
        let verdict = self.judged();
        assert_eq!(verdict.violations, []);
        verdict.figures
    }

    #[track_caller]
    pub(super) fn breaks(&self, kinds: &[Kind]) {
        let verdict = self.judged();
        let mut found: Vec<Kind> = verdict.violations.iter().map(|violation| violation.kind).collect();
        found.sort();
        found.dedup();
        assert_eq!(found, kinds, "{:#?}", verdict.violations);
    }
}

/// Returns a history of two rounds without lock-step, in which only the first of the three nodes leads.
fn free() -> Story {
    let mut story = Story::begun(false);
    story.round(1);
    story.round(1);
    story
}

fn in_step() -> Story {
    let mut story = Story::begun(true);
    story.round(1);
    story.round(1);
    story
}

#[test]
fn a_fleet_that_works() {
    let figures = free().is_good();
    assert_eq!((figures.epochs, figures.reports, figures.measurements, figures.requests), (1, 2, 6, 2));
    let figures = in_step().is_good();
    assert_eq!((figures.reports, figures.measurements, figures.missed, figures.repeats), (2, 6, 0, 0));
    assert_eq!(figures.longest_delay, STEP);
}

#[test]
fn a_leader_that_dies_at_any_moment_between() {
    for lock_step in [false, true] {
        let mut story = Story::begun(lock_step);
        story.round(1);
        (1..=3).for_each(|node| story.publishes(node, 7.0 * node as f64));
        let (epoch, all) = (story.epoch, story.all());
        let changes = story.cycle_of(1, &all);
        story.commit(1, changes);
        // It dies after the API has received the report, and before the leader has the answer.
        let cycle = story.cycle;
        story.arrives(epoch, cycle);
        story.commit(1, vec![Change::Closed]);
        story.values.remove("1");
        story.leads(2);
        story.arrives(epoch, cycle);
        story.evidence.arrivals.last_mut().unwrap().mean = story.evidence.arrivals[1].mean;
        story.is_done(2);
        story.publishes(2, 40.0);
        story.publishes(3, 41.0);
        story.cycles(2);
        let figures = story.is_good();
        assert_eq!((figures.repeats, figures.epochs), (1, 2));
    }
}

#[test]
fn whatever_was_current_while_the_fleet_was_read() {
    let mut story = free();
    let before = story.all();
    story.publishes(2, 500.0);
    let between = story.all();
    story.publishes(3, 600.0);
    let after = story.all();
    let mixed = vec![before[0], before[1], after[2]];
    for values in [&before, &between, &after, &mixed] {
        let mut story = story.clone();
        let changes = story.cycle_of(1, values);
        story.commit(1, changes);
        story.evidence.settled = 2;
        story.is_good();
    }
    // A measurement that existed all the time cannot be missing, and measurements older than the previous cycle are
    // replaced.
    for values in [&before[..2], &[1.0, 2.0, 3.0][..]] {
        let mut story = story.clone();
        let changes = story.cycle_of(1, values);
        story.commit(1, changes);
        story.evidence.settled = 2;
        story.breaks(&[Kind::WrongMean]);
    }
}

#[test]
fn in_lock_step_what_was_measured_in_the_generation() {
    let mut story = in_step();
    let old = story.all();
    story.publishes(1, 10.0);
    story.publishes(2, 20.0);
    for (values, is_good) in [
        // The third has not measured yet: it is left out, or its old measurement was read.
        (vec![10.0, 20.0], true),
        (vec![10.0, 20.0, old[2]], true),
        (vec![10.0, old[1], old[2]], false),
        (vec![10.0], false),
    ] {
        let mut story = story.clone();
        let changes = story.cycle_of(1, &values);
        story.commit(1, changes);
        story.evidence.settled = 2;
        story.breaks(if is_good { &[] } else { &[Kind::WrongMean] });
    }
}

/// The leader estimates the servers' clock, and the estimate may be wrong. It is certain that the leader read the fleet
/// before it committed.
#[test]
fn a_leader_whose_guess_of_the_time_is_late() {
    let mut story = in_step();
    let old = story.all();
    story.publishes(1, 10.0);
    story.publishes(2, 20.0);
    story.publishes(3, 30.0);
    for (before, late, is_good) in [(82, 92, true), (82, 0, true), (400, 92, false)] {
        let mut story = story.clone();
        story.evidence.transactions.last_mut().unwrap().time += STEP - before;
        let mut changes = story.cycle_of(1, &[10.0, 20.0, old[2]]);
        let read = story.now + STEP + late;
        let time =
            format!("1970-01-01T00:{:02}:{:02}.{:03}Z", read / 60_000, read / 1_000 % 60, read % 1_000);
        for change in &mut changes {
            if let Change::Create { data, .. } = change {
                *data = String::from_utf8_lossy(data)
                    .replace(r#""time":"x""#, &format!(r#""time":"{time}""#))
                    .into();
            }
        }
        story.commit(1, changes);
        story.evidence.settled = 2;
        story.breaks(if is_good { &[] } else { &[Kind::WrongMean] });
    }
}

#[test]
fn in_lock_step_what_is_missed_by_a_moment_each_time() {
    let mut story = in_step();
    for turn in 0..3 {
        story.round(1);
        for node in 1..=3 {
            story.publishes(node, 1e6 + f64::from(turn) * 10.0 + node as f64);
        }
        // Read right after the last of them was published.
        story.evidence.transactions.last_mut().unwrap().time += STEP - 10;
        let mut without: Vec<f64> = story.all();
        without.pop();
        let changes = story.cycle_of(1, &without);
        story.commit(1, changes);
    }
    story.evidence.settled = 2;
    let verdict = story.judged();
    let wrong = verdict.violations.iter().filter(|violation| violation.kind == Kind::WrongMean).count();
    assert_eq!((verdict.figures.missed, wrong), (3, 1), "{:#?}", verdict.violations);
}

#[test]
fn what_is_too_old_to_count() {
    let mut story = free();
    story.publishes(1, 10.0);
    let all = story.all();
    let changes = story.cycle_of(1, &all[..1]);
    story.commit(1, changes);
    story.evidence.settled = 2;
    story.breaks(&[Kind::WrongMean]);
    story.evidence.life = 2 * STEP;
    story.is_good();
}

#[test]
fn in_lock_step_a_cycle_may_come_to_nothing_if_nobody_measures() {
    let mut story = in_step();
    story.values.clear();
    for node in 1..=3 {
        story.commit(node, vec![delete(&format!("/mediciones/{node}"))]);
    }
    let empty =
        vec![story.check(1), set("/atalaya/term", story.term()), delete("/barrier"), create("/barrier", "")];
    story.commit(1, empty.clone());
    story.round(1);
    story.is_good();
    story.round(1);
    story.publishes(2, 5.0);
    let empty =
        vec![story.check(1), set("/atalaya/term", story.term()), delete("/barrier"), create("/barrier", "")];
    story.commit(1, empty);
    story.evidence.life = i64::MAX;
    story.breaks(&[Kind::Generation]);
}

#[test]
fn a_new_session_says_again_what_was_measured_and_it_is_not_counted_again() {
    let mut story = free();
    let value = story.values["3"];
    story.commit(3, vec![Change::Closed]);
    story.joins(4, 3);
    let again = ephemeral("/mediciones/3", value);
    let mut good = story.clone();
    good.commit(4, vec![again.clone()]);
    good.is_good();
    story.commit(4, vec![again, set("/counter", story.counter + 1)]);
    story.breaks(&[Kind::Miscounted]);
}

#[test]
fn a_gap_in_the_cycles() {
    let mut story = free();
    story.cycle += 1;
    story.round(1);
    story.breaks(&[Kind::Cycle]);
}

#[test]
fn a_cycle_without_its_report_and_a_report_without_its_cycle() {
    let mut story = free();
    story.cycle += 1;
    let term = vec![story.check(1), set("/atalaya/term", story.term())];
    story.commit(1, term);
    story.breaks(&[Kind::Cycle, Kind::Epoch]);
    let mut story = free();
    let all = story.all();
    let mut changes = story.cycle_of(1, &all);
    changes.remove(1);
    story.commit(1, changes);
    story.evidence.settled = 2;
    story.breaks(&[Kind::Cycle]);
}

#[test]
fn an_epoch_that_goes_back_or_jumps_or_is_lost() {
    for epoch in [998, 999, 1_001] {
        let mut story = free();
        story.commit(1, vec![Change::Closed]);
        story.epoch = epoch;
        story.leads(2);
        story.breaks(&[Kind::Epoch]);
    }
    let mut story = free();
    story.commit(1, vec![story.check(1), delete("/atalaya/term")]);
    story.breaks(&[Kind::Epoch]);
}

#[test]
fn somebody_who_does_not_lead() {
    let mut story = free();
    story.round(2);
    story.breaks(&[Kind::NotTheLeader]);
}

#[test]
fn a_leader_that_does_not_check_its_own_znode() {
    let mut story = free();
    let all = story.all();
    let mut changes = story.cycle_of(1, &all);
    changes.remove(0);
    story.commit(1, changes);
    story.evidence.settled = 2;
    story.breaks(&[Kind::Unfenced]);
}

#[test]
fn a_report_that_never_arrives() {
    let mut story = free();
    story.evidence.arrivals.pop();
    story.breaks(&[Kind::Lost]);
    let mut story = free();
    story.evidence.arrivals[1].kept = false;
    story.breaks(&[Kind::Lost]);
}

#[test]
fn a_report_that_was_never_committed() {
    let mut story = free();
    story.brings(1_000, 3, 78.0);
    story.breaks(&[Kind::NotCommitted]);
}

#[test]
fn a_report_with_another_value_also_when_it_is_sent_again() {
    let mut story = free();
    story.brings(1_000, 2, 78.0);
    story.breaks(&[Kind::Altered]);
}

#[test]
fn a_report_that_is_sent_before_it_is_committed() {
    let mut story = free();
    story.evidence.arrivals[1].time -= 5 * STEP / 2;
    story.breaks(&[Kind::Early]);
}

#[test]
fn a_deposed_leader_that_speaks_and_one_whose_last_words_come_late() {
    let mut story = free();
    let all = story.all();
    let changes = story.cycle_of(1, &all);
    story.commit(1, changes);
    let mean = all.iter().sum::<f64>() / 3.0;
    story.commit(1, vec![Change::Closed]);
    story.values.remove("1");
    story.leads(2);
    let (last, epoch) = (story.cycle, story.epoch);
    for node in [2, 3] {
        story.publishes(node, 5.0 * node as f64);
    }
    story.cycles(2);
    story.brings(epoch - 1, last, mean);
    let done = vec![story.check(2), delete(&format!("/atalaya/reports/{last}"))];
    story.commit(2, done);
    let figures = story.is_good();
    assert_eq!(
        (figures.out_of_order, figures.late),
        (1, 2),
        "the story's requests all say that they are node 1's"
    );
    // An uncommitted report of an epoch that has ended.
    story.brings(epoch - 1, last + 1, 78.0);
    story.breaks(&[Kind::NotCommitted, Kind::Deposed]);
}

#[test]
fn a_request_without_a_key() {
    let mut story = free();
    story.evidence.arrivals.push(Arrival { key: None, ..story.evidence.arrivals[0].clone() });
    story.breaks(&[Kind::Unkeyed]);
}

#[test]
fn a_report_that_is_taken_from_the_outbox_too_soon() {
    let mut story = free();
    story.evidence.arrivals[1].time += 5 * STEP / 2;
    story.breaks(&[Kind::TooSoon]);
}

#[test]
fn what_is_left() {
    let mut story = free();
    story.evidence.transactions.pop();
    story.breaks(&[Kind::Left]);
    story.evidence.settled = 1;
    story.is_good();
    let mut story = free();
    story.commit(1, vec![story.check(1), create("/atalaya/aside/2", "{}")]);
    story.breaks(&[Kind::Left]);
}

#[test]
fn a_measurement_that_is_not_counted() {
    let mut story = free();
    story.commit(2, vec![set("/mediciones/2", 99)]);
    story.breaks(&[Kind::NotCounted, Kind::Miscounted]);
}

#[test]
fn a_measurement_that_is_counted_twice() {
    let mut story = free();
    story.counter += 1;
    story.publishes(2, 99.0);
    story.breaks(&[Kind::Miscounted]);
    let mut story = free();
    story.commit(2, vec![set("/counter", 7)]);
    story.breaks(&[Kind::Miscounted]);
    let mut story = free();
    story.commit(2, vec![set("/counter", "many")]);
    story.breaks(&[Kind::Miscounted]);
}

#[test]
fn somebody_measures_more_often_than_there_are_generations() {
    let mut story = in_step();
    story.publishes(2, 97.0);
    // These may have been published late, for the previous generations.
    story.publishes(2, 97.5);
    story.publishes(2, 98.0);
    assert_eq!(story.is_good().again, 2);
    let mut again = story.clone();
    again.publishes(2, 99.0);
    again.breaks(&[Kind::MeasuredTwice]);
    let mut again = story.clone();
    again.cycles(1);
    again.publishes(2, 99.0);
    again.publishes(2, 100.0);
    again.breaks(&[Kind::MeasuredTwice]);
    // Another process of that node may measure.
    story.commit(2, vec![Change::Closed]);
    story.joins(4, 2);
    let said = r#"{"pid":77,"started":"y"}"#;
    story.commit(4, vec![ephemeral("/atalaya/nodes/2", said)]);
    story.counter += 1;
    story.commit(4, vec![ephemeral("/mediciones/2", 99), set("/counter", story.counter)]);
    story.is_good();
}

#[test]
fn a_cycle_in_the_same_generation_and_a_generation_without_a_cycle() {
    let mut story = in_step();
    (1..=3).for_each(|node| story.publishes(node, 7.0 * node as f64));
    let all = story.all();
    let mut changes = story.cycle_of(1, &all);
    changes.truncate(3);
    story.commit(1, changes);
    story.evidence.settled = 2;
    story.breaks(&[Kind::Generation]);
    let mut story = in_step();
    story.commit(1, vec![story.check(1), delete("/barrier"), create("/barrier", "")]);
    story.breaks(&[Kind::Generation]);
}

#[test]
fn a_barrier_that_is_open_between_two_cycles() {
    let mut story = in_step();
    story.commit(1, vec![story.check(1), delete("/barrier")]);
    story.commit(1, vec![story.check(1), create("/barrier", "")]);
    story.is_good();
    story.round(1);
    story.breaks(&[Kind::Open]);
}

/// Returns the history of [`free`] with a collector that stores what arrived.
fn collected() -> Story {
    let mut story = free();
    let held = |(arrival, id): (&Arrival, i64)| {
        let (epoch, cycle) = arrival.key.as_ref()?.split_once('-')?;
        Some(Held {
            id,
            epoch: epoch.parse().ok(),
            cycle: cycle.parse().ok(),
            unit: None,
            time: arrival.time,
            mean: arrival.mean?,
            min: None,
            max: None,
            count: None,
            received: arrival.time,
            reporter: Some("atalaya/1 (node 1)".into()),
        })
    };
    story.evidence.held = story.evidence.arrivals.iter().zip(1..).map(held).collect();
    let arrivals = story.evidence.held.iter().flatten().map(Arrival::from).collect::<Vec<_>>();
    assert_eq!(arrivals, story.evidence.arrivals, "they tell the same");
    story
}

#[test]
fn what_a_collector_holds_is_judged() {
    collected().is_good();
    let breaks = |alter: fn(&mut Vec<Held>), kinds: &[Kind]| {
        let mut story = collected();
        let held = story.evidence.held.as_mut().unwrap();
        alter(held);
        story.evidence.arrivals = held.iter().map(Arrival::from).collect();
        story.breaks(kinds);
    };
    breaks(|held| held.push(held[1].clone()), &[Kind::Twice]);
    breaks(|held| drop(held.remove(0)), &[Kind::Lost, Kind::Gap]);
    breaks(|held| drop(held.pop()), &[Kind::Lost]);
    breaks(|held| held[0].mean += 1.0, &[Kind::Altered]);
    breaks(|held| held[0].count = Some(3), &[Kind::Altered]);
    breaks(|held| held[0].epoch = None, &[Kind::Lost, Kind::Unkeyed]);
    breaks(|held| held[1].received -= 5 * STEP / 2, &[Kind::Early]);
    breaks(|held| held[1].received += 5 * STEP / 2, &[Kind::TooSoon]);
    breaks(|held| held.push(Held { cycle: Some(3), ..held[1].clone() }), &[Kind::NotCommitted]);
    breaks(
        |held| held.push(Held { epoch: Some(1_001), ..held[0].clone() }),
        &[Kind::NotCommitted, Kind::Deposed],
    );
}

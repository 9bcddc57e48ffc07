//! Hand-written histories: correct ones, and for each promise one that breaks it.

use jiff::Timestamp;

use super::history_builder::{HistoryBuilder, STEP, create, delete, ephemeral, set};
use crate::chaos::check_report::Violation;
use crate::chaos::history::{Arrival, LogLine};
use crate::journal::Change;

/// Returns a history of two rounds, in which only the first of the three nodes leads.
fn two_rounds(lock_step: bool) -> HistoryBuilder {
    let mut builder = HistoryBuilder::begun(lock_step, 0);
    builder.round(1);
    builder.round(1);
    builder
}

pub(super) fn free() -> HistoryBuilder {
    two_rounds(false)
}

pub(super) fn in_step() -> HistoryBuilder {
    two_rounds(true)
}

/// A change of a history, and the violations that follow.
type Case = (&'static str, fn(&mut HistoryBuilder), &'static [Violation]);

fn check_all(history: fn() -> HistoryBuilder, cases: &[Case]) {
    for (name, change, kinds) in cases {
        let mut builder = history();
        change(&mut builder);
        builder.finds(name, kinds);
    }
}

/// Commits a cycle of the leader with other changes than the usual ones.
fn commit_changed(it: &mut HistoryBuilder, change: fn(&mut Vec<Change>)) {
    let all = it.all();
    let mut changes = it.cycle_of(1, &all);
    change(&mut changes);
    it.commit(1, changes);
    it.history.settled = 2;
}

/// Makes node 2 the leader in this epoch.
fn take_over(it: &mut HistoryBuilder, epoch: i64) {
    it.commit(1, vec![Change::Closed]);
    it.epoch = epoch;
    it.leads(2);
}

#[test]
fn each_broken_promise_is_found() {
    use Violation::*;
    let cases: [Case; 22] = [
        (
            "gap in the cycles",
            |it| {
                it.cycle += 1;
                it.round(1);
            },
            &[Cycle],
        ),
        (
            "cycle without its report",
            |it| {
                it.cycle += 1;
                let fence = set("/atalaya/term", it.term());
                it.commit_fenced(1, vec![fence]);
            },
            &[Cycle, Epoch],
        ),
        ("report without its cycle", |it| commit_changed(it, |changes| drop(changes.remove(1))), &[Cycle]),
        ("epoch that goes back", |it| take_over(it, 998), &[Epoch]),
        ("same epoch again", |it| take_over(it, 999), &[Epoch]),
        ("epoch that jumps", |it| take_over(it, 1_001), &[Epoch]),
        ("lost fence", |it| it.commit_fenced(1, vec![delete("/atalaya/term")]), &[Epoch]),
        ("node that does not lead", |it| it.round(2), &[NotTheLeader]),
        (
            "no check of the own znode",
            |it| commit_changed(it, |changes| drop(changes.remove(0))),
            &[Unfenced],
        ),
        ("report that never arrives", |it| drop(it.history.arrivals.pop()), &[Lost]),
        ("report that is not kept", |it| it.history.arrivals[1].kept = false, &[Lost]),
        ("report that was never committed", |it| it.brings(1_000, 3, 78.0), &[NotCommitted]),
        ("another value when it is sent again", |it| it.brings(1_000, 2, 78.0), &[Altered]),
        ("sent before its commit", |it| it.history.arrivals[1].time -= 5 * STEP / 2, &[Early]),
        ("deleted before its arrival", |it| it.history.arrivals[1].time += 5 * STEP / 2, &[TooSoon]),
        (
            "request without a key",
            |it| it.history.arrivals.push(Arrival { key: None, ..it.history.arrivals[0].clone() }),
            &[Unkeyed],
        ),
        ("left in the outbox", |it| drop(it.history.transactions.pop()), &[Left]),
        ("rejected", |it| it.commit_fenced(1, vec![create("/atalaya/aside/2", "{}")]), &[Left]),
        (
            "measurement that is not counted",
            |it| it.commit(2, vec![set("/mediciones/2", 99)]),
            &[NotCounted, Miscounted],
        ),
        (
            "measurement that is counted twice",
            |it| {
                it.counter += 1;
                it.publishes(2, 99.0);
            },
            &[Miscounted],
        ),
        ("counter without a measurement", |it| it.commit(2, vec![set("/counter", 7)]), &[Miscounted]),
        ("counter that is no number", |it| it.commit(2, vec![set("/counter", "many")]), &[Miscounted]),
    ];
    check_all(free, &cases);
    let lock_step: [Case; 2] = [
        (
            "cycle in the same generation",
            |it| commit_changed(it, |changes| changes.truncate(3)),
            &[Generation],
        ),
        (
            "generation without a cycle",
            |it| it.commit_fenced(1, vec![delete("/barrier"), create("/barrier", "")]),
            &[Generation],
        ),
    ];
    check_all(in_step, &lock_step);
}

#[test]
fn last_cycle_may_be_in_the_outbox_at_the_end() {
    let mut builder = free();
    builder.history.transactions.pop();
    builder.history.settled = 1;
    builder.is_good();
}

#[test]
fn a_fleet_that_works() {
    let counts = free().is_good();
    assert_eq!((counts.epochs, counts.reports, counts.measurements, counts.requests), (1, 2, 6, 2));
    let counts = in_step().is_good();
    assert_eq!((counts.reports, counts.measurements, counts.missed, counts.repeats), (2, 6, 0, 0));
    assert_eq!(counts.longest_delay, STEP);
}

#[test]
fn a_leader_that_dies_at_any_moment_between() {
    for lock_step in [false, true] {
        let mut builder = HistoryBuilder::begun(lock_step, 0);
        builder.round(1);
        (1..=3).for_each(|node| builder.publishes(node, 7.0 * node as f64));
        let (epoch, all) = (builder.epoch, builder.all());
        let changes = builder.cycle_of(1, &all);
        builder.commit(1, changes);
        // It dies after the API has received the report, and before the leader has the answer.
        let cycle = builder.cycle;
        builder.arrives(epoch, cycle);
        builder.commit(1, vec![Change::Closed]);
        builder.values.remove("1");
        builder.leads(2);
        builder.arrives(epoch, cycle);
        builder.history.arrivals.last_mut().unwrap().mean = builder.history.arrivals[1].mean;
        builder.is_done(2);
        builder.publishes(2, 40.0);
        builder.publishes(3, 41.0);
        builder.cycles(2);
        let counts = builder.is_good();
        assert_eq!((counts.repeats, counts.epochs), (1, 2));
    }
}

#[test]
fn in_lock_step_a_cycle_may_come_to_nothing_if_nobody_measures() {
    let mut builder = in_step();
    builder.values.clear();
    for node in 1..=3 {
        builder.commit(node, vec![delete(&format!("/mediciones/{node}"))]);
    }
    let empty = vec![
        builder.check(1),
        set("/atalaya/term", builder.term()),
        delete("/barrier"),
        create("/barrier", ""),
    ];
    builder.commit(1, empty.clone());
    builder.round(1);
    builder.is_good();
    builder.round(1);
    builder.publishes(2, 5.0);
    let empty = vec![
        builder.check(1),
        set("/atalaya/term", builder.term()),
        delete("/barrier"),
        create("/barrier", ""),
    ];
    let published = builder.now;
    builder.commit(1, empty);
    builder.history.life = i64::MAX;
    // The leader may have read the fleet long before the commit.
    for (read, kinds) in [
        (None, &[][..]),
        (Some(published - 1), &[]),
        (Some(published + 400), &[Violation::Generation]),
        (Some(builder.now + 1), &[]),
    ] {
        let line = |time: i64| LogLine {
            process: "node-1-1".into(),
            time: i64::MAX,
            text: format!("{} DEBUG reading the fleet members=3", Timestamp::from_millisecond(time).unwrap()),
        };
        builder.history.log = read.map(line).into_iter().collect();
        builder.finds(&format!("{read:?}"), kinds);
    }
    builder.history.log.clear();
    builder.history.complete_log = true;
    builder.breaks(&[Violation::Other]);
}

#[test]
fn a_new_session_says_again_what_was_measured_and_it_is_not_counted_again() {
    let mut builder = free();
    let value = builder.values["3"];
    builder.commit(3, vec![Change::Closed]);
    builder.joins(4, 3);
    let again = ephemeral("/mediciones/3", value);
    let mut good = builder.clone();
    good.commit(4, vec![again.clone()]);
    good.is_good();
    builder.commit(4, vec![again, set("/counter", builder.counter + 1)]);
    builder.breaks(&[Violation::Miscounted]);
}

#[test]
fn a_deposed_leader_that_speaks_and_one_whose_last_words_come_late() {
    let mut builder = free();
    let all = builder.all();
    let changes = builder.cycle_of(1, &all);
    builder.commit(1, changes);
    let mean = all.iter().sum::<f64>() / 3.0;
    builder.commit(1, vec![Change::Closed]);
    builder.values.remove("1");
    builder.leads(2);
    let (last, epoch) = (builder.cycle, builder.epoch);
    for node in [2, 3] {
        builder.publishes(node, 5.0 * node as f64);
    }
    builder.cycles(2);
    builder.brings(epoch - 1, last, mean);
    let done = vec![builder.check(2), delete(&format!("/atalaya/reports/{last}"))];
    builder.commit(2, done);
    let counts = builder.is_good();
    assert_eq!(
        (counts.out_of_order, counts.late),
        (1, 2),
        "the history's requests all say that they are node 1's"
    );
    // An uncommitted report of an epoch that has ended.
    builder.brings(epoch - 1, last + 1, 78.0);
    builder.breaks(&[Violation::NotCommitted, Violation::Deposed]);
}

#[test]
fn somebody_measures_more_often_than_there_are_generations() {
    let mut builder = in_step();
    builder.publishes(2, 97.0);
    // These may have been published late, for the previous generations.
    builder.publishes(2, 97.5);
    builder.publishes(2, 98.0);
    assert_eq!(builder.is_good().again, 2);
    let mut again = builder.clone();
    again.publishes(2, 99.0);
    again.breaks(&[Violation::MeasuredTwice]);
    let mut again = builder.clone();
    again.cycles(1);
    again.publishes(2, 99.0);
    again.publishes(2, 100.0);
    again.breaks(&[Violation::MeasuredTwice]);
    // Another process of that node may measure.
    builder.commit(2, vec![Change::Closed]);
    builder.joins(4, 2);
    let said = r#"{"pid":77,"started":"y"}"#;
    builder.commit(4, vec![ephemeral("/atalaya/nodes/2", said)]);
    builder.counter += 1;
    builder.commit(4, vec![ephemeral("/mediciones/2", 99), set("/counter", builder.counter)]);
    builder.is_good();
}

#[test]
fn a_barrier_that_is_open_between_two_cycles() {
    let mut builder = in_step();
    builder.commit_fenced(1, vec![delete("/barrier")]);
    builder.commit_fenced(1, vec![create("/barrier", "")]);
    builder.is_good();
    builder.round(1);
    builder.breaks(&[Violation::Open]);
}

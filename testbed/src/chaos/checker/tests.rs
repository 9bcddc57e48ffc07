//! Hand-written histories: correct ones, and for each promise one that breaks it.

use super::history_builder::{HistoryBuilder, STEP, create, delete, ephemeral, set};
use crate::chaos::check_report::Violation;
use crate::chaos::history::Arrival;
use crate::journal::Change;

/// Returns a history of two rounds without lock-step, in which only the first of the three nodes leads.
pub(super) fn free() -> HistoryBuilder {
    let mut builder = HistoryBuilder::begun(false);
    builder.round(1);
    builder.round(1);
    builder
}

pub(super) fn in_step() -> HistoryBuilder {
    let mut builder = HistoryBuilder::begun(true);
    builder.round(1);
    builder.round(1);
    builder
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
        let mut builder = HistoryBuilder::begun(lock_step);
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
    builder.commit(1, empty);
    builder.history.life = i64::MAX;
    builder.breaks(&[Violation::Generation]);
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
fn a_gap_in_the_cycles() {
    let mut builder = free();
    builder.cycle += 1;
    builder.round(1);
    builder.breaks(&[Violation::Cycle]);
}

#[test]
fn a_cycle_without_its_report_and_a_report_without_its_cycle() {
    let mut builder = free();
    builder.cycle += 1;
    let fence = vec![builder.check(1), set("/atalaya/term", builder.term())];
    builder.commit(1, fence);
    builder.breaks(&[Violation::Cycle, Violation::Epoch]);
    let mut builder = free();
    let all = builder.all();
    let mut changes = builder.cycle_of(1, &all);
    changes.remove(1);
    builder.commit(1, changes);
    builder.history.settled = 2;
    builder.breaks(&[Violation::Cycle]);
}

#[test]
fn an_epoch_that_goes_back_or_jumps_or_is_lost() {
    for epoch in [998, 999, 1_001] {
        let mut builder = free();
        builder.commit(1, vec![Change::Closed]);
        builder.epoch = epoch;
        builder.leads(2);
        builder.breaks(&[Violation::Epoch]);
    }
    let mut builder = free();
    builder.commit_fenced(1, vec![delete("/atalaya/term")]);
    builder.breaks(&[Violation::Epoch]);
}

#[test]
fn somebody_who_does_not_lead() {
    let mut builder = free();
    builder.round(2);
    builder.breaks(&[Violation::NotTheLeader]);
}

#[test]
fn a_leader_that_does_not_check_its_own_znode() {
    let mut builder = free();
    let all = builder.all();
    let mut changes = builder.cycle_of(1, &all);
    changes.remove(0);
    builder.commit(1, changes);
    builder.history.settled = 2;
    builder.breaks(&[Violation::Unfenced]);
}

#[test]
fn a_report_that_never_arrives() {
    let mut builder = free();
    builder.history.arrivals.pop();
    builder.breaks(&[Violation::Lost]);
    let mut builder = free();
    builder.history.arrivals[1].kept = false;
    builder.breaks(&[Violation::Lost]);
}

#[test]
fn a_report_that_was_never_committed() {
    let mut builder = free();
    builder.brings(1_000, 3, 78.0);
    builder.breaks(&[Violation::NotCommitted]);
}

#[test]
fn a_report_with_another_value_also_when_it_is_sent_again() {
    let mut builder = free();
    builder.brings(1_000, 2, 78.0);
    builder.breaks(&[Violation::Altered]);
}

#[test]
fn a_report_that_is_sent_before_it_is_committed() {
    let mut builder = free();
    builder.history.arrivals[1].time -= 5 * STEP / 2;
    builder.breaks(&[Violation::Early]);
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
fn a_request_without_a_key() {
    let mut builder = free();
    builder.history.arrivals.push(Arrival { key: None, ..builder.history.arrivals[0].clone() });
    builder.breaks(&[Violation::Unkeyed]);
}

#[test]
fn a_report_that_is_taken_from_the_outbox_too_soon() {
    let mut builder = free();
    builder.history.arrivals[1].time += 5 * STEP / 2;
    builder.breaks(&[Violation::TooSoon]);
}

#[test]
fn what_is_left() {
    let mut builder = free();
    builder.history.transactions.pop();
    builder.breaks(&[Violation::Left]);
    builder.history.settled = 1;
    builder.is_good();
    let mut builder = free();
    builder.commit_fenced(1, vec![create("/atalaya/aside/2", "{}")]);
    builder.breaks(&[Violation::Left]);
}

#[test]
fn a_measurement_that_is_not_counted() {
    let mut builder = free();
    builder.commit(2, vec![set("/mediciones/2", 99)]);
    builder.breaks(&[Violation::NotCounted, Violation::Miscounted]);
}

#[test]
fn a_measurement_that_is_counted_twice() {
    let mut builder = free();
    builder.counter += 1;
    builder.publishes(2, 99.0);
    builder.breaks(&[Violation::Miscounted]);
    let mut builder = free();
    builder.commit(2, vec![set("/counter", 7)]);
    builder.breaks(&[Violation::Miscounted]);
    let mut builder = free();
    builder.commit(2, vec![set("/counter", "many")]);
    builder.breaks(&[Violation::Miscounted]);
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
fn a_cycle_in_the_same_generation_and_a_generation_without_a_cycle() {
    let mut builder = in_step();
    (1..=3).for_each(|node| builder.publishes(node, 7.0 * node as f64));
    let all = builder.all();
    let mut changes = builder.cycle_of(1, &all);
    changes.truncate(3);
    builder.commit(1, changes);
    builder.history.settled = 2;
    builder.breaks(&[Violation::Generation]);
    let mut builder = in_step();
    builder.commit_fenced(1, vec![delete("/barrier"), create("/barrier", "")]);
    builder.breaks(&[Violation::Generation]);
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

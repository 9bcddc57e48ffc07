//! Hand-written histories: averages of measurements that existed while the leader read the fleet, and others.

use super::history_builder::STEP;
use super::tests::{free, in_step};
use crate::chaos::check_report::Violation;
use crate::journal::Change;

#[test]
fn whatever_was_current_while_the_fleet_was_read() {
    let mut builder = free();
    let before = builder.all();
    builder.publishes(2, 500.0);
    let between = builder.all();
    builder.publishes(3, 600.0);
    let after = builder.all();
    let mixed = vec![before[0], before[1], after[2]];
    for values in [&before, &between, &after, &mixed] {
        let mut builder = builder.clone();
        builder.commit_cycle(1, values);
        builder.is_good();
    }
    // A measurement that existed all the time cannot be missing, and measurements older than the previous cycle are
    // replaced.
    for values in [&before[..2], &[1.0, 2.0, 3.0][..]] {
        let mut builder = builder.clone();
        builder.commit_cycle(1, values);
        builder.breaks(&[Violation::WrongMean]);
    }
}

#[test]
fn in_lock_step_what_was_measured_in_the_generation() {
    let mut builder = in_step();
    let old = builder.all();
    builder.publishes(1, 10.0);
    builder.publishes(2, 20.0);
    for (values, is_good) in [
        // The third has not measured yet: it is left out, or its old measurement was read.
        (vec![10.0, 20.0], true),
        (vec![10.0, 20.0, old[2]], true),
        (vec![10.0, old[1], old[2]], false),
        (vec![10.0], false),
    ] {
        let mut builder = builder.clone();
        builder.commit_cycle(1, &values);
        builder.breaks(if is_good { &[] } else { &[Violation::WrongMean] });
    }
}

/// The leader estimates the servers' clock, and the estimate may be wrong. It is certain that the leader read the fleet
/// before it committed.
#[test]
fn a_leader_whose_guess_of_the_time_is_late() {
    let mut builder = in_step();
    let old = builder.all();
    builder.publishes(1, 10.0);
    builder.publishes(2, 20.0);
    builder.publishes(3, 30.0);
    for (before, late, is_good) in [(82, 92, true), (82, 0, true), (400, 92, false)] {
        let mut builder = builder.clone();
        builder.history.transactions.last_mut().unwrap().time += STEP - before;
        let mut changes = builder.cycle_of(1, &[10.0, 20.0, old[2]]);
        let read = builder.now + STEP + late;
        let time =
            format!("1970-01-01T00:{:02}:{:02}.{:03}Z", read / 60_000, read / 1_000 % 60, read % 1_000);
        for change in &mut changes {
            if let Change::Create { data, .. } = change {
                *data = String::from_utf8_lossy(data)
                    .replace(r#""time":"x""#, &format!(r#""time":"{time}""#))
                    .into();
            }
        }
        builder.commit(1, changes);
        builder.history.settled = 2;
        builder.breaks(if is_good { &[] } else { &[Violation::WrongMean] });
    }
}

#[test]
fn in_lock_step_what_is_missed_by_a_moment_each_time() {
    let mut builder = in_step();
    for turn in 0..3 {
        builder.round(1);
        for node in 1..=3 {
            builder.publishes(node, 1e6 + f64::from(turn) * 10.0 + node as f64);
        }
        // Read right after the last of them was published.
        builder.history.transactions.last_mut().unwrap().time += STEP - 10;
        let mut without: Vec<f64> = builder.all();
        without.pop();
        let changes = builder.cycle_of(1, &without);
        builder.commit(1, changes);
    }
    builder.history.settled = 2;
    let findings = builder.checked();
    let wrong = findings.violations.iter().filter(|violation| violation.kind == Violation::WrongMean).count();
    assert_eq!((findings.counts.missed, wrong), (3, 1), "{:#?}", findings.violations);
}

#[test]
fn what_is_too_old_to_count() {
    let mut builder = free();
    builder.publishes(1, 10.0);
    let all = builder.all();
    builder.commit_cycle(1, &all[..1]);
    builder.breaks(&[Violation::WrongMean]);
    builder.history.life = 2 * STEP;
    builder.is_good();
}

//! Hand-written contents of a collector: allowed ones, and violations.

use std::collections::BTreeMap;

use super::kept::look;
use super::mail::Letter;
use super::means::Average;
use super::verdict::{Kind, Verdict};
use crate::collector::Held;

const TIME: i64 = 1_000_000;

/// Three cycles of epoch 7, and two of epoch 8.
const CYCLES: [(i64, u64); 5] = [(7, 1), (7, 2), (7, 3), (8, 4), (8, 5)];

fn letters() -> BTreeMap<String, Letter> {
    let letter = |(epoch, cycle): (i64, u64)| {
        let average = Average { mean: cycle as f64, min: 0.0, max: 9.0, count: 3 };
        let time = Some(TIME + cycle as i64);
        let letter = Letter { cycle, average, time, committed: TIME, deleted: None, is_young: false };
        (format!("{epoch}-{cycle}"), letter)
    };
    CYCLES.into_iter().map(letter).collect()
}

fn held() -> Vec<Held> {
    let held = |(epoch, cycle): (i64, u64)| Held {
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
    CYCLES.into_iter().map(held).collect()
}

/// Reports sent by GET contain only the mean.
fn bare() -> Vec<Held> {
    held().into_iter().map(|held| Held { min: None, max: None, count: None, ..held }).collect()
}

#[track_caller]
fn finds(held: &[Held], posted: bool, kinds: &[Kind]) {
    let mut verdict = Verdict::default();
    look(held, &letters(), posted, 5, &mut verdict);
    let found: Vec<Kind> = verdict.violations.iter().map(|violation| violation.kind).collect();
    assert_eq!(found, kinds, "{:#?}", verdict.violations);
}

#[test]
fn what_is_right() {
    finds(&held(), true, &[]);
    finds(&bare(), false, &[]);
    // A report that was delayed arrived after those of a later leader.
    let mut late = held();
    late.rotate_left(1);
    finds(&late, true, &[]);
}

#[test]
fn what_is_held_twice() {
    let mut twice = held();
    twice.push(twice[1].clone());
    finds(&twice, true, &[Kind::Twice]);
}

#[test]
fn what_was_told_and_is_not_known_and_the_other_way_round() {
    finds(&bare(), true, &[Kind::Altered; 5]);
    finds(&held(), false, &[Kind::Altered; 5]);
}

#[test]
fn another_value() {
    let alter: [fn(&mut Held); 6] = [
        |held| held.min = Some(1.0),
        |held| held.max = Some(1.0),
        |held| held.count = Some(2),
        |held| held.count = None,
        |held| held.min = Some(-0.0),
        |held| held.time += 2,
    ];
    for alter in alter {
        let mut altered = held();
        alter(&mut altered[2]);
        finds(&altered, true, &[Kind::Altered]);
    }
}

#[test]
fn a_gap() {
    for gap in 0..4 {
        let mut gapped = held();
        gapped.remove(gap);
        finds(&gapped, true, &[Kind::Gap]);
    }
    // The newest report may still be on its way, which is not a gap.
    let mut young = held();
    young.pop();
    finds(&young, true, &[]);
}

#[test]
fn what_a_deposed_leader_said_whenever_it_came() {
    for at in 0..=5 {
        let mut stale = held();
        stale.insert(at, Held { epoch: Some(7), cycle: Some(4), ..stale[3].clone() });
        finds(&stale, true, &[Kind::Deposed]);
    }
}

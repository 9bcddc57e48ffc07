//! Atalaya and unmodified Kazoo programs in one fleet in lock-step mode, either kind leading.
//!
//! Only on Apache ZooKeeper, whose transaction log shows who published when.
#![cfg(unix)]

use std::collections::BTreeMap;

use atalaya_testbed::{Kazoo, Process, eventually};

use crate::common::history::History;
use crate::common::{DEADLINE, Fleet, wait_until};

const IN_STEP: &[&str] = &["--sync", "barrier"];

/// A Kazoo program in lock-step mode that waits at the barrier for a number of seconds, or indefinitely.
fn kazoo_node(fleet: &Fleet, kazoo: &Kazoo, id: &str, seconds: Option<&str>) -> Process {
    let node = kazoo.script("in_step.py", &[&["measure", id, &fleet.hosts], seconds.as_slice()].concat());
    node.wait_for_line("published 1", DEADLINE);
    node
}

fn whole_rounds(fleet: &Fleet, ids: &[&str], count: usize) {
    eventually(&format!("{count} rounds of {ids:?}"), DEADLINE * 2, || {
        let rounds = History::of(fleet).rounds(ids);
        (rounds.iter().filter(|round| round.iter().all(|times| *times == 1)).count() >= count).then_some(())
    });
}

fn stop(nodes: &mut [Process]) {
    nodes.iter().for_each(Process::term);
    for node in nodes {
        assert!(node.wait_exit(DEADLINE).success());
    }
}

/// Asserts that the counter was incremented once for each measurement. A Kazoo program may have been stopped between
/// its measurement and its addition.
#[track_caller]
fn assert_sum(history: &History, ours: &[&str]) {
    let values: Vec<i64> = history.counter.iter().map(|(value, _)| *value).collect();
    let last = i64::try_from(values.len()).unwrap();
    assert!(values.iter().copied().eq(1..=last), "one at a time: {values:?}");
    let mut uncounted: BTreeMap<i64, i64> = BTreeMap::new();
    for one in &history.published {
        let is_ours = ours.contains(&&*one.id);
        assert_eq!(one.counted.is_some(), is_ours, "{} at {:#x}", one.id, one.zxid);
        *uncounted.entry(one.session).or_default() += 1;
    }
    for (_, session) in &history.counter {
        *uncounted.entry(*session).or_default() -= 1;
    }
    assert!(uncounted.values().all(|left| *left == 0 || *left == 1), "{uncounted:?}");
}

#[test]
fn kazoo_nodes_follow_the_barrier_of_an_atalaya_leader() {
    let (fleet, kazoo) = (Fleet::apache(), Kazoo::ready());
    let mut one = fleet.leader("1", IN_STEP);
    eventually("the barrier to be closed", DEADLINE, || fleet.probe().exists("/barrier"));
    let two = fleet.follower("2", IN_STEP);
    let [patient, timed] =
        [("3", None), ("4", Some("60"))].map(|(id, wait)| kazoo_node(&fleet, &kazoo, id, wait));
    whole_rounds(&fleet, &["1", "2", "3", "4"], 5);
    one.kill9();
    // No node passes before the next leader has finished that cycle.
    two.wait_for_line("the cycle of the previous leader is finished first", DEADLINE);
    let closings = History::of(&fleet).closings.len();
    wait_until("three cycles more", || History::of(&fleet).closings.len() >= closings + 3);
    stop(&mut [patient, timed, two]);
    let history = History::of(&fleet);
    history.assert_in_step(&["1", "2", "3", "4"]);
    assert_sum(&history, &["1", "2"]);
}

#[test]
fn atalaya_nodes_follow_the_barrier_of_a_kazoo_leader_and_finish_its_cycle_when_it_dies() {
    let (fleet, kazoo) = (Fleet::apache(), Kazoo::ready());
    let period = fleet.pace.period.as_secs_f64().to_string();
    let mut leader = kazoo.script("in_step.py", &["lead", "1", &fleet.hosts, &period]);
    leader.wait_for_line("elected", DEADLINE);
    let two = fleet.follower("2", IN_STEP);
    let three = fleet.follower("3", IN_STEP);
    let four = kazoo_node(&fleet, &kazoo, "4", None);
    whole_rounds(&fleet, &["2", "3"], 5);
    leader.wait_for_line("of 3", DEADLINE);
    assert!(!History::of(&fleet).openings.is_empty(), "Kazoo opens it before it closes it again");
    leader.kill9();
    two.wait_for_line(" leading epoch=", DEADLINE);
    let closings = History::of(&fleet).closings.len();
    wait_until("three cycles more", || History::of(&fleet).closings.len() >= closings + 3);
    stop(&mut [four, three, two]);
    let history = History::of(&fleet);
    history.assert_never_twice(&["2", "3"]);
    assert_sum(&history, &["2", "3"]);
}

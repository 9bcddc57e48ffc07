//! Lock-step mode: every node measures once per generation of the barrier, whoever dies, and `/counter` is the number
//! of measurements.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use atalaya_testbed::{Api, Process, Recorded, eventually};

use crate::common::history::History;
use crate::common::server::Server;
use crate::common::{
    DEADLINE, Fleet, Timing, bodies, from, goes_on_publishing, key, mean_reported, wait_for_requests,
    wait_until,
};

on_both!(
    lock_step_nodes_wait_after_a_leader_died_and_its_successor_finishes_the_cycle,
    lock_step_cycle_released_when_complete_lasts_as_long_as_the_slowest_node,
    lock_step_waits_one_period_for_a_frozen_node,
    lock_step_follows_nodes_that_join_and_leave,
    barrier_opened_by_hand_is_closed_with_the_next_cycle,
    lock_step_can_be_switched_on_and_off,
    leader_with_a_counter_counts_the_averaged_measurements,
    old_measurement_counts_only_after_its_next_write,
    cycles_are_aligned_with_the_clock_of_zookeeper,
    sessions_survive_periods_of_three_session_timeouts,
);

on_secured!(
    lock_step_nodes_wait_after_a_leader_died_and_its_successor_finishes_the_cycle,
    barrier_opened_by_hand_is_closed_with_the_next_cycle,
    lock_step_can_be_switched_on_and_off,
    leader_with_a_counter_counts_the_averaged_measurements,
);

const IDS: [&str; 3] = ["1", "2", "3"];
const IN_STEP: &[&str] = &["--sync", "barrier"];

/// Three nodes; the first leads.
fn three(fleet: &Fleet, args: &[&str]) -> [Process; 3] {
    [fleet.leader("1", args), fleet.follower("2", args), fleet.follower("3", args)]
}

fn reports(api: &Api, count: usize, since: Instant) -> Vec<Recorded> {
    let fresh = |all: &[Recorded]| all.iter().filter(|request| request.at > since).count();
    let all = api.wait_for(&format!("{count} reports"), DEADLINE * 2, |all| fresh(all) >= count);
    all.into_iter().filter(|request| request.at > since).collect()
}

fn cycle_of(request: &Recorded) -> u64 {
    key(request).1
}

/// Asserts that no cycle is missing among all reports. They may arrive out of order and twice.
fn assert_no_gap(requests: &[Recorded]) {
    let mut cycles: Vec<u64> = requests.iter().map(cycle_of).collect();
    cycles.sort_unstable();
    cycles.dedup();
    let expected: Vec<u64> = (1..).take(cycles.len()).collect();
    assert_eq!(cycles, expected);
}

#[test]
fn lock_step_nodes_publish_once_per_generation_and_are_counted() {
    let fleet = Fleet::apache();
    let mut nodes = three(&fleet, IN_STEP);
    eventually("five rounds of all", DEADLINE * 2, || {
        let history = History::of(&fleet);
        let whole = history.rounds(&IDS).into_iter().filter(|round| *round == [1, 1, 1]).count();
        (whole >= 5).then_some(())
    });
    stop(&mut nodes);
    let history = History::of(&fleet);
    history.assert_in_step(&IDS);
    history.assert_counted(&IDS);
    assert_no_gap(&fleet.api.requests());
}

fn stop(nodes: &mut [Process]) {
    nodes.iter().for_each(Process::term);
    for node in nodes {
        assert!(node.wait_exit(DEADLINE).success());
    }
}

fn lock_step_nodes_wait_after_a_leader_died_and_its_successor_finishes_the_cycle(fleet: Fleet) {
    let [mut one, mut two, mut three] = three(&fleet, IN_STEP);
    reports(&fleet.api, 3, Instant::now());
    let killed = Instant::now();
    one.kill9();
    // Much longer than a period: a node that does not wait measures several times.
    two.wait_for_line_since(killed, "the cycle of the previous leader is finished first", DEADLINE);
    let probe = fleet.probe();
    wait_for_requests(&fleet.api, "reports of its successor", 3, |request| from(request, "2"));
    ["2", "3"].into_iter().for_each(|id| goes_on_publishing(&probe, id, 2));
    two.kill9();
    three.wait_for_line("the cycle of the previous leader is finished first", DEADLINE);
    wait_for_requests(&fleet.api, "reports of the last one", 3, |request| from(request, "3"));
    stop(std::slice::from_mut(&mut three));
    assert_no_gap(&fleet.api.requests());
    if let Server::Apache(_) = fleet.server {
        let history = History::of(&fleet);
        history.assert_in_step(&IDS);
        history.assert_counted(&IDS);
        assert_eq!(history.epochs(), 3);
    }
}

fn lock_step_cycle_released_when_complete_lasts_as_long_as_the_slowest_node(fleet: Fleet) {
    let args = &["--sync", "barrier", "--release", "complete", "--sampling-period", "1h"];
    let _nodes = three(&fleet, args);
    reports(&fleet.api, 20, Instant::now());
    let probe = fleet.probe();
    IDS.into_iter().for_each(|id| goes_on_publishing(&probe, id, 20));
}

fn lock_step_waits_one_period_for_a_frozen_node(fleet: Fleet) {
    let period = Duration::from_millis(1_500);
    let args: Vec<&str> =
        "--sync barrier --release complete --session-timeout 30s --sampling-period 1500ms --api-method post"
            .split(' ')
            .collect();
    let [_one, _two, mut three] = three(&fleet, &args);
    reports(&fleet.api, 3, Instant::now());
    three.stop();
    let stopped = jiff::Timestamp::now();
    // Reports of earlier cycles may arrive later.
    let of_later_cycles = |all: &[Recorded]| -> Vec<Recorded> {
        all.iter().filter(|report| time_of(report) > stopped).cloned().collect()
    };
    let all =
        fleet.api.wait_for("reports of later cycles", DEADLINE * 2, |all| of_later_cycles(all).len() >= 5);
    let held_up = of_later_cycles(&all);
    // A cycle may have been complete when the node was stopped.
    for pair in held_up[1..].windows(2) {
        let (begun, ended) = (time_of(&pair[0]), time_of(&pair[1]));
        let lasted = ended.duration_since(begun).unsigned_abs();
        assert!(lasted >= period - Duration::from_millis(50), "the leader did not wait: {lasted:?}");
    }
    three.cont();
    let since = Instant::now();
    let free = reports(&fleet.api, 20, since + period);
    assert!(free.len() >= 20);
}

/// Returns the start of the cycle of a posted report.
fn time_of(request: &Recorded) -> jiff::Timestamp {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    body["time"].as_str().unwrap().parse().unwrap()
}

fn lock_step_follows_nodes_that_join_and_leave(fleet: Fleet) {
    let args = &["--sync", "barrier", "--release", "complete", "--sampling-period", "1h"];
    let mut one = fleet.leader("1", args);
    reports(&fleet.api, 3, Instant::now());
    let mut two = fleet.follower("2", args);
    let probe = fleet.probe();
    goes_on_publishing(&probe, "2", 3);
    // The leader does not wait for the node that stopped, nor, after its session, for the killed one.
    two.shut_down(DEADLINE);
    goes_on_publishing(&probe, "1", 3);
    let mut three = fleet.follower("3", args);
    goes_on_publishing(&probe, "3", 3);
    three.kill9();
    wait_until("its znode to go", || probe.exists("/mediciones/3").is_none());
    goes_on_publishing(&probe, "1", 3);
    stop(std::slice::from_mut(&mut one));
    // The next node finds the barrier closed, and measures alone.
    let _four = fleet.leader("4", args);
    goes_on_publishing(&probe, "4", 3);
}

fn barrier_opened_by_hand_is_closed_with_the_next_cycle(fleet: Fleet) {
    let [mut one, _two, _three] = three(&fleet, IN_STEP);
    reports(&fleet.api, 2, Instant::now());
    let open = || fleet.succeeds(&["barrier", "open", "/barrier"]);
    // Before the tool ends: the leader may be faster.
    let since = Instant::now();
    open();
    one.wait_for_line_since(since, "another client has opened the barrier", DEADLINE);
    let probe = fleet.probe();
    eventually("the barrier to be closed again", DEADLINE, || probe.exists("/barrier"));
    IDS.into_iter().for_each(|id| goes_on_publishing(&probe, id, 3));
    assert!(one.is_running());
    assert_no_gap(&fleet.api.requests());
    if let Server::Apache(_) = fleet.server {
        History::of(&fleet).assert_never_twice(&IDS);
    }
    // Also without a leader.
    one.kill9();
    open();
    IDS[1..].iter().for_each(|id| goes_on_publishing(&probe, id, 3));
    assert_no_gap(&fleet.api.requests());
}

fn lock_step_can_be_switched_on_and_off(fleet: Fleet) {
    let _nodes = three(&fleet, &[]);
    let probe = fleet.probe();
    let goes_on = || IDS.into_iter().for_each(|id| goes_on_publishing(&probe, id, 3));
    goes_on();
    assert!(probe.exists("/barrier").is_none(), "no node is in lock-step mode");
    probe.create("/config/sync", b"barrier", false).unwrap();
    let first = eventually("the barrier to be closed", DEADLINE, || probe.exists("/barrier"));
    goes_on();
    let second = eventually("the next closing", DEADLINE, || {
        probe.exists("/barrier").filter(|stat| stat.czxid > first.czxid)
    });
    if let Server::Apache(_) = fleet.server {
        eventually("two more rounds of all", DEADLINE, || {
            let history = History::of(&fleet);
            history.assert_never_twice(&IDS);
            let rounds = history.rounds(&IDS).into_iter().filter(|round| *round == [1, 1, 1]).count();
            (rounds >= 2).then_some(())
        });
    }
    assert!(second.czxid > first.czxid);
    probe.set("/config/sync", b"free").unwrap();
    wait_until("the barrier to be opened", || probe.exists("/barrier").is_none());
    if let Server::Apache(_) = fleet.server {
        let history = History::of(&fleet);
        assert!(history.unfenced.is_empty() && history.openings.len() == 1, "{:x?}", history.unfenced);
    }
    goes_on();
    assert!(probe.exists("/barrier").is_none());
    assert_no_gap(&fleet.api.requests());
}

fn leader_with_a_counter_counts_the_averaged_measurements(fleet: Fleet) {
    let args: Vec<&str> =
        "--sync barrier --counter per-cycle --api-method post --sampling-period 500ms --session-timeout 10s"
            .split(' ')
            .collect();
    let [one, two, mut three] = three(&fleet, &args);
    let probe = fleet.probe();
    // A node may contend, and reports of earlier cycles may arrive, before its first measurement.
    IDS.into_iter().for_each(|id| goes_on_publishing(&probe, id, 2));
    // Its last measurement is part of some more averages, and is counted once.
    three.stop();
    reports(&fleet.api, 3, Instant::now());
    three.cont();
    IDS.into_iter().for_each(|id| goes_on_publishing(&probe, id, 2));
    let writes = |id| probe.exists(&format!("/mediciones/{id}")).map(|stat| i64::from(stat.version) + 1);
    let (counted, version, published) = eventually("the counter between two cycles", DEADLINE, || {
        let before = probe.exists("/counter")?;
        let counted: i64 = probe.text("/counter")?.parse().unwrap();
        let published = IDS.into_iter().map(writes).sum::<Option<i64>>()?;
        (probe.exists("/counter")?.version == before.version).then_some((counted, before.version, published))
    });
    // The leader creates the counter, and writes it in each cycle.
    let averaged = counts_until(&fleet.api, version.try_into().unwrap());
    assert!(
        averaged > counted,
        "the node that was stopped was averaged again: {averaged}, {counted} counted"
    );
    assert!(counted <= published, "{counted} counted of {published}");
    // Measurements that are not in a cycle yet: three, and three more for each cycle between the two reads.
    assert!(counted + 12 >= published, "{counted} counted of {published}");
    assert!(probe.exists("/counter__adders__").is_none(), "no other node counts");
    stop(&mut [three, two, one]);
}

/// Waits for the reports of all cycles up to `last`, and returns the sum of their counts.
fn counts_until(api: &Api, last: u64) -> i64 {
    let of_cycles = |all: &[Recorded]| -> BTreeMap<u64, Recorded> {
        all.iter()
            .map(|request| (cycle_of(request), request.clone()))
            .filter(|(cycle, _)| *cycle <= last)
            .collect()
    };
    let complete = |all: &[Recorded]| of_cycles(all).len() as u64 == last;
    let all = api.wait_for(&format!("reports of {last} cycles"), DEADLINE, complete);
    let reports: Vec<Recorded> = of_cycles(&all).into_values().collect();
    bodies(&reports).iter().map(|body| body["count"].as_i64().unwrap()).sum()
}

fn old_measurement_counts_only_after_its_next_write(fleet: Fleet) {
    let one = fleet.leader("1", &["--board", "v80"]);
    let probe = fleet.probe();
    let since = Instant::now();
    probe.create("/mediciones/k", b"60", true).unwrap();
    mean_reported(&fleet.api, 70.0, since);
    one.wait_for_line("excluded from the average", DEADLINE);
    mean_reported(&fleet.api, 80.0, Instant::now());
    let since = Instant::now();
    probe.set("/mediciones/k", b"90").unwrap();
    one.wait_for_line("included in the average again", DEADLINE);
    mean_reported(&fleet.api, 85.0, since);
    mean_reported(&fleet.api, 80.0, Instant::now());
}

fn cycles_are_aligned_with_the_clock_of_zookeeper(fleet: Fleet) {
    for mode in ["free", "barrier"] {
        let around = fleet.below(&format!("/{mode}"));
        let args = &["--sync", mode, "--api-method", "post"];
        let mut one = around.leader("1", args);
        // The first cycle starts at once, the others at the period.
        let mut phases: Vec<i64> = reports(&around.api, 12, Instant::now())
            .iter()
            .skip(1)
            .map(|request| time_of(request).as_millisecond() % millis(around.pace.period))
            .collect();
        phases.sort_unstable();
        // A cycle may be late on a busy machine.
        assert!(phases[phases.len() / 2] < millis(around.pace.period) / 5, "{mode}: {phases:?}");
        stop(std::slice::from_mut(&mut one));
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

fn sessions_survive_periods_of_three_session_timeouts(mut fleet: Fleet) {
    let session = Duration::from_secs(4);
    fleet.around.pace = Timing { session, period: session * 3 };
    let begin = Instant::now();
    let probe = fleet.probe();
    let fleets: Vec<_> = ["free", "barrier"]
        .map(|mode| {
            let around = fleet.below(&format!("/{mode}"));
            let nodes = ["1", "2"].map(|id| around.node(id, &["--sync", mode]));
            (mode, around, nodes)
        })
        .into();
    let owners = || -> Vec<i64> {
        let znodes = fleets.iter().flat_map(|(mode, ..)| {
            ["1", "2"].map(|id| [format!("/{mode}/mediciones/{id}"), format!("/{mode}/atalaya/nodes/{id}")])
        });
        let owner =
            |path: &str| eventually("a znode of each", DEADLINE, || probe.exists(path)).ephemeral_owner;
        znodes.flatten().map(|path| owner(&path)).collect()
    };
    let first = owners();
    for (_, around, _) in &fleets {
        // The second follows with the next period, and so on.
        around.api.wait_for("reports for ten session timeouts", session * 10 + DEADLINE, |all| {
            all.len() >= 4 && all.iter().any(|request| request.at > begin + session * 10)
        });
    }
    assert_eq!(owners(), first, "the same sessions");
    for (mode, _, nodes) in &mut fleets.into_iter().collect::<Vec<_>>() {
        for node in nodes {
            assert!(node.is_running());
            let lost = |line: &atalaya_testbed::Line| line.text.contains("expired");
            assert!(!node.log().iter().any(lost), "{mode}: {:?}", node.log());
        }
    }
}

//! Failover after a leader is killed or stops.

use std::time::{Duration, Instant};

use atalaya_testbed::Process;

use crate::common::{DEADLINE, Fleet, report_from};

on_both!(
    leader_killed_by_sigkill_is_succeeded_within_a_session_timeout_and_a_period,
    leader_stopped_by_sigterm_is_succeeded_within_a_period,
    leader_stopped_by_sigint_is_succeeded_within_a_period,
    node_waiting_for_zookeeper_stops_at_once,
    node_without_zookeeper_stops_within_two_seconds,
    counting_node_without_zookeeper_stops_within_two_seconds,
);

on_secured!(leader_killed_by_sigkill_is_succeeded_within_a_session_timeout_and_a_period);

fn leader_killed_by_sigkill_is_succeeded_within_a_session_timeout_and_a_period(fleet: Fleet) {
    let mut one = fleet.leader("1", &[]);
    let _two = fleet.follower("2", &[]);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    let killed = Instant::now();
    one.kill9();
    report_from(&fleet.api, "2", killed, fleet.pace.session + fleet.pace.period + Duration::from_secs(1));
    assert_eq!(fleet.probe().contenders("/election"), ["2"]);
}

fn ends_in_order(fleet: &Fleet, signal: impl Fn(&Process)) {
    let mut one = fleet.leader("1", &[]);
    let _two = fleet.follower("2", &[]);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    let probe = fleet.probe();
    let told = Instant::now();
    signal(&one);
    assert!(one.wait_exit(Duration::from_secs(2)).success());
    assert_eq!(probe.ls("/mediciones"), ["2"], "its znodes are gone when it is");
    assert_eq!(probe.contenders("/election"), ["2"]);
    assert_eq!(probe.ls("/atalaya/nodes"), ["2"]);
    report_from(&fleet.api, "2", told, fleet.pace.period + Duration::from_millis(500));
}

fn leader_stopped_by_sigterm_is_succeeded_within_a_period(fleet: Fleet) {
    ends_in_order(&fleet, Process::term);
}

fn leader_stopped_by_sigint_is_succeeded_within_a_period(fleet: Fleet) {
    ends_in_order(&fleet, Process::int);
}

fn node_waiting_for_zookeeper_stops_at_once(mut fleet: Fleet) {
    fleet.server.vanish();
    let mut one = fleet.node("1", &[]);
    one.wait_for_line("cannot reach ZooKeeper", DEADLINE);
    one.shut_down(Duration::from_secs(2));
}

fn node_without_zookeeper_stops_within_two_seconds(fleet: Fleet) {
    stops_without_zookeeper(fleet, &[]);
}

fn counting_node_without_zookeeper_stops_within_two_seconds(fleet: Fleet) {
    stops_without_zookeeper(fleet, &["--counter", "per-node"]);
}

fn stops_without_zookeeper(mut fleet: Fleet, args: &[&str]) {
    let mut one = fleet.leader("1", args);
    fleet.server.vanish();
    one.wait_for_line("suspended", DEADLINE);
    one.shut_down(Duration::from_secs(2));
    one.wait_for_line("did not confirm", Duration::ZERO);
}

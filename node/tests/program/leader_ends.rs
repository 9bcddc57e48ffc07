//! Requirements A6 and A7: a leader that is killed, or stops in order, has a successor in time.

use std::time::{Duration, Instant};

use atalaya_testbed::Process;

use crate::common::{Fleet, PATIENCE, report_from};

on_both!(
    killed_outright_it_is_succeeded_within_a_session_timeout_and_a_period,
    by_sigterm_it_withdraws_and_is_succeeded_within_a_period,
    by_sigint_likewise,
    a_node_that_waits_for_zookeeper_stops_at_once_too,
    a_node_that_has_lost_zookeeper_stops_within_two_seconds
);

fn killed_outright_it_is_succeeded_within_a_session_timeout_and_a_period(fleet: Fleet) {
    let mut one = fleet.leader("1", &[]);
    let _two = fleet.follower("2", &[]);
    report_from(&fleet.api, "1", Instant::now(), PATIENCE);
    let killed = Instant::now();
    one.kill9();
    report_from(&fleet.api, "2", killed, fleet.pace.session + fleet.pace.period + Duration::from_secs(1));
    assert_eq!(fleet.probe().contenders("/election"), ["2"]);
}

fn ends_in_order(fleet: &Fleet, signal: impl Fn(&Process)) {
    let mut one = fleet.leader("1", &[]);
    let _two = fleet.follower("2", &[]);
    report_from(&fleet.api, "1", Instant::now(), PATIENCE);
    let probe = fleet.probe();
    let told = Instant::now();
    signal(&one);
    assert!(one.wait_exit(Duration::from_secs(2)).success());
    assert_eq!(probe.ls("/mediciones"), ["2"], "its znodes are gone when it is");
    assert_eq!(probe.contenders("/election"), ["2"]);
    assert_eq!(probe.ls("/atalaya/nodes"), ["2"]);
    report_from(&fleet.api, "2", told, fleet.pace.period + Duration::from_millis(500));
}

fn by_sigterm_it_withdraws_and_is_succeeded_within_a_period(fleet: Fleet) {
    ends_in_order(&fleet, Process::term);
}

fn by_sigint_likewise(fleet: Fleet) {
    ends_in_order(&fleet, Process::int);
}

fn a_node_that_waits_for_zookeeper_stops_at_once_too(mut fleet: Fleet) {
    fleet.server.vanish();
    let mut one = fleet.node("1", &[]);
    one.wait_for_line("cannot reach ZooKeeper", PATIENCE);
    one.term();
    assert!(one.wait_exit(Duration::from_secs(2)).success());
}

fn a_node_that_has_lost_zookeeper_stops_within_two_seconds(mut fleet: Fleet) {
    let mut one = fleet.leader("1", &[]);
    fleet.server.vanish();
    one.wait_for_line("suspended", PATIENCE);
    one.term();
    assert!(one.wait_exit(Duration::from_secs(2)).success());
    one.wait_for_line("did not confirm", Duration::ZERO);
}

//! A process that sleeps for longer than its session: as a leader it never speaks again before it is first in line.

use std::time::Instant;

use atalaya_testbed::eventually;

use crate::common::{Fleet, PATIENCE, from, goes_on_publishing, report_from};

on_both!(
    a_stopped_leader_sends_nothing_after_its_successor_and_goes_back_in_line,
    a_stopped_follower_comes_back_publishes_and_can_lead
);

fn a_stopped_leader_sends_nothing_after_its_successor_and_goes_back_in_line(fleet: Fleet) {
    let mut nodes = [("1", fleet.leader("1", &[])), ("2", fleet.follower("2", &[]))];
    let probe = fleet.probe();
    for _ in 0..3 {
        let [(leader, first), (successor, second)] = &mut nodes;
        let before = report_from(&fleet.api, leader, Instant::now(), PATIENCE);
        first.stop();
        let succeeded = report_from(&fleet.api, successor, before, PATIENCE);
        first.cont();
        // It notices, stands in line anew, and publishes again.
        eventually("the stopped leader to be back in line", PATIENCE, || {
            (probe.contenders("/election") == [*successor, *leader]).then_some(())
        });
        goes_on_publishing(&probe, leader, 2);
        report_from(&fleet.api, successor, Instant::now(), PATIENCE);
        let stale: Vec<_> =
            fleet.api.requests().into_iter().filter(|r| r.at > succeeded && from(r, leader)).collect();
        assert!(stale.is_empty(), "reports of a deposed leader: {stale:?}");
        assert!(first.is_running() && second.is_running());
        nodes.swap(0, 1);
    }
}

fn a_stopped_follower_comes_back_publishes_and_can_lead(fleet: Fleet) {
    let mut one = fleet.leader("1", &[]);
    let mut two = fleet.follower("2", &[]);
    let probe = fleet.probe();
    two.stop();
    eventually("its session to end", PATIENCE, || probe.exists("/mediciones/2").is_none().then_some(()));
    two.cont();
    goes_on_publishing(&probe, "2", 2);
    eventually("it to be back in line", PATIENCE, || {
        (probe.contenders("/election") == ["1", "2"]).then_some(())
    });
    one.term();
    one.wait_exit(PATIENCE);
    report_from(&fleet.api, "2", Instant::now(), PATIENCE);
}

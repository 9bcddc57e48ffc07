//! A process that is frozen for longer than its session: a leader sends nothing before it is the first contender again.

use std::time::Instant;

use crate::common::{DEADLINE, Fleet, from, goes_on_publishing, report_from, wait_until};

on_both!(
    frozen_leader_sends_nothing_after_its_successor_and_contends_again,
    frozen_follower_publishes_again_and_can_lead
);

on_secured!(frozen_leader_sends_nothing_after_its_successor_and_contends_again);

fn frozen_leader_sends_nothing_after_its_successor_and_contends_again(fleet: Fleet) {
    let mut nodes = [("1", fleet.leader("1", &[])), ("2", fleet.follower("2", &[]))];
    let probe = fleet.probe();
    for _ in 0..3 {
        let [(leader, first), (successor, second)] = &mut nodes;
        let before = report_from(&fleet.api, leader, Instant::now(), DEADLINE);
        first.stop();
        let succeeded = report_from(&fleet.api, successor, before, DEADLINE);
        first.cont();
        // It notices, contends again, and publishes again.
        wait_until("the stopped leader to be back in line", || {
            probe.contenders("/election") == [*successor, *leader]
        });
        goes_on_publishing(&probe, leader, 2);
        report_from(&fleet.api, successor, Instant::now(), DEADLINE);
        let stale: Vec<_> =
            fleet.api.requests().into_iter().filter(|r| r.at > succeeded && from(r, leader)).collect();
        assert!(stale.is_empty(), "reports of a deposed leader: {stale:?}");
        assert!(first.is_running() && second.is_running());
        nodes.swap(0, 1);
    }
}

fn frozen_follower_publishes_again_and_can_lead(fleet: Fleet) {
    let mut one = fleet.leader("1", &[]);
    let mut two = fleet.follower("2", &[]);
    let probe = fleet.probe();
    two.stop();
    wait_until("its session to end", || probe.exists("/mediciones/2").is_none());
    two.cont();
    goes_on_publishing(&probe, "2", 2);
    wait_until("it to be back in line", || probe.contenders("/election") == ["1", "2"]);
    one.term();
    one.wait_exit(DEADLINE);
    report_from(&fleet.api, "2", Instant::now(), DEADLINE);
}

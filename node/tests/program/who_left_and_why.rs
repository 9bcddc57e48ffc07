//! The leader says who left the fleet, and why, as far as that can be known.

use atalaya_testbed::{Kazoo, eventually};

use crate::common::{Fleet, PATIENCE};

on_both!(
    whoever_is_told_to_stop_says_so,
    whoever_is_killed_has_a_session_that_is_over,
    a_deleted_measurement_is_no_end,
    the_leader_itself_goes_at_once,
);

fn whoever_is_told_to_stop_says_so(fleet: Fleet) {
    let args = &["--name", "app{id}"];
    let one = fleet.leader("1", args);
    let probe = fleet.probe();
    // On a busy machine the leader may look too late, and says less then.
    let heard = (2..12).any(|id| {
        let mut node = fleet.follower(&id.to_string(), args);
        one.wait_for_line(&format!("node app{id} joined"), PATIENCE);
        eventually("what it says of itself", PATIENCE, || probe.exists(&format!("/atalaya/nodes/{id}")));
        node.term();
        let line = one.wait_for_line(&format!("node app{id} left: "), PATIENCE).text;
        assert!(node.wait_exit(PATIENCE).success());
        node.wait_for_line("nothing of this node is left", PATIENCE);
        line.contains("left: it was stopped (SIGTERM)")
    });
    assert!(heard, "{:?}", one.log());
    assert_eq!(
        (probe.ls("/mediciones"), probe.ls("/atalaya/nodes")),
        (vec!["app1".into()], vec!["1".into()])
    );
}

fn whoever_is_killed_has_a_session_that_is_over(fleet: Fleet) {
    let one = fleet.leader("1", &[]);
    let mut two = fleet.follower("2", &[]);
    let kazoo = Kazoo::ready();
    let mut three = kazoo.script("follower.py", &["3", &fleet.hosts, "0.5", "60"]);
    one.wait_for_line("node 3 joined", PATIENCE);
    two.kill9();
    one.wait_for_line("node 2 left: its session is over", PATIENCE);
    three.kill9();
    one.wait_for_line("node 3 left: its session is over", PATIENCE);
}

fn a_deleted_measurement_is_no_end(fleet: Fleet) {
    let one = fleet.leader("1", &[]);
    // So seldom that it is not there again before the leader looks.
    let _two = fleet.follower("2", &["--sampling-period", "1d"]);
    one.wait_for_line("node 2 joined", PATIENCE);
    let probe = fleet.probe();
    eventually("what it says of itself", PATIENCE, || probe.exists("/atalaya/nodes/2"));
    probe.delete("/mediciones/2").unwrap();
    one.wait_for_line("node 2 left: its measurement was deleted, but its session lives", PATIENCE);
}

fn the_leader_itself_goes_at_once(fleet: Fleet) {
    let mut one = fleet.leader("1", &[]);
    let two = fleet.follower("2", &[]);
    one.term();
    two.wait_for_line(" leading epoch=", PATIENCE);
    assert!(one.wait_exit(PATIENCE).success());
    assert!(two.log().iter().all(|line| !line.text.contains("left")), "there was nobody whom it had listed");
}

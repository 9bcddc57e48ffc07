//! The leader logs nodes that leave the fleet.

use atalaya_testbed::Kazoo;

use crate::common::{DEADLINE, Fleet};

on_both!(leader_logs_stopped_and_killed_nodes, successor_logs_nothing_about_the_stopped_leader);

fn leader_logs_stopped_and_killed_nodes(fleet: Fleet) {
    let args = &["--name", "app{id}"];
    let one = fleet.leader("1", args);
    // One after the other: nodes that join at the same time share a line.
    let mut two = fleet.follower("2", args);
    one.wait_for_line("node app2 joined", DEADLINE);
    let mut three = fleet.follower("3", args);
    one.wait_for_line("node app3 joined", DEADLINE);
    let mut four = Kazoo::ready().script("follower.py", &["4", &fleet.hosts, "0.5", "60"]);
    one.wait_for_line("node 4 joined", DEADLINE);
    two.term();
    one.wait_for_line("node app2 left", DEADLINE);
    assert!(two.wait_exit(DEADLINE).success());
    two.wait_for_line("all znodes of this node are deleted", DEADLINE);
    three.kill9();
    one.wait_for_line("node app3 left", DEADLINE);
    four.kill9();
    one.wait_for_line("node 4 left", DEADLINE);
    let probe = fleet.probe();
    assert_eq!(
        (probe.ls("/mediciones"), probe.ls("/atalaya/nodes")),
        (vec!["app1".into()], vec!["1".into()])
    );
}

fn successor_logs_nothing_about_the_stopped_leader(fleet: Fleet) {
    let mut one = fleet.leader("1", &[]);
    let two = fleet.follower("2", &[]);
    one.term();
    two.wait_for_line(" leading epoch=", DEADLINE);
    assert!(one.wait_exit(DEADLINE).success());
    assert!(two.log().iter().all(|line| !line.text.contains("left")), "the new leader had not listed node 1");
}

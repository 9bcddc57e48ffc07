//! The Kazoo scripts with Apache ZooKeeper.

use std::time::Duration;

use atalaya_testbed::{Kazoo, ZkProbe, ZooKeeper};

const SECONDS: Duration = Duration::from_secs(30);

#[test]
fn probe_makes_a_znode_read_only_for_others_and_opens_it_again() {
    let zookeeper = ZooKeeper::start();
    let (probe, other) =
        (ZkProbe::connect(&zookeeper.connect_string()), ZkProbe::connect(&zookeeper.connect_string()));
    probe.authenticate().unwrap();
    assert_eq!(
        probe.create_below("/a/b", b"", false),
        Err("NoNodeError".to_owned()),
        "parents are not created"
    );
    probe.create("/a/b", b"", false).unwrap();
    probe.restrict("/a").unwrap();
    assert_eq!(other.create("/a/c", b"", false), Err("NoAuthError".to_owned()));
    assert_eq!(other.ls("/a"), ["b"]);
    probe.create_below("/a/c", b"", true).unwrap();
    probe.unrestrict("/a").unwrap();
    other.delete("/a/c").unwrap();
    assert_eq!(probe.restrict("/x"), Err("NoNodeError".to_owned()));
}

#[test]
fn a_kazoo_leader_that_casts_to_int_dies_of_a_fraction() {
    let zookeeper = ZooKeeper::start();
    let hosts = zookeeper.connect_string();
    ZkProbe::connect(&hosts).create("/mediciones/1", b"78.4", false).unwrap();
    let kazoo = Kazoo::ready();
    let mut leader = kazoo.script("leader.py", &["l", &hosts, "0.2", "http://127.0.0.1:9/", "--cast", "int"]);
    assert_eq!(leader.wait_exit(SECONDS).code(), Some(1));
    leader.wait_for_line("ValueError", SECONDS);
}

#[test]
fn script_ends_at_a_sigterm_that_arrives_in_a_finalizer() {
    let mut script = Kazoo::ready().script("finalizer.py", &[]);
    script.wait_for_line("in a finalizer", SECONDS);
    script.term();
    assert_eq!(script.wait_exit(SECONDS).code(), Some(0));
}

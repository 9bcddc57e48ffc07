//! The Kazoo scripts with Apache ZooKeeper.

use std::time::Duration;

use atalaya_testbed::{Api, Kazoo, ZkProbe, ZooKeeper, eventually};

const SECONDS: Duration = Duration::from_secs(30);

#[test]
fn the_probe_sees_and_disturbs() {
    let zookeeper = ZooKeeper::start();
    let probe = ZkProbe::connect(&zookeeper.connect_string());
    assert_eq!(probe.get("/mediciones/1"), None);
    assert_eq!(probe.exists("/mediciones"), None);
    assert_eq!(probe.ls("/mediciones"), [""; 0]);

    let garbage = b"\xff\x00 n\xc3\xa1\n";
    probe.create("/mediciones/1", garbage, true).unwrap();
    let (data, stat) = probe.get("/mediciones/1").unwrap();
    assert_eq!(data, garbage);
    assert_eq!((stat.version, stat.ephemeral_owner), (0, probe.session_id()));
    assert_eq!(stat.data_length, 7);

    let large = vec![b'x'; 900_000];
    probe.set("/mediciones/1", &large).unwrap();
    let (data, changed) = probe.get("/mediciones/1").unwrap();
    assert_eq!(data, large);
    assert_eq!((changed.version, changed.czxid), (1, stat.czxid));
    assert!(changed.mzxid > stat.mzxid && changed.mtime >= stat.mtime);

    assert_eq!(probe.create("/mediciones/1", b"", false), Err("NodeExistsError".to_owned()));
    assert_eq!(probe.delete("/mediciones"), Err("NotEmptyError".to_owned()));
    probe.create("/mediciones/0", b"", false).unwrap();
    assert_eq!(probe.ls("/mediciones"), ["0", "1"]);
    probe.delete("/mediciones/1").unwrap();
    assert_eq!(probe.delete("/mediciones/1"), Err("NoNodeError".to_owned()));
    assert_eq!(probe.set("/mediciones/1", b""), Err("NoNodeError".to_owned()));
}

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
fn contenders_take_turns_in_the_order_of_their_coming() {
    let zookeeper = ZooKeeper::start();
    let hosts = zookeeper.connect_string();
    let probe = ZkProbe::connect(&hosts);
    let kazoo = Kazoo::ready();
    let mut first = kazoo.script("contend.py", &["a", &hosts]);
    first.wait_for_line("elected a", SECONDS);
    let second = kazoo.script("contend.py", &["b", &hosts]);
    eventually("both contend", SECONDS, || (probe.contenders("/election") == ["a", "b"]).then_some(()));
    first.term();
    assert!(first.wait_exit(SECONDS).success());
    first.wait_for_line("left a", SECONDS);
    second.wait_for_line("elected b", SECONDS);
    assert_eq!(probe.contenders("/election"), ["b"]);

    let mut third = kazoo.script("contend.py", &["c", &hosts, "--hold", "0.1"]);
    drop(second);
    third.wait_for_line("elected c", SECONDS);
    assert!(third.wait_exit(SECONDS).success());
}

#[test]
fn a_fleet_of_kazoo_alone_averages_and_reports() {
    let zookeeper = ZooKeeper::start();
    let hosts = zookeeper.connect_string();
    let probe = ZkProbe::connect(&hosts);
    let api = Api::start();
    let kazoo = Kazoo::ready();
    let follower = kazoo.script("follower.py", &["f", &hosts, "0.2", "80"]);
    follower.wait_for_line("published 80", SECONDS);
    let mut leader = kazoo.script("leader.py", &["l", &hosts, "0.2", &api.url(), "--cast", "int"]);
    leader.wait_for_line("elected", SECONDS);
    leader.wait_for_line("of 2", SECONDS);
    leader.wait_for_line("sent 200", SECONDS);
    let requests = api.wait_for("three averages", SECONDS, |requests| requests.len() >= 3);
    assert!(requests.iter().all(|request| (75.0..=85.0).contains(&request.dato().unwrap())), "{requests:?}");
    assert_eq!(requests[0].path, "/nuevo");
    assert_eq!(probe.ls("/mediciones"), ["f", "l"]);
    assert_ne!(probe.exists("/mediciones/f").unwrap().ephemeral_owner, 0);
    leader.term();
    assert!(leader.wait_exit(SECONDS).success());
    assert_eq!(probe.ls("/mediciones"), ["f"]);
    assert_eq!(probe.contenders("/election"), [""; 0]);
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

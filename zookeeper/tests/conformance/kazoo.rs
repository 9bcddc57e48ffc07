//! Tests with Kazoo as a client, unmodified.

use std::time::Duration;

use atalaya_testbed::{Api, Kazoo, ZkProbe, eventually};

use crate::target::Target;

on_both!(
    a_kazoo_client_reads_and_writes,
    kazoo_contenders_take_turns,
    a_fleet_of_kazoo_averages_and_reports,
    kazoos_recipes_work
);

const TIMEOUT: Duration = Duration::from_secs(30);

fn a_kazoo_client_reads_and_writes(target: &Target) {
    let probe = ZkProbe::connect(&target.hosts());
    let path = target.path("/m/1");
    assert_eq!(probe.get(&path), None);
    probe.create(&path, b"\xff\0", true).unwrap();
    let (data, stat) = probe.get(&path).unwrap();
    assert_eq!((data, stat.ephemeral_owner), (b"\xff\0".to_vec(), probe.session_id()));
    let large = vec![b'x'; 900_000];
    probe.set(&path, &large).unwrap();
    assert_eq!(probe.get(&path).unwrap().0, large);
    assert_eq!(probe.create(&path, b"", false), Err("NodeExistsError".to_owned()));
    assert_eq!(probe.delete(&target.path("/m")), Err("NotEmptyError".to_owned()));
    assert_eq!(probe.ls(&target.path("/m")), ["1"]);
    probe.delete(&path).unwrap();
    assert_eq!(probe.set(&path, b""), Err("NoNodeError".to_owned()));
}

fn kazoo_contenders_take_turns(target: &Target) {
    let (hosts, path) = (target.hosts(), target.path("/election"));
    let probe = ZkProbe::connect(&hosts);
    let kazoo = Kazoo::ready();
    let mut first = kazoo.script("contend.py", &["a", &hosts, "--path", &path]);
    first.wait_for_line("elected a", TIMEOUT);
    let second = kazoo.script("contend.py", &["b", &hosts, "--path", &path]);
    eventually("both contend", TIMEOUT, || (probe.contenders(&path) == ["a", "b"]).then_some(()));
    first.shut_down(TIMEOUT);
    second.wait_for_line("elected b", TIMEOUT);
    // A killed client loses its session, which expires after Kazoo's 10 s.
    let third = kazoo.script("contend.py", &["c", &hosts, "--path", &path]);
    eventually("both contend", TIMEOUT, || (probe.contenders(&path) == ["b", "c"]).then_some(()));
    drop(second);
    third.wait_for_line("elected c", TIMEOUT);
}

fn a_fleet_of_kazoo_averages_and_reports(target: &Target) {
    let hosts = format!("{}{}", target.hosts(), target.path(""));
    let probe = ZkProbe::connect(&hosts);
    let (api, kazoo) = (Api::start(), Kazoo::ready());
    let follower = kazoo.script("follower.py", &["f", &hosts, "0.2", "80"]);
    follower.wait_for_line("published 80", TIMEOUT);
    let mut leader = kazoo.script("leader.py", &["l", &hosts, "0.2", &api.url(), "--cast", "int"]);
    leader.wait_for_line("of 2", TIMEOUT);
    leader.wait_for_line("sent 200", TIMEOUT);
    assert_eq!(probe.ls("/mediciones"), ["f", "l"]);
    leader.shut_down(TIMEOUT);
    assert_eq!(probe.ls("/mediciones"), ["f"]);
    assert_eq!(probe.contenders("/election"), [""; 0]);
}

/// Runs the recipes listed in `recipes.py`.
fn kazoos_recipes_work(target: &Target) {
    let hosts = format!("{}{}", target.hosts(), target.path(""));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/recipes.py");
    let mut recipes = Kazoo::ready().script(script, &[&hosts]);
    recipes.wait_for_line("done", TIMEOUT * 2);
    assert!(recipes.wait_exit(TIMEOUT).success());
}

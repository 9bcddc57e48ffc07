//! Atalaya and unmodified Kazoo programs in one fleet, either kind leading.

use std::time::Instant;

use atalaya_testbed::{Kazoo, Process, Recorded, Security};

use crate::common::{DEADLINE, Fleet, mean_reported, report_from, wait_until};

on_both!(
    kazoo_follower_is_averaged,
    kazoo_leader_reads_our_measurements_as_int,
    kazoo_leader_reads_our_measurements_as_float,
    leadership_passes_between_kazoo_and_atalaya_in_queue_order
);

on_secured!(
    kazoo_follower_is_averaged,
    kazoo_leader_reads_our_measurements_as_float,
    leadership_passes_between_kazoo_and_atalaya_in_queue_order,
);

/// In seconds, the unit of those programs.
fn period(fleet: &Fleet) -> String {
    fleet.pace.period.as_secs_f64().to_string()
}

fn kazoo_node(fleet: &Fleet, kazoo: &Kazoo, id: &str, cast: &str) -> Process {
    kazoo.script("leader.py", &[id, &fleet.hosts, &period(fleet), &fleet.api.url(), "--cast", cast])
}

fn is_kazoos(request: &Recorded) -> bool {
    request.agent().is_some_and(|agent| agent.starts_with("python-requests"))
}

fn kazoo_follower_is_averaged(fleet: Fleet) {
    let kazoo = fleet.kazoo();
    let _one = fleet.leader("1", &["--board", "v80"]);
    let _two = kazoo.script("follower.py", &["2", &fleet.hosts, &period(&fleet), "60"]);
    mean_reported(&fleet.api, 70.0, Instant::now());
}

/// Digest credentials need no configuration of the servers.
#[test]
fn nodes_and_kazoo_programs_with_the_same_digest_credentials_are_one_fleet() {
    let (fleet, security) = (Fleet::apache(), Security::new());
    let kazoo = Kazoo::with_digest(&security, "fleet", "auth::cdrwa");
    let node = |id, board| {
        let mut command = fleet.command(id, &["--board", board]);
        command.env("ATALAYA_ZOOKEEPER_AUTH", "digest").env("ATALAYA_ZOOKEEPER_USER", "fleet");
        command.env("ATALAYA_ZOOKEEPER_PASSWORD_FILE", security.password_file("fleet"));
        command.env("ATALAYA_ACL", "fleet");
        Process::spawn(command)
    };
    let mut one = node("1", "v80");
    one.wait_for_line(" leading epoch=", DEADLINE);
    let _two = kazoo.script("follower.py", &["2", &fleet.hosts, &period(&fleet), "60"]);
    mean_reported(&fleet.api, 70.0, Instant::now());
    let three = kazoo_node(&fleet, &kazoo, "3", "float");
    three.wait_for_line("published", DEADLINE);
    one.shut_down(DEADLINE);
    three.wait_for_line("elected", DEADLINE);
    let _four = node("4", "v90");
    three.wait_for_line("of 3", DEADLINE);
    let refused = fleet.probe().set("/mediciones/4", b"1");
    assert_eq!(refused, Err("NoAuthError".to_owned()), "a client without the credentials");
}

fn kazoo_leader_reads_our_measurements_as_int(fleet: Fleet) {
    a_kazoo_leader_reads_ours(&fleet, "int");
}

fn kazoo_leader_reads_our_measurements_as_float(fleet: Fleet) {
    a_kazoo_leader_reads_ours(&fleet, "float");
}

fn a_kazoo_leader_reads_ours(fleet: &Fleet, cast: &str) {
    let kazoo = fleet.kazoo();
    let mut leader = kazoo_node(fleet, &kazoo, "1", cast);
    leader.wait_for_line("elected", DEADLINE);
    let _two = fleet.follower("2", &[]);
    let _three = fleet.follower("3", &[]);
    leader.wait_for_line("of 3", DEADLINE);
    fleet.api.wait_for("Kazoo's reports", DEADLINE, |all| all.iter().filter(|r| is_kazoos(r)).count() >= 3);
    assert!(leader.is_running(), "int() and float() read what we publish");
    assert!(fleet.api.requests().iter().all(is_kazoos), "no other node reports");
}

fn leadership_passes_between_kazoo_and_atalaya_in_queue_order(fleet: Fleet) {
    let kazoo = fleet.kazoo();
    let probe = fleet.probe();
    let mut one = kazoo_node(&fleet, &kazoo, "1", "float");
    one.wait_for_line("elected", DEADLINE);
    let mut two = fleet.follower("2", &[]);
    let three = kazoo_node(&fleet, &kazoo, "3", "float");
    wait_until("the line to be 1, 2, 3", || probe.contenders("/election") == ["1", "2", "3"]);
    let _four = fleet.follower("4", &[]);
    assert_eq!(probe.contenders("/election"), ["1", "2", "3", "4"]);

    one.term();
    one.wait_exit(DEADLINE);
    report_from(&fleet.api, "2", Instant::now(), DEADLINE);
    assert!(!three.log().iter().any(|line| line.text.contains("elected")), "it is not its turn yet");
    two.shut_down(DEADLINE);
    three.wait_for_line("elected", DEADLINE);
    three.wait_for_line("sent 200", DEADLINE);
    assert_eq!(probe.contenders("/election"), ["3", "4"]);
}

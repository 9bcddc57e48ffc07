//! A fleet of three nodes, observed from outside.

use std::time::{Duration, Instant};

use atalaya_testbed::{Process, eventually, parent_death_command};

use crate::common::{DEADLINE, Fleet, bodies, from, mean_reported};

on_both!(
    three_nodes_publish_plain_text_and_the_leader_reports_their_mean,
    default_sensor_gives_whole_numbers_from_75_to_85,
    posted_report_is_complete_and_cycles_are_numbered,
    environment_names_of_existing_compose_files_are_accepted,
    chroot_is_created_and_holds_all_znodes,
    leader_logs_nodes_that_join_and_leave
);

fn three_nodes_publish_plain_text_and_the_leader_reports_their_mean(fleet: Fleet) {
    // Node 1 stays the leader, also on a busy machine.
    let calm = ["--session-timeout", "10s"];
    let _one = fleet.leader("1", &[&["--board", "v70"], &calm[..]].concat());
    let _two = fleet.follower("2", &[&["--board", "v80"], &calm[..]].concat());
    let _three = fleet.follower("3", &[&["--board", "v90"], &calm[..]].concat());
    mean_reported(&fleet.api, 80.0, Instant::now());

    let probe = fleet.probe();
    assert_eq!(probe.ls("/mediciones"), ["1", "2", "3"]);
    let mut owners = Vec::new();
    for (id, text) in [("1", "70"), ("2", "80"), ("3", "90")] {
        let (data, stat) = probe.get(&format!("/mediciones/{id}")).unwrap();
        assert_eq!(String::from_utf8(data).unwrap(), text);
        assert_ne!(stat.ephemeral_owner, 0, "not ephemeral");
        owners.push(stat.ephemeral_owner);
    }
    owners.dedup();
    assert_eq!(owners.len(), 3, "one session each");
    assert_eq!(probe.contenders("/election"), ["1", "2", "3"]);
    for request in fleet.api.requests() {
        assert!(from(&request, "1"), "{:?} reports without leading", request.agent());
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/nuevo"));
    }
}

fn default_sensor_gives_whole_numbers_from_75_to_85(fleet: Fleet) {
    let _one = fleet.leader("1", &["--sampling-period", "100ms"]);
    let probe = fleet.probe();
    let mut seen = std::collections::BTreeSet::new();
    eventually("six different measurements", DEADLINE, || {
        let text = probe.text("/mediciones/1")?;
        let value: i64 = text.parse().expect("a whole number, as int() reads it");
        assert!((75..=85).contains(&value), "{value}");
        seen.insert(value);
        (seen.len() >= 6).then_some(())
    });
}

fn posted_report_is_complete_and_cycles_are_numbered(fleet: Fleet) {
    let _one = fleet.leader("1", &["--board", "v70", "--api-method", "post"]);
    let _two = fleet.follower("2", &["--board", "v90", "--api-method", "post"]);
    let requests = fleet.api.wait_for("a mean of two", DEADLINE, |all| {
        bodies(all).iter().filter(|body| body["count"] == 2).count() >= 2
    });
    let reports = bodies(&requests);
    let report = reports.iter().find(|body| body["count"] == 2).unwrap();
    assert_eq!((&report["mean"], &report["min"], &report["max"]), (&80.0.into(), &70.0.into(), &90.0.into()));
    assert_eq!((&report["stddev"], &report["excluded"]), (&10.0.into(), &0.into()));
    let cycles: Vec<u64> = reports.iter().map(|body| body["cycle"].as_u64().unwrap()).collect();
    assert_eq!(cycles, (1..=cycles.len() as u64).collect::<Vec<_>>(), "one report a cycle, in order");
    for request in &requests {
        assert_eq!(request.method, "POST");
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let key = format!("{}-{}", body["epoch"], body["cycle"]);
        assert_eq!(request.header("Idempotency-Key"), Some(key.as_str()));
    }
}

fn environment_names_of_existing_compose_files_are_accepted(fleet: Fleet) {
    let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    command.args(["run", "7", "--name", "app{id}"]);
    command.env_clear().env("ZOOKEEPER_HOSTS", &fleet.hosts);
    command.env("API_URL", fleet.api.base_url()).env("SAMPLING_PERIOD", "0.5");
    command.current_dir(std::env::temp_dir());
    let _node = Process::start(command, "period=500ms", DEADLINE);
    let requests = fleet.api.wait_for("ten reports", DEADLINE, |all| all.len() >= 10);
    assert!(requests.iter().all(|request| request.path == "/nuevo"), "a base address means nuevo below it");
    // On average over eight cycles: on a busy machine, one report may arrive late and the next one on time.
    let apart = (requests[9].at - requests[1].at) / 8;
    assert!(apart > Duration::from_millis(200) && apart < Duration::from_millis(900), "{apart:?} apart");
    assert_eq!(fleet.probe().ls("/mediciones"), ["app7"]);
}

fn chroot_is_created_and_holds_all_znodes(fleet: Fleet) {
    let around = fleet.below("/greenhouse/east");
    let _one = around.leader("1", &[]);
    crate::common::report_from(&around.api, "1", Instant::now(), DEADLINE);
    let probe = fleet.probe();
    assert_eq!(probe.ls("/greenhouse/east/mediciones"), ["1"]);
    assert_eq!(probe.ls("/"), ["greenhouse", "zookeeper"]);
}

fn leader_logs_nodes_that_join_and_leave(fleet: Fleet) {
    let one = fleet.leader("1", &[]);
    let mut two = fleet.follower("2", &[]);
    one.wait_for_line("node 2 joined", DEADLINE);
    two.shut_down(DEADLINE);
    one.wait_for_line("node 2 left", DEADLINE);
    one.wait_for_line("average", DEADLINE);
    let log = two.log();
    assert!(
        log.iter().any(|line| line.text.contains("following: waiting") && line.text.contains("leader=\"1\"")),
        "{log:?}"
    );
}

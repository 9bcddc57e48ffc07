//! `atalaya status`: a fleet at a glance, for people and for scripts.
#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::{Session, SessionOptions};
use atalaya_testbed::{Kazoo, Process, Terminal, eventually, parent_death_command};
use serde_json::Value;

use crate::common::outputs::stdout;
use crate::common::{DEADLINE, Fleet};

on_both!(
    status_shows_leader_measurements_and_waiting_reports,
    status_of_an_empty_zookeeper_says_so_and_ends,
    status_watch_updates_every_second_and_survives_a_lost_connection,
    status_watch_redraws_the_terminal_and_restores_it,
);

fn command(hosts: &str, args: &[&str]) -> Command {
    let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    command.arg("status").args(args).args(["--zookeeper", hosts]);
    // A variable, so that a test can give the option.
    command.env("ATALAYA_SESSION_TIMEOUT", "4s").current_dir(std::env::temp_dir());
    command
}

#[track_caller]
fn text(hosts: &str, args: &[&str]) -> String {
    let output = command(hosts, args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    stdout(&output)
}

fn status_shows_leader_measurements_and_waiting_reports(fleet: Fleet) {
    let _one = fleet.leader("1", &["--board", "v70"]);
    let _two = fleet.follower("2", &["--board", "v80"]);
    let kazoo = Kazoo::ready();
    let _ten = kazoo.script("follower.py", &["10", &fleet.hosts, "0.5", "60"]);
    let probe = fleet.probe();
    eventually("what Kazoo measures", DEADLINE, || probe.text("/mediciones/10"));
    let seen = eventually("a leader with a delivered report", DEADLINE, || {
        let seen = fleet.status();
        seen["delivered"]["cycle"].is_u64().then_some(seen)
    });
    assert_eq!((&seen["leader"]["id"], &seen["in_line"]), (&"1".into(), &2.into()));
    assert!(seen["leader"]["since"].is_string(), "{seen}");
    assert_eq!((&seen["epoch"], &seen["aside"]), (&term(&fleet, "epoch"), &0.into()));
    assert!(seen["cycle"].as_u64() <= term(&fleet, "cycle").as_u64());
    let nodes = seen["nodes"].as_array().unwrap();
    let ids: Vec<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["1", "2", "10"], "by their numbers");
    for (node, value) in nodes.iter().zip([70.0, 80.0, 60.0]) {
        assert_eq!(node["readings"][0]["value"], value);
        let age = node["age"].as_f64().unwrap();
        assert!((0.0..DEADLINE.as_secs_f64()).contains(&age), "{age}");
    }
    let atalaya: Vec<bool> = nodes.iter().map(|node| node["atalaya"].as_bool().unwrap()).collect();
    assert_eq!(atalaya, [true, true, false]);
    assert_eq!(nodes[0]["version"], env!("CARGO_PKG_VERSION"));

    // The leader may have lost its connection since, on a busy machine.
    let text = eventually("a leader that leads", DEADLINE, || {
        let text = text(&fleet.hosts, &[]);
        text.contains(" 1 for ").then_some(text)
    });
    assert!(!text.contains('\x1b'), "no colours in a pipe: {text}");
    let line =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    assert!(line("leader ").contains("1 for ") && line("leader ").ends_with("1 more contender"), "{text}");
    assert!(line("nodes ").ends_with("3: 1 not Atalaya"), "{text}");
    assert!(line("1 (leader) ").contains(" 70 ") && line("1 (leader) ").contains(" ok "), "{text}");
    assert!(line("10 ").contains(" 60 ") && line("10 ").contains("not Atalaya"), "{text}");
}

fn term(fleet: &Fleet, field: &str) -> Value {
    let text = fleet.probe().text("/atalaya/term").unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[field].take()
}

fn status_of_an_empty_zookeeper_says_so_and_ends(fleet: Fleet) {
    let said = text(&fleet.hosts, &[]);
    assert!(said.contains("no fleet found"), "{said}");
    let seen = fleet.status();
    assert_eq!((&seen["leader"], &seen["nodes"]), (&Value::Null, &Value::Array(Vec::new())));
    let probe = fleet.probe();
    assert!(probe.exists("/mediciones").is_none() && probe.exists("/atalaya").is_none(), "nothing was made");
}

fn status_watch_updates_every_second_and_survives_a_lost_connection(mut fleet: Fleet) {
    let _one = fleet.leader("1", &[]);
    let mut watching = Process::spawn(command(&fleet.hosts, &["--watch", "--output", "json"]));
    let lines = |watching: &Process, more: usize| {
        eventually("lines", DEADLINE, || {
            let log = watching.log();
            let lines: Vec<Value> =
                log.iter().filter_map(|line| serde_json::from_str(&line.text).ok()).collect();
            (lines.len() >= more).then_some(lines)
        })
    };
    let seen = lines(&watching, 3);
    assert!(seen.iter().all(|line| line["nodes"][0]["id"] == "1"), "{seen:?}");
    fleet.server.vanish();
    watching.wait_for_line("ZooKeeper does not respond", DEADLINE);
    fleet.server.come_back();
    let before = lines(&watching, 0).len();
    lines(&watching, before + 2);
    watching.int();
    assert!(watching.wait_exit(DEADLINE).success());
}

fn status_watch_redraws_the_terminal_and_restores_it(fleet: Fleet) {
    let _one = fleet.leader("1", &["--board", "v70"]);
    let mut watching = Terminal::spawn(command(&fleet.hosts, &["--watch"]), (100, 30));
    watching.wait_for("1 (leader)", DEADLINE);
    let coloured = watching.look(|screen| {
        let cell = screen.cell(0, 0).unwrap();
        cell.dim() || cell.bold()
    });
    assert!(coloured, "{}", watching.text());
    let _two = fleet.follower("2", &["--board", "v80"]);
    watching.wait_until("both nodes, once each", DEADLINE, |text| {
        text.matches("fleet ").count() == 1
            && text.lines().any(|line| line.starts_with("2 ") && line.contains("80"))
    });
    watching.signal_term();
    assert_eq!(watching.wait_exit(DEADLINE), 0);
    eventually("the other screen was left", DEADLINE, || {
        (!watching.look(|screen| screen.alternate_screen())).then_some(())
    });
}

#[test]
fn status_reports_an_unreachable_zookeeper_within_its_timeout() {
    let output = command("127.0.0.1:1", &["--connect-timeout", "500ms"]).output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
}

#[test]
fn status_shows_thousands_of_nodes() {
    const NODES: usize = 10_000;
    let fleet = Fleet::memory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = SessionOptions::new(fleet.hosts.parse().unwrap(), Duration::from_secs(40));
    let session = runtime.block_on(async {
        let session = Session::start(options);
        let connection = session.connection().await;
        for parent in ["/mediciones", "/atalaya/nodes"] {
            connection.ensure(parent).await.unwrap();
        }
        let said = br#"{"host":"pi","pid":1,"version":"0.1.0","board":"b","started":"2026-03-01T06:00:00Z"}"#;
        let znodes: Vec<(String, &[u8])> = (0..NODES)
            .flat_map(|id| {
                [(format!("/mediciones/{id}"), &b"78"[..]), (format!("/atalaya/nodes/{id}"), said)]
            })
            .collect();
        for some in znodes.chunks(500) {
            let create = |(path, data): &'_ (String, &'static [u8])| (path.clone(), *data);
            let some: Vec<_> = some.iter().map(create).collect();
            let writes: Vec<Write<'_>> = some
                .iter()
                .map(|(path, data)| Write::Create { path, data, mode: CreateMode::Ephemeral })
                .collect();
            connection.multi(&writes).await.unwrap();
        }
        session
    });
    // All requests must be answered within this time, also on a busy machine.
    let timeout = ["--session-timeout", "40s"];
    let shown = text(&fleet.hosts, &timeout);
    assert!(shown.contains("nodes     10000\n") && shown.lines().count() > NODES, "{}", &shown[..1_000]);
    let shown = text(&fleet.hosts, &[&["--output", "json"][..], &timeout].concat());
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["nodes"].as_array().unwrap().len(), NODES);
    drop((session, runtime));
}

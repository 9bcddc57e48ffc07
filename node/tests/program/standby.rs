//! Nodes that wait until the election has fewer contenders than the limit.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, ZkProbe, eventually, parent_death_command};
use serde_json::Value;

use crate::common::metrics_client::MetricsClient;
use crate::common::{DEADLINE, Fleet, TestEnv, from, report_from};

on_both!(
    contenders_killed_at_once_are_succeeded_within_a_session_timeout_and_a_period,
    node_on_standby_is_shown_and_contends_when_a_contender_leaves,
    contenders_of_kazoo_and_nodes_that_always_contend_count,
);

on_secured!(node_on_standby_is_shown_and_contends_when_a_contender_leaves);

const STANDBY: &str = "on standby";

/// Waits until this many nodes contend and wait in the line. Returns the ids of the contenders.
#[track_caller]
fn wait_for_election(probe: &ZkProbe, root: &str, contending: usize, standby: usize) -> Vec<String> {
    let what = format!("{contending} contenders, {standby} nodes on standby");
    eventually(&what, DEADLINE, || {
        let contenders = probe.contenders(&format!("{root}/election"));
        let waiting = probe.ls(&format!("{root}/atalaya/standby")).len();
        ((contenders.len(), waiting) == (contending, standby)).then_some(contenders)
    })
}

fn contenders_killed_at_once_are_succeeded_within_a_session_timeout_and_a_period(mut fleet: Fleet) {
    // Twenty processes share the processors.
    fleet.around.pace.period = Duration::from_secs(4);
    let probe = fleet.probe();
    let mut nodes: Vec<(String, Process)> =
        (1..=20).map(|id| (id.to_string(), fleet.node(&id.to_string(), &[]))).collect();
    let contenders = wait_for_election(&probe, "", 7, 13);
    report_from(&fleet.api, &contenders[0], Instant::now(), DEADLINE);
    let killed = Instant::now();
    for (_, node) in nodes.iter_mut().filter(|(id, _)| contenders.contains(id)) {
        node.kill9();
    }
    let limit = fleet.pace.session + fleet.pace.period + Duration::from_secs(1);
    fleet.api.wait_for("a report of a node that was on standby", limit, |all| {
        all.iter().any(|report| report.at > killed && !contenders.iter().any(|id| from(report, id)))
    });
    let next = wait_for_election(&probe, "", 7, 6);
    assert!(next.iter().all(|id| !contenders.contains(id)), "{next:?} after {contenders:?}");
}

fn status(fleet: &Fleet, hosts: &str, args: &[&str]) -> String {
    let mut command: Command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    command.arg("status").args(args).args(["--zookeeper", hosts]).envs(fleet.identity("fleet"));
    let output = command.current_dir(std::env::temp_dir()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn node_on_standby_is_shown_and_contends_when_a_contender_leaves(fleet: Fleet) {
    let (around, probe) = (fleet.below("/farm"), fleet.probe());
    let args = ["--contenders", "1", "--metrics-listen", "127.0.0.1:0"];
    let start = |id: &str| {
        let node = around.node(id, &args);
        node.wait_for_line(STANDBY, DEADLINE);
        node
    };
    let mut one = around.leader("1", &args);
    let (two, _three) = (start("2"), start("3"));
    assert_eq!(wait_for_election(&probe, "/farm", 1, 2), ["1"]);
    let metrics = MetricsClient::of(&two);
    metrics.wait_for("atalaya_standby", |standby| standby == 1.0);
    assert_eq!(metrics.figure("atalaya_election_ahead"), None);
    assert_eq!(MetricsClient::of(&one).figure("atalaya_standby"), Some(0.0));
    let shown = eventually("two nodes on standby", DEADLINE, || {
        let text = status(&fleet, &around.hosts, &[]);
        text.contains(": 2 on standby").then_some(text)
    });
    assert!(shown.contains("1 (leader)") && shown.contains("2 (standby)"), "{shown}");
    assert!(!one.log().iter().any(|line| line.text.contains(STANDBY)), "{:?}", one.log());

    one.shut_down(DEADLINE);
    report_from(&around.api, "2", Instant::now(), DEADLINE);
    assert_eq!(wait_for_election(&probe, "/farm", 1, 1), ["2"]);
    eventually("one node on standby", DEADLINE, || {
        let seen: Value =
            serde_json::from_str(&status(&fleet, &around.hosts, &["--output", "json"])).unwrap();
        let standby = |node: &Value| node["standby"] == true;
        let nodes = seen["nodes"].as_array().unwrap();
        let ids: Vec<&Value> = nodes.iter().filter(|node| standby(node)).map(|node| &node["id"]).collect();
        (ids == ["3"]).then_some(())
    });
    metrics.wait_for("atalaya_standby", |standby| standby == 0.0);
}

fn with_lead(around: &TestEnv, id: &str, lead: &str) -> Process {
    let mut command = around.command(id, &["--contenders", "2"]);
    command.env("ATALAYA_LEAD", lead);
    Process::spawn(command)
}

fn contenders_of_kazoo_and_nodes_that_always_contend_count(fleet: Fleet) {
    let (probe, kazoo) = (fleet.probe(), fleet.kazoo());
    let period = fleet.pace.period.as_secs_f64().to_string();
    let mut one =
        kazoo.script("leader.py", &["1", &fleet.hosts, &period, &fleet.api.url(), "--cast", "float"]);
    one.wait_for_line("elected", DEADLINE);
    let mut two = with_lead(&fleet, "2", "true");
    two.wait_for_line("following: waiting", DEADLINE);
    let three = with_lead(&fleet, "3", "auto");
    three.wait_for_line(STANDBY, DEADLINE);
    let four = with_lead(&fleet, "4", "false");
    four.wait_for_line("not contending for leadership", DEADLINE);
    // Without a limit, although there are two contenders.
    let five = with_lead(&fleet, "5", "true");
    five.wait_for_line("following: waiting", DEADLINE);
    assert_eq!(wait_for_election(&probe, "", 3, 1), ["1", "2", "5"]);

    one.term();
    one.wait_exit(DEADLINE);
    report_from(&fleet.api, "2", Instant::now(), DEADLINE);
    assert_eq!(wait_for_election(&probe, "", 2, 1), ["2", "5"]);
    two.shut_down(DEADLINE);
    assert_eq!(wait_for_election(&probe, "", 2, 0), ["5", "3"]);
    assert!(four.log().iter().all(|line| !line.text.contains(STANDBY)));
}

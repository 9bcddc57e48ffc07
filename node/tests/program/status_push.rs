//! The leader pushes the fleet status to a collector. Other APIs do not receive it, and it delays no report.

use std::time::Duration;

use atalaya_testbed::{ApiMode, Scratch, eventually};
use serde_json::{Value, json};

use crate::common::metrics_client::MetricsClient;
use crate::common::{DEADLINE, Fleet, wait_until};

on_both!(
    leader_pushes_nodes_and_leader_to_a_collector,
    leader_pushes_no_status_to_other_apis,
    status_push_that_hangs_delays_no_report,
    leader_pushes_the_newest_tasks_to_a_collector,
);

/// The received fleet statuses, newest last.
fn told(fleet: &Fleet) -> Vec<Value> {
    let requests = fleet.api.requests();
    let told = requests.iter().filter(|request| request.path == "/api/v1/fleet");
    told.map(|request| serde_json::from_slice(&request.body).expect("it is JSON")).collect()
}

/// Number of requests with a report: a collector receives full ones.
fn reports(fleet: &Fleet) -> usize {
    let paths = ["/nuevo", "/api/v1/reports"];
    fleet.api.requests().iter().filter(|request| paths.contains(&&*request.path)).count()
}

fn leader_pushes_nodes_and_leader_to_a_collector(fleet: Fleet) {
    fleet.api.set(ApiMode::Collector(Duration::ZERO));
    let mut one = fleet.leader("1", &["--board", "v90"]);
    let _two = fleet.follower("2", &["--board", "v90"]);
    // A node publishes its measurement and its info one after the other.
    let whole = |node: &Value| node["host"].is_string() && node["readings"][0].is_object();
    let both = eventually("both nodes in a status", DEADLINE, || {
        let of_both = |nodes: &Vec<Value>| nodes.len() == 2 && nodes.iter().all(whole);
        told(&fleet).pop().filter(|status| status["nodes"].as_array().is_some_and(of_both))
    });
    assert_eq!(both["leader"], "1");
    assert!(both["cycle"].as_u64().unwrap() > 0 && both["more"] == 0, "{both}");
    for (node, id) in both["nodes"].as_array().unwrap().iter().zip(["1", "2"]) {
        assert_eq!((&node["id"], &node["health"]), (&Value::from(id), &Value::from("ok")), "{both}");
        assert_eq!(node["readings"][0]["value"], 90.0);
        assert!(node["age"].as_f64().unwrap() < 60.0 && node["host"].is_string());
    }
    one.kill9();
    let next = eventually("a status of the next leader", DEADLINE, || {
        told(&fleet).pop().filter(|status| status["leader"] == "2")
    });
    assert!(next["epoch"].as_i64() > both["epoch"].as_i64());
}

fn leader_pushes_no_status_to_other_apis(fleet: Fleet) {
    let _one = fleet.leader("1", &[]);
    // Long enough for several pushes.
    let enough = Duration::from_secs(4).div_duration_f64(fleet.pace.period) as usize;
    wait_until("reports", || reports(&fleet) >= enough);
    assert_eq!(told(&fleet), [Value::Null; 0]);
    // The API is replaced by a collector, and the other way round.
    fleet.api.set(ApiMode::Collector(Duration::ZERO));
    eventually("a status", DEADLINE, || told(&fleet).pop());
    fleet.api.set(ApiMode::Accept);
    let before = reports(&fleet);
    wait_until("a report to the other API", || reports(&fleet) > before + 1);
    let seen = told(&fleet).len();
    wait_until("reports", || reports(&fleet) > before + enough);
    assert!(told(&fleet).len() <= seen + 1, "one may have been under way");
}

fn status_push_that_hangs_delays_no_report(fleet: Fleet) {
    fleet.api.set(ApiMode::Collector(Duration::from_secs(3_600)));
    let _one = fleet.leader("1", &[]);
    eventually("a client waits for an answer", DEADLINE, || told(&fleet).pop());
    let before = reports(&fleet);
    // The push times out after two seconds and is repeated; reports continue.
    wait_until("more of them", || told(&fleet).len() >= 3);
    let periods = Duration::from_secs(4).div_duration_f64(fleet.pace.period);
    let came = (reports(&fleet) - before) as f64;
    assert!(came >= periods / 2.0, "{came} reports in {periods} periods");
}

fn leader_pushes_the_newest_tasks_to_a_collector(fleet: Fleet) {
    fleet.api.set(ApiMode::Collector(Duration::ZERO));
    let scratch = Scratch::new("tasks");
    let boards = scratch.path().join("boards.toml");
    let text =
        "[boards.b]\nbackend = \"sim\"\nsensors = [{ name = \"s\", chip = \"random\" }]\n[boards.b.tasks]\n";
    std::fs::write(&boards, text).unwrap();
    let arguments = ["--boards", boards.to_str().unwrap(), "--board", "b", "--metrics-listen", "127.0.0.1:0"];
    let one = fleet.leader("1", &arguments);
    let _two = fleet.follower("2", &arguments);
    let first = eventually("a status", DEADLINE, || told(&fleet).pop());
    assert_eq!(first.get("tasks"), None, "a fleet without tasks: {first}");
    let metrics = MetricsClient::of(&one);
    let without = metrics.text();
    for line in ["atalaya_tasks{state=\"queued\"} 0", "atalaya_tasks_lost_total 0"] {
        assert!(without.contains(line), "no {line} in {without}");
    }

    let probe = fleet.probe();
    wait_until("two workers", || probe.ls("/atalaya/tasks/alive").len() == 2);
    let submit = |number: u32, spec: &Value| {
        let path = format!("/atalaya/tasks/spec/t-{number:010}");
        probe.create(&path, spec.to_string().as_bytes(), false).unwrap();
    };
    submit(3, &json!({"id": "a", "action": "sensors.selftest", "to": "all"}));
    submit(4, &json!({"id": "b", "action": "no-such-action", "start_by_ms": 60_000}));
    submit(5, &json!({"id": "<script>", "action": "status"}));
    let tasks = eventually("all tasks in a status", DEADLINE, || {
        let tasks = told(&fleet).pop()?.get("tasks")?.clone();
        let ended = |index: usize| tasks["list"][index]["ended"].is_number();
        (tasks["live"] == 1 && ended(1) && ended(2)).then_some(tasks)
    });
    let list = tasks["list"].as_array().unwrap();
    let of = |id: &str| list.iter().find(|task| task["id"] == id).unwrap();
    assert_eq!((list.len(), &list[0]), (3, of("t-0000000004")), "live tasks first: {tasks}");
    assert_eq!((&list[0]["state"], &list[0]["all"]), (&json!("queued"), &json!(1)), "{tasks}");
    let done = of("t-0000000003");
    let counts = [&done["state"], &done["done"], &done["failed"], &done["all"]];
    assert_eq!(counts, [&json!("done"), &json!(2), &json!(0), &json!(2)], "{tasks}");
    let refused = of("t-0000000005");
    assert_eq!(refused["state"], "failed");
    assert!(refused["reason"].as_str().unwrap().contains("is not the name of a submission"), "{tasks}");

    let ended = eventually("metrics of the tasks", DEADLINE, || {
        let text = metrics.text();
        text.contains("atalaya_tasks{state=\"queued\"} 1").then_some(text)
    });
    for line in [
        "atalaya_tasks_ended_total{action=\"sensors.selftest\",state=\"done\"} 1",
        "atalaya_task_executions_total{action=\"sensors.selftest\",result=\"done\"} 1",
        "atalaya_task_executions_running 0",
        "atalaya_task_slots_free 2",
        "atalaya_task_run_seconds_count 2",
    ] {
        assert!(ended.contains(line), "no {line} in {ended}");
    }
}

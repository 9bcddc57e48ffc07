//! `atalaya task submit` without a leader: exactly once, limits, checks and exit codes.

use atalaya_testbed::{Process, eventually};
use serde_json::{Value, json};

use crate::common::outputs::stdout;
use crate::common::task_tool::{
    SPEC, STATE, done, json_lines, publish_worker, record, refused, tool_on, tool_with_timeout,
};
use crate::common::{DEADLINE, Fleet, wait_until};

on_both!(
    task_submit_creates_one_znode_and_prints_its_id,
    task_submit_refuses_the_1001st_live_task_and_creates_nothing,
    task_submit_is_exact_near_the_limit_with_concurrent_clients,
    task_submit_after_a_lost_reply_creates_one_task,
    task_submit_after_a_lost_request_creates_one_task,
    task_submit_after_a_lost_reply_finds_its_task_in_the_records,
    task_submit_refuses_wrong_usage_and_wrong_specifications,
    task_submit_explains_without_creating_anything,
    task_submit_checks_action_and_arguments_with_the_published_ones,
);

const SYNC: i32 = 9;
const MULTI: i32 = 14;

fn fill(fleet: &Fleet, count: usize) {
    let probe = fleet.probe();
    for number in 0..count {
        probe.create(&format!("{SPEC}/x-{number}"), b"{}", false).unwrap();
    }
}

fn task_submit_creates_one_znode_and_prints_its_id(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    let id = done(&fleet, &["submit", "status", "--to", "all", "--priority", "7"]);
    let probe = fleet.probe();
    assert_eq!(probe.ls(SPEC), [id.trim()]);
    let spec: Value = serde_json::from_str(&probe.text(&format!("{SPEC}/{}", id.trim())).unwrap()).unwrap();
    assert_eq!(
        (&spec["action"], &spec["to"], &spec["priority"]),
        (&json!("status"), &json!("all"), &json!(7))
    );
    assert!(spec["by"].as_str().unwrap().starts_with("ana@"), "{spec}");
    assert!(probe.ls(STATE).is_empty(), "only the leader writes records");
    let second = json_lines(&done(&fleet, &["submit", "status", "--output", "json"]));
    assert_eq!(second[0]["state"], "queued");
    assert_eq!(probe.ls(SPEC), [id.trim(), second[0]["task"].as_str().unwrap()]);
}

fn task_submit_refuses_the_1001st_live_task_and_creates_nothing(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    fill(&fleet, 999);
    done(&fleet, &["submit", "status"]);
    let probe = fleet.probe();
    let before = probe.exists(SPEC).unwrap();
    assert_eq!(before.version, 1, "submissions near the limit are serialised");
    refused(&fleet, &["submit", "status"], 75, "there are 1000 live tasks, and 1000 are the maximum");
    let after = probe.exists(SPEC).unwrap();
    assert_eq!((after.cversion, after.version), (before.cversion, before.version), "no znode was created");
}

fn task_submit_is_exact_near_the_limit_with_concurrent_clients(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    fill(&fleet, 997);
    let mut clients: Vec<Process> =
        (0..6).map(|_| Process::spawn(tool_on(&fleet.hosts, &["submit", "status"]))).collect();
    let mut codes: Vec<i32> =
        clients.iter_mut().map(|client| client.wait_exit(DEADLINE).code().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 0, 75, 75, 75]);
    assert_eq!(fleet.probe().ls(SPEC).len(), 1_000);
}

fn task_submit_after_a_lost_reply_creates_one_task(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    let proxy = fleet.server.proxy();
    proxy.cut_after_request(MULTI);
    let output = tool_on(&proxy.connect_string(), &["submit", "status"]).output().unwrap();
    assert!(!proxy.is_armed());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(fleet.probe().ls(SPEC), [stdout(&output).trim()]);
}

fn task_submit_after_a_lost_request_creates_one_task(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    let proxy = fleet.server.proxy();
    proxy.cut_before_request(MULTI);
    let output = tool_on(&proxy.connect_string(), &["submit", "status"]).output().unwrap();
    assert!(!proxy.is_armed());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(fleet.probe().ls(SPEC), [stdout(&output).trim()]);
}

fn task_submit_after_a_lost_reply_finds_its_task_in_the_records(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    let proxy = fleet.server.proxy();
    // Holds the command until the faults are set.
    proxy.mute(Some(SYNC));
    let hosts = proxy.connect_string();
    let mut submitting = Process::spawn(tool_with_timeout(&hosts, &["submit", "status"], "6s"));
    wait_until("the connection", || proxy.connections() > 0);
    proxy.cut_after_request(MULTI);
    proxy.refuse(true);
    proxy.mute(None);
    let probe = fleet.probe();
    let id = eventually("the task", DEADLINE, || probe.ls(SPEC).pop());
    let spec = probe.text(&format!("{SPEC}/{id}")).unwrap();
    let done = record("done", &json!({"spec": serde_json::from_str::<Value>(&spec).unwrap()}));
    probe.create(&format!("{STATE}/{id}"), &done, false).unwrap();
    probe.delete(&format!("{SPEC}/{id}")).unwrap();
    proxy.refuse(false);
    submitting.wait_for_line(&id, DEADLINE);
    assert_eq!(submitting.wait_exit(DEADLINE).code(), Some(0), "{:?}", submitting.log());
    assert!(probe.ls(SPEC).is_empty());
}

fn task_submit_refuses_wrong_usage_and_wrong_specifications(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    let long = format!("note={}", "x".repeat(900));
    let many: Vec<String> = (0..10).map(|number| format!("n{number}{long}")).collect();
    let mut too_large = vec!["submit", "status", "--force"];
    too_large.extend(many.iter().map(String::as_str));
    let table: &[(&[&str], i32, &str)] = &[
        (&["submit", "status", "x"], 64, "KEY=VALUE"),
        (&["submit", "status", "a=1", "a=2"], 64, "twice"),
        (&["submit", "status", "--where", "color=red"], 64, "the keys are node, chip"),
        (&["submit", "status", "--priority", "10"], 64, "priority"),
        (&["submit", "status", "--batches", "0", "--to", "all"], 64, "batches"),
        (&["submit", "status", "--pause", "1s"], 64, "--batches"),
        (&["submit", "status", "--attempts", "0"], 65, "attempts"),
        (&["submit", "status", "--to", "1,1"], 65, "twice"),
        (&["submit", "status", "--batches", "1"], 65, "several nodes"),
        (&["submit", "../x", "--force"], 65, "not the name of an action"),
        (&too_large, 65, "8192 are the maximum"),
        (&["show", "x"], 65, "a task id is a number"),
        (&["show", "9"], 65, "task t-0000000009 does not exist"),
        (&["watch", "9"], 65, "task t-0000000009 does not exist"),
        (&["result", "9"], 65, "task t-0000000009 does not exist"),
        (&["retry", "9"], 65, "task t-0000000009 does not exist"),
        (&["cancel", "9"], 65, "task t-0000000009 does not exist"),
        (&["actions", "--node", "9"], 65, "node 9 is unknown"),
    ];
    for (words, code, reason) in table {
        refused(&fleet, words, *code, reason);
    }
    let probe = fleet.probe();
    assert!(probe.ls(SPEC).is_empty() && probe.ls("/atalaya/tasks/cancel").is_empty());
}

fn task_submit_explains_without_creating_anything(fleet: Fleet) {
    let probe = fleet.probe();
    refused(&fleet, &["submit", "status", "--explain"], 65, "no node has published its actions");
    assert!(probe.exists("/atalaya").is_none(), "nothing was created");
    publish_worker(&fleet, "1", true);
    publish_worker(&fleet, "2", false);
    let before = probe.exists("/atalaya/tasks").unwrap().cversion;
    let text = done(&fleet, &["submit", "status", "--explain"]);
    assert!(text.contains("1     can execute it now\n2     is absent\n"), "{text}");
    let words = ["submit", "status", "--where", "chip=lm75", "--explain", "--output", "json"];
    let explained = json_lines(&done(&fleet, &words));
    assert_eq!(explained[0]["nodes"]["1"]["reason"], "does not meet chip=lm75");
    assert_eq!(probe.exists("/atalaya/tasks").unwrap().cversion, before);
    assert!(probe.exists(SPEC).is_none());
}

fn task_submit_checks_action_and_arguments_with_the_published_ones(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    refused(&fleet, &["submit", "reboot"], 65, "the known actions are calibrate, status; --force");
    refused(&fleet, &["submit", "calibrate", "sensor=a"], 65, "the argument at is missing");
    refused(&fleet, &["submit", "calibrate", "sensor=a", "at=11"], 65, "`11` is not a number from 0 to 10");
    refused(&fleet, &["submit", "status", "x=1"], 65, "the action has no argument x");
    assert!(fleet.probe().exists(SPEC).is_none());
    let id = done(&fleet, &["submit", "calibrate", "sensor=a; rm -rf \"$HOME\"", "at=1"]);
    let spec = fleet.probe().text(&format!("{SPEC}/{}", id.trim())).unwrap();
    let spec: Value = serde_json::from_str(&spec).unwrap();
    assert_eq!(spec["promise"], "at-most-once", "the promise of the action");
    assert_eq!(spec["args"]["sensor"], "a; rm -rf \"$HOME\"");
    done(&fleet, &["submit", "reboot", "--force"]);
}

//! `atalaya task …` without a leader: submission exactly once, limits, hostile data, exit codes and output.

use std::process::{Command, Output};

use atalaya_testbed::{Process, Scratch, eventually, guarded};
use serde_json::{Value, json};

use crate::common::{DEADLINE, Fleet};

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
    task_list_and_show_survive_hostile_data,
    task_show_and_list_name_a_task_that_is_not_accepted,
    task_cancel_before_acceptance_is_requested_once,
    task_watch_ends_with_the_exit_code_of_the_state,
    task_watch_continues_after_a_lost_server,
    task_wait_times_out_and_the_task_continues,
    task_result_prints_the_output_and_the_exit_code,
    task_retry_repeats_the_nodes_that_are_not_done,
    task_actions_lists_present_and_absent_nodes,
    task_completion_prints_actions_and_never_an_error,
    task_commands_exit_with_69_if_zookeeper_is_unreachable,
);

const SPEC: &str = "/atalaya/tasks/spec";
const STATE: &str = "/atalaya/tasks/state";
const SYNC: i32 = 9;
const MULTI: i32 = 14;

fn tool_on(hosts: &str, words: &[&str]) -> Command {
    tool_with_timeout(hosts, words, "6s")
}

fn tool_with_timeout(hosts: &str, words: &[&str], timeout: &str) -> Command {
    let mut command = guarded(env!("CARGO_BIN_EXE_atalaya"));
    command.arg("task").args(words).args(["--zookeeper", hosts, "--session-timeout", timeout]);
    command.current_dir(std::env::temp_dir()).env("USER", "ana");
    command
}

fn task(fleet: &Fleet, words: &[&str]) -> Output {
    tool_on(&fleet.hosts, words).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the output of a command that succeeds.
#[track_caller]
fn done(fleet: &Fleet, words: &[&str]) -> String {
    let output = task(fleet, words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    stdout(&output)
}

/// Checks the exit code and that the message contains `reason`.
#[track_caller]
fn refused(fleet: &Fleet, words: &[&str], code: i32, reason: &str) {
    let output = task(fleet, words);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
    assert!(stderr(&output).contains(reason), "{words:?}: {}", stderr(&output));
}

#[track_caller]
fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Writes the description of a worker that offers `status` and `calibrate`.
fn publish_worker(fleet: &Fleet, node: &str, is_alive: bool) {
    let probe = fleet.probe();
    let calibrate = json!({"args": {"sensor": "sensor", "at": {"number": [0, 10]}}, "run_for_ms": 1_000,
        "promise": "at-most-once"});
    let info = json!({"board": "pi", "chips": ["bme280"], "slots": 1,
        "actions": {"status": {"read_only": true, "run_for_ms": 60_000}, "calibrate": calibrate}});
    let path = format!("/atalaya/tasks/worker/{node}");
    probe.create(&path, info.to_string().as_bytes(), false).unwrap();
    let path = format!("/atalaya/tasks/alive/{node}");
    probe.create(&path, b"", false).unwrap();
    if !is_alive {
        probe.delete(&path).unwrap();
    }
}

/// Creates `count` specifications below the parent of all.
fn fill(fleet: &Fleet, count: usize) {
    let probe = fleet.probe();
    for number in 0..count {
        probe.create(&format!("{SPEC}/x-{number}"), b"{}", false).unwrap();
    }
}

/// Returns a record of a final state, as a leader writes it.
fn record(state: &str, extra: &Value) -> Value {
    let mut record = json!({"state": state, "submitted_at": 1, "ended_at": 2,
        "spec": {"id": "s", "action": "status"}});
    record.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    record
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
    let mut submitting = Process::spawn(tool_with_timeout(&hosts, &["submit", "status"], "2s"));
    eventually("the connection", DEADLINE, || (proxy.connections() > 0).then_some(()));
    proxy.cut_after_request(MULTI);
    proxy.refuse(true);
    proxy.mute(None);
    let probe = fleet.probe();
    let id = eventually("the task", DEADLINE, || probe.ls(SPEC).pop());
    let spec = probe.text(&format!("{SPEC}/{id}")).unwrap();
    let done = record("done", &json!({"spec": serde_json::from_str::<Value>(&spec).unwrap()}));
    probe.create(&format!("{STATE}/{id}"), done.to_string().as_bytes(), false).unwrap();
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
        (&["show", "9"], 65, "there is no task t-0000000009"),
        (&["watch", "9"], 65, "there is no task t-0000000009"),
        (&["result", "9"], 65, "there is no task t-0000000009"),
        (&["retry", "9"], 65, "there is no task t-0000000009"),
        (&["cancel", "9"], 65, "there is no task t-0000000009"),
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

fn task_list_and_show_survive_hostile_data(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    let good = done(&fleet, &["submit", "status"]);
    let probe = fleet.probe();
    let large = vec![b' '; 1_000_000];
    let data: [&[u8]; 5] =
        [&large, b"not JSON", b"{\"id\":\"a\",\"action\":\"b\",\"color\":1}", b"\x1b[2J\xff", b""];
    for (number, data) in data.iter().enumerate() {
        probe.create(&format!("{SPEC}/t-000000100{number}"), data, false).unwrap();
        probe.create(&format!("{STATE}/t-000000200{number}"), data, false).unwrap();
        probe.create(&format!("/atalaya/tasks/worker/w{number}"), data, false).unwrap();
        probe.create(&format!("/atalaya/tasks/claim/{number}\u{202e}"), data, false).unwrap();
    }
    let hostile = json!({"reason": "a\u{1b}[2J\nb", "part": {"state": "failed", "node": "\u{1b}]0;x",
        "outcome": {"result": "failed", "output": "\u{1b}[31mred"}}});
    probe
        .create(&format!("{STATE}/t-0000003000"), record("failed", &hostile).to_string().as_bytes(), false)
        .unwrap();
    for number in 0..10_000 {
        probe.create_below(&format!("{SPEC}/garbage-{number}"), b"x", false).unwrap();
    }
    let text = done(&fleet, &["list"]);
    assert_eq!(text.lines().count(), 13, "{text}");
    assert!(text.contains(good.trim()) && !text.contains('\u{1b}'), "{text}");
    let lines = json_lines(&done(&fleet, &["list", "--output", "json", "--state", "unreadable"]));
    assert_eq!(lines.len(), 10);
    for id in ["1000", "1001", "1002", "1003", "1004", "2000", "2001", "2004", "3000"] {
        let text = done(&fleet, &["show", id]);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(json_lines(&done(&fleet, &["show", id, "--output", "json"])).len(), 1);
    }
    refused(&fleet, &["watch", "2001"], 65, "unreadable");
    refused(&fleet, &["retry", "2001"], 65, "unreadable");
    refused(&fleet, &["submit", "status"], 75, "10006 live tasks");
    assert!(done(&fleet, &["actions"]).contains("w0    absent    -      -         unreadable"));
    assert!(done(&fleet, &["show", good.trim()]).contains("state     queued"));
}

fn task_show_and_list_name_a_task_that_is_not_accepted(fleet: Fleet) {
    assert_eq!(done(&fleet, &["list"]), "there are no tasks\n");
    publish_worker(&fleet, "1", true);
    let id = done(&fleet, &["submit", "status"]);
    let text = done(&fleet, &["show", id.trim()]);
    assert!(
        text.contains("state     queued\nwaits     not accepted by a leader yet: no node leads"),
        "{text}"
    );
    let listed = json_lines(&done(&fleet, &["list", "--output", "json"]));
    assert_eq!((&listed[0]["state"], &listed[0]["accepted"]), (&json!("queued"), &json!(false)));
    assert_eq!(done(&fleet, &["list", "--state", "failed"]), "there are no such tasks\n");
    refused(&fleet, &["result", id.trim()], 75, "has not ended");
    refused(&fleet, &["retry", id.trim()], 65, "queued; cancel it first");
}

fn task_cancel_before_acceptance_is_requested_once(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    let id = done(&fleet, &["submit", "status"]);
    let id = id.trim();
    assert!(done(&fleet, &["cancel", id, "--reason", "wrong node"]).contains("requested\n"));
    assert!(done(&fleet, &["cancel", id]).contains("requested before\n"));
    let probe = fleet.probe();
    let request: Value =
        serde_json::from_str(&probe.text(&format!("/atalaya/tasks/cancel/{id}")).unwrap()).unwrap();
    assert_eq!(request["reason"], "wrong node");
    assert!(done(&fleet, &["show", id]).contains("wrong node"));
    probe
        .create(&format!("{STATE}/t-0000000900"), record("done", &json!({})).to_string().as_bytes(), false)
        .unwrap();
    refused(&fleet, &["cancel", "900"], 65, "has ended already: done");
    assert_eq!(probe.ls("/atalaya/tasks/cancel"), [id]);
}

fn task_watch_ends_with_the_exit_code_of_the_state(fleet: Fleet) {
    let probe = fleet.probe();
    let table = [
        ("done", 0),
        ("failed", 1),
        ("timed-out", 1),
        ("lost", 1),
        ("skipped", 1),
        ("cancelled", 75),
        ("expired", 75),
    ];
    for (number, (state, code)) in table.iter().enumerate() {
        let data = record(state, &json!({"reason": "because"})).to_string();
        probe.create(&format!("{STATE}/t-000000000{number}"), data.as_bytes(), false).unwrap();
        let output = task(&fleet, &["watch", &number.to_string(), "--output", "json"]);
        assert_eq!(output.status.code(), Some(*code), "{output:?}");
        assert_eq!(json_lines(&stdout(&output)).last().unwrap()["state"], **state);
        assert!(*code == 0 || stderr(&output).contains("because"), "{output:?}");
    }
}

fn task_watch_continues_after_a_lost_server(mut fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    let id = done(&fleet, &["submit", "status", "--to", "1"]);
    let id = id.trim();
    let mut watching = Process::spawn(tool_on(&fleet.hosts, &["watch", id]));
    watching.wait_for_line("queued", DEADLINE);
    let probe = fleet.probe();
    let state = format!("{STATE}/{id}");
    let assigned = json!({"part": {"state": "assigned", "node": "1", "attempt": 1}, "ended_at": null});
    probe.create(&state, record("assigned", &assigned).to_string().as_bytes(), false).unwrap();
    watching.wait_for_line("assigned on 1", DEADLINE);
    let run = json!({"attempt": 1, "action": "status"}).to_string();
    probe.create(&format!("/atalaya/tasks/run/1/{id}"), run.as_bytes(), false).unwrap();
    probe.create(&format!("/atalaya/tasks/claim/{id}.1"), br#"{"text":"half done"}"#, false).unwrap();
    watching.wait_for_line("running on 1: half done", DEADLINE);
    assert!(done(&fleet, &["show", id]).contains("state     running"));
    assert!(done(&fleet, &["list"]).contains("running"));
    drop(probe);
    fleet.server.vanish();
    watching.wait_for_line("suspended", DEADLINE);
    fleet.server.come_back();
    let probe = fleet.probe();
    let ended = json!({"part": {"state": "done", "node": "1", "attempt": 1}});
    probe.set(&state, record("done", &ended).to_string().as_bytes()).unwrap();
    assert_eq!(watching.wait_exit(DEADLINE).code(), Some(0), "{:?}", watching.log());
}

fn task_wait_times_out_and_the_task_continues(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    let output = task(&fleet, &["submit", "status", "--wait", "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(stderr(&output).contains("it continues"), "{output:?}");
    let id = stdout(&output).lines().next().unwrap().to_owned();
    assert_eq!(fleet.probe().ls(SPEC), [id.clone()]);
    let mut waiting = Process::spawn(tool_on(&fleet.hosts, &["watch", &id]));
    waiting.wait_for_line("queued", DEADLINE);
    waiting.int();
    assert_eq!(waiting.wait_exit(DEADLINE).code(), Some(75));
}

fn task_result_prints_the_output_and_the_exit_code(fleet: Fleet) {
    let probe = fleet.probe();
    let outcome =
        json!({"result": "failed", "exit_code": 3, "output": "one\ntwo\n", "reason": "exit code 3"});
    let single = json!({"part": {"state": "failed", "node": "1", "outcome": outcome}});
    probe
        .create(&format!("{STATE}/t-0000000001"), record("failed", &single).to_string().as_bytes(), false)
        .unwrap();
    let output = task(&fleet, &["result", "1"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), "one\ntwo\n"));
    assert!(stderr(&output).contains("exit code 3"), "{output:?}");
    refused(&fleet, &["result", "1", "--node", "2"], 65, "was not assigned to node 2");
    let roster =
        json!({"roster": {"1": "done", "2": "failed"}, "spec": {"id": "s", "action": "status", "to": "all"}});
    let path = format!("{STATE}/t-0000000002");
    probe.create(&path, record("failed", &roster).to_string().as_bytes(), false).unwrap();
    let part = json!({"state": "done", "node": "1", "outcome": {"result": "done", "output": "fine"}});
    probe.create(&format!("{path}/1"), part.to_string().as_bytes(), false).unwrap();
    probe.create(&format!("{path}/2"), b"not a record", false).unwrap();
    let output = task(&fleet, &["result", "2"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), "node 1:\nfine\n"));
    assert_eq!(done(&fleet, &["result", "2", "--node", "1"]), "fine");
    let text = done(&fleet, &["show", "2"]);
    assert!(text.contains("nodes     2: 1 done, 1 unreadable"), "{text}");
    let lines = json_lines(&done(&fleet, &["result", "2", "--node", "1", "--output", "json"]));
    assert_eq!((&lines[0]["node"], &lines[0]["output"]), (&json!("1"), &json!("fine")));
}

fn task_retry_repeats_the_nodes_that_are_not_done(fleet: Fleet) {
    let probe = fleet.probe();
    let roster = json!({"roster": {"1": "done", "2": "failed", "3": "expired"},
        "spec": {"id": "s", "action": "status", "to": "all", "attempts": 7}});
    let path = format!("{STATE}/t-0000000002");
    probe.create(&path, record("failed", &roster).to_string().as_bytes(), false).unwrap();
    let id = done(&fleet, &["retry", "2"]);
    let spec = probe.text(&format!("{SPEC}/{}", id.trim())).unwrap();
    let spec: Value = serde_json::from_str(&spec).unwrap();
    assert_eq!(spec["to"], json!({"nodes": ["2", "3"]}));
    assert_eq!((&spec["retry_of"], &spec["attempts"]), (&json!("t-0000000002"), &json!(7)));
    assert_ne!(spec["id"], "s");
}

fn task_actions_lists_present_and_absent_nodes(fleet: Fleet) {
    assert_eq!(done(&fleet, &["actions"]), "no node has published its actions\n");
    publish_worker(&fleet, "1", true);
    publish_worker(&fleet, "2", false);
    let text = done(&fleet, &["actions"]);
    assert!(
        text.contains("1     present   pi     0 of 1    2\n2     absent    pi     0 of 1    2\n"),
        "{text}"
    );
    assert!(
        text.contains("calibrate  all    1.0s   at-most-once  at: a number from 0 to 10; sensor: "),
        "{text}"
    );
    let lines = json_lines(&done(&fleet, &["actions", "--node", "2", "--output", "json"]));
    assert_eq!((lines.len(), &lines[0]["present"]), (1, &json!(false)));
}

fn task_completion_prints_actions_and_never_an_error(mut fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    assert_eq!(done(&fleet, &["complete"]), "calibrate\nstatus\n");
    let mut script = guarded(env!("CARGO_BIN_EXE_atalaya"));
    let script = stdout(&script.args(["completions", "bash"]).output().unwrap());
    let program = env!("CARGO_BIN_EXE_atalaya");
    let scratch = Scratch::new("completion");
    let file = scratch.path().join("ask.sh");
    let ask = format!(
        "{script}\nCOMP_WORDS=({program} task submit st) COMP_CWORD=3\n_atalaya_with_actions\necho \"${{COMPREPLY[@]}}\"\n\
         COMP_WORDS=({program} task ca) COMP_CWORD=2\n_atalaya_with_actions {program} ca task\necho \"${{COMPREPLY[@]}}\"\n"
    );
    std::fs::write(&file, ask).unwrap();
    let mut bash = guarded("bash");
    bash.arg("--norc").arg(&file).env("ATALAYA_ZOOKEEPER", &fleet.hosts);
    let output = bash.output().unwrap();
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("status\ncancel\n", ""));
    fleet.server.vanish();
    let output = task(&fleet, &["complete"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ""));
}

fn task_commands_exit_with_69_if_zookeeper_is_unreachable(mut fleet: Fleet) {
    fleet.server.vanish();
    for words in [&["submit", "status"][..], &["list"], &["show", "1"], &["watch", "1"], &["cancel", "1"]] {
        let words = [words, &["--connect-timeout", "300ms"]].concat();
        refused(&fleet, &words, 69, "ZooKeeper");
    }
}

//! `atalaya task list|show|watch|result|cancel|retry|actions` without a leader: hostile data, exit codes and output.

use atalaya_testbed::{Process, Scratch, eventually, parent_death_command};
use serde_json::{Value, json};

use crate::common::outputs::{stderr, stdout};
use crate::common::task_tool::{
    SPEC, STATE, done, json_lines, publish_worker, record, refused, task, tool_on,
};
use crate::common::{DEADLINE, Fleet};

on_both!(
    task_list_and_show_survive_hostile_data,
    task_show_and_list_name_a_task_that_is_not_accepted,
    task_cancel_before_acceptance_is_requested_once,
    task_watch_ends_with_the_exit_code_of_the_state,
    task_watch_continues_after_a_lost_server,
    task_watch_counts_the_nodes_of_a_broadcast,
    task_wait_times_out_and_the_task_continues,
    task_result_prints_the_output_and_the_exit_code,
    task_retry_repeats_the_nodes_that_are_not_done,
    task_actions_lists_present_and_absent_nodes,
    task_completion_prints_actions_and_never_an_error,
    task_commands_exit_with_69_if_zookeeper_is_unreachable,
);

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
    probe.create(&format!("{STATE}/t-0000003000"), &record("failed", &hostile), false).unwrap();
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
    probe.create(&format!("{STATE}/t-0000000900"), &record("done", &json!({})), false).unwrap();
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
        let data = record(state, &json!({"reason": "because"}));
        probe.create(&format!("{STATE}/t-000000000{number}"), &data, false).unwrap();
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
    let mut watching = Process::start(tool_on(&fleet.hosts, &["watch", id]), "queued", DEADLINE);
    let probe = fleet.probe();
    let state = format!("{STATE}/{id}");
    let assigned = json!({"part": {"state": "assigned", "node": "1", "attempt": 1}, "ended_at": null});
    probe.create(&state, &record("assigned", &assigned), false).unwrap();
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
    probe.set(&state, &record("done", &ended)).unwrap();
    assert_eq!(watching.wait_exit(DEADLINE).code(), Some(0), "{:?}", watching.log());
}

fn task_watch_counts_the_nodes_of_a_broadcast(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    publish_worker(&fleet, "3", false);
    let id = done(&fleet, &["submit", "status", "--to", "1,2,3"]);
    let id = id.trim();
    let probe = fleet.probe();
    let state = format!("{STATE}/{id}");
    let spec: Value = serde_json::from_str(&probe.text(&format!("{SPEC}/{id}")).unwrap()).unwrap();
    let roster =
        json!({"roster": {"1": "queued", "2": "queued", "3": "queued"}, "spec": spec, "ended_at": null});
    probe.create(&state, &record("assigned", &roster), false).unwrap();
    let mut watching =
        Process::start(tool_on(&fleet.hosts, &["watch", id]), "assigned: of 3 nodes: 3 queued", DEADLINE);
    let run = json!({"attempt": 1, "action": "status"}).to_string();
    probe.create(&format!("/atalaya/tasks/run/1/{id}"), run.as_bytes(), false).unwrap();
    watching.wait_for_line("assigned: of 3 nodes: 1 assigned, 2 queued", DEADLINE);
    probe.create(&format!("/atalaya/tasks/claim/{id}.1"), br#"{"text":"half done"}"#, false).unwrap();
    probe.create(&format!("{state}/2"), br#"{"state":"done","node":"2","attempt":1}"#, false).unwrap();
    watching.wait_for_line("running: of 3 nodes: 1 done, 1 queued, 1 running", DEADLINE);
    let text = done(&fleet, &["show", id]);
    for wanted in [
        "waits     no node leads the fleet\n          node 3 is absent\n",
        "half done",
        "nodes     3: 1 done",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let ended = json!({"roster": {"1": "done", "2": "done", "3": "expired"}, "spec": spec,
        "reason": "of 3 nodes: 2 done, 1 expired"});
    probe.set(&state, &record("expired", &ended)).unwrap();
    assert_eq!(watching.wait_exit(DEADLINE).code(), Some(1), "a node is not done: {:?}", watching.log());
}

#[test]
fn task_watch_continues_in_a_new_session() {
    let fleet = Fleet::memory();
    publish_worker(&fleet, "1", true);
    let id = done(&fleet, &["submit", "status"]);
    let id = id.trim();
    let hand = fleet.server.hand();
    // Sessions of other clients may not have ended yet.
    let others = hand.sessions();
    let own = || hand.sessions().into_iter().find(|session| !others.contains(session));
    let mut watching = Process::start(tool_on(&fleet.hosts, &["watch", id]), "queued", DEADLINE);
    let session = own().expect("the session of the command");
    hand.expire(session);
    eventually("a new session", DEADLINE, || own().filter(|new| *new != session));
    fleet.probe().create(&format!("{STATE}/{id}"), &record("done", &json!({})), false).unwrap();
    assert_eq!(watching.wait_exit(DEADLINE).code(), Some(0), "{:?}", watching.log());
}

fn task_wait_times_out_and_the_task_continues(fleet: Fleet) {
    publish_worker(&fleet, "1", true);
    let output = task(&fleet, &["submit", "status", "--wait", "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(stderr(&output).contains("it continues"), "{output:?}");
    let id = stdout(&output).lines().next().unwrap().to_owned();
    assert_eq!(fleet.probe().ls(SPEC), [id.as_str()]);
    let mut waiting = Process::start(tool_on(&fleet.hosts, &["watch", &id]), "queued", DEADLINE);
    waiting.int();
    assert_eq!(waiting.wait_exit(DEADLINE).code(), Some(75));
}

fn task_result_prints_the_output_and_the_exit_code(fleet: Fleet) {
    let probe = fleet.probe();
    let outcome =
        json!({"result": "failed", "exit_code": 3, "output": "one\ntwo\n", "reason": "exit code 3"});
    let single = json!({"part": {"state": "failed", "node": "1", "outcome": outcome}});
    probe.create(&format!("{STATE}/t-0000000001"), &record("failed", &single), false).unwrap();
    let output = task(&fleet, &["result", "1"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), "one\ntwo\n"));
    assert!(stderr(&output).contains("exit code 3"), "{output:?}");
    refused(&fleet, &["result", "1", "--node", "2"], 65, "was not assigned to node 2");
    let roster =
        json!({"roster": {"1": "done", "2": "failed"}, "spec": {"id": "s", "action": "status", "to": "all"}});
    let path = format!("{STATE}/t-0000000002");
    probe.create(&path, &record("failed", &roster), false).unwrap();
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
    probe.create(&path, &record("failed", &roster), false).unwrap();
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
    let scratch = Scratch::new("completion");
    let complete = |fleet: &Fleet, cache: &str| {
        let mut command = tool_on(&fleet.hosts, &["complete"]);
        let output = command.env("XDG_CACHE_HOME", scratch.path().join(cache)).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
        stdout(&output)
    };
    assert_eq!(complete(&fleet, "first"), "calibrate\nstatus\n");
    let program = env!("CARGO_BIN_EXE_atalaya");
    let script = stdout(&parent_death_command(program).args(["completions", "bash"]).output().unwrap());
    let file = scratch.path().join("ask.sh");
    let ask = format!(
        "{script}\n\
         COMP_WORDS=({program} task submit st) COMP_CWORD=3\n\
         _atalaya_with_actions\n\
         echo \"${{COMPREPLY[@]}}\"\n\
         COMP_WORDS=({program} task ca) COMP_CWORD=2\n\
         _atalaya_with_actions {program} ca task\n\
         echo \"${{COMPREPLY[@]}}\"\n"
    );
    std::fs::write(&file, ask).unwrap();
    let mut bash = parent_death_command("bash");
    bash.arg("--norc").arg(&file).env("ATALAYA_ZOOKEEPER", &fleet.hosts);
    let output = bash.env("XDG_CACHE_HOME", scratch.path().join("second")).output().unwrap();
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("status\ncancel\n", ""));
    fleet.server.vanish();
    assert_eq!(complete(&fleet, "third"), "", "no names are known");
    assert_eq!(complete(&fleet, "first"), "calibrate\nstatus\n", "the names of the file");
}

fn task_commands_exit_with_69_if_zookeeper_is_unreachable(mut fleet: Fleet) {
    fleet.server.vanish();
    for words in [&["submit", "status"][..], &["list"], &["show", "1"], &["watch", "1"], &["cancel", "1"]] {
        let words = [words, &["--connect-timeout", "300ms"]].concat();
        refused(&fleet, &words, 69, "ZooKeeper");
    }
}

//! Tasks in a running fleet: the leader assigns them, nodes and workers execute them.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, eventually, parent_death_command};
use serde_json::{Value, json};

use crate::common::machine::Machine;
use crate::common::outputs::stdout;
use crate::common::task_boards::{Actions, wait_until_clean, work_with_session};
use crate::common::task_tool::{SPEC, STATE, done, json_lines, task};
use crate::common::{DEADLINE, Fleet, goes_on_publishing, wait_until};

on_both!(
    tasks_are_executed_by_nodes_and_workers_and_leave_one_znode,
    broadcast_names_absent_nodes_and_a_node_that_appears_late,
    cancelled_task_ends_all_processes_of_its_command,
    stopped_worker_hands_its_task_over_at_once,
    reaped_node_hands_its_task_over_at_once,
    killed_worker_is_replaced_at_once_by_its_next_process_or_by_reap,
    hostile_znodes_disturb_neither_other_tasks_nor_sampling,
    new_leader_continues_with_all_tasks,
    tasks_in_sequence_leave_a_bounded_history,
    boards_install_replaces_the_file_or_keeps_the_last_good_one,
);
fn show(fleet: &Fleet, id: &str) -> Value {
    json_lines(&done(fleet, &["show", id.trim(), "--output", "json"])).remove(0)
}

fn submit(fleet: &Fleet, words: &[&str]) -> String {
    done(fleet, &[&["submit"], words].concat()).trim().to_owned()
}

fn wait_for_state(fleet: &Fleet, id: &str, state: &str) -> Value {
    eventually(&format!("{id} is {state}"), DEADLINE, || {
        Some(show(fleet, id)).filter(|task| task["state"] == state)
    })
}

fn tasks_are_executed_by_nodes_and_workers_and_leave_one_znode(fleet: Fleet) {
    let actions = Actions::new();
    let _leader = actions.leader(&fleet);
    let node = actions.node(&fleet, "1", "tasks");
    node.wait_for_line("ready for tasks", DEADLINE);
    let _worker = actions.worker(&fleet, "w1");
    let text = "x=a b; $(id) \"q\" 'r'";
    for node in ["1", "w1"] {
        let output = task(&fleet, &["submit", "echo", text, "--to", node, "--wait"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let id = stdout(&output).lines().next().unwrap().to_owned();
        let result = done(&fleet, &["result", &id]);
        assert_eq!(result, format!("{} on {node}, attempt 1\n", &text[2..]));
    }
    let fences: Vec<i64> = actions.lines().iter().map(|line| line.parse().unwrap()).collect();
    assert!(fences.len() == 2 && fences[0] < fences[1], "{fences:?}");
    let output = task(&fleet, &["submit", "fail", "--to", "1", "--attempts", "2", "--wait"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let id = stdout(&output).lines().next().unwrap().to_owned();
    let failed = show(&fleet, &id);
    assert_eq!(
        (&failed["reason"], &failed["nodes"]["1"]["attempt"]),
        (&json!("exit code 1"), &json!(2)),
        "{failed}"
    );
    let where_lab = ["status", "--where", "label.room=lab & node=w*", "--wait"];
    let id = done(&fleet, &[&["submit"], &where_lab[..]].concat()).lines().next().unwrap().to_owned();
    assert_eq!(show(&fleet, &id)["nodes"]["w1"]["state"], "done");
    wait_until_clean(&fleet);
    assert_eq!(fleet.probe().ls(STATE).len(), 4);
}

fn broadcast_names_absent_nodes_and_a_node_that_appears_late(fleet: Fleet) {
    let actions = Actions::new();
    let _leader = actions.leader(&fleet);
    let mut workers: BTreeMap<&str, Process> =
        ["a", "absent", "b", "late"].into_iter().map(|id| (id, actions.worker(&fleet, id))).collect();
    let probe = fleet.probe();
    for id in ["absent", "late"] {
        let mut worker = workers.remove(id).unwrap();
        worker.term();
        worker.wait_exit(DEADLINE);
        wait_until("the worker has left", || probe.exists(&format!("/atalaya/tasks/alive/{id}")).is_none());
    }
    let nodes = "a,absent,b,late,unknown";
    let id = submit(&fleet, &["echo", "x=1", "--to", nodes, "--start-by", "20s"]);
    wait_until("two nodes are done", || actions.lines().len() == 2);
    let _late = actions.worker(&fleet, "late");
    wait_until("the late node is done", || actions.lines().len() == 3);
    let ended = wait_for_state(&fleet, &id, "expired");
    let nodes = ended["nodes"].as_object().unwrap().iter();
    let nodes: BTreeMap<&str, &str> =
        nodes.map(|(node, part)| (node.as_str(), part["state"].as_str().unwrap())).collect();
    let wanted =
        [("a", "done"), ("absent", "expired"), ("b", "done"), ("late", "done"), ("unknown", "expired")];
    assert_eq!(nodes, wanted.into());
    assert_eq!(actions.lines().len(), 3, "each node executed it once");
    wait_until_clean(&fleet);
}

/// Waits until `hold` has started. Returns its node and process id.
fn wait_for_hold(actions: &Actions, count: usize) -> (String, u32) {
    let line = eventually("the command has started", DEADLINE, || actions.lines().get(count).cloned());
    let mut words = line.split(' ').skip(1);
    (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap())
}

fn wait_until_gone(process: u32) {
    wait_until("the command has ended", || !Path::new(&format!("/proc/{process}")).exists());
}

fn cancelled_task_ends_all_processes_of_its_command(fleet: Fleet) {
    let actions = Actions::new();
    let _leader = actions.leader(&fleet);
    let _worker = actions.worker(&fleet, "w1");
    let id = submit(&fleet, &["hold"]);
    let (_, process) = wait_for_hold(&actions, 0);
    wait_until("its progress", || done(&fleet, &["show", &id]).contains("holding"));
    done(&fleet, &["cancel", &id, "--reason", "enough"]);
    let ended = wait_for_state(&fleet, &id, "cancelled");
    assert!(ended["reason"].as_str().unwrap().contains("enough"), "{ended}");
    wait_until_gone(process);
    wait_until_clean(&fleet);
    // The worker is free again.
    done(&fleet, &["submit", "echo", "x=1", "--wait"]);
    assert!(done(&fleet, &["cancel", &id]).contains("requested before"));
}

fn stopped_worker_hands_its_task_over_at_once(fleet: Fleet) {
    let actions = Actions::new();
    let _leader = actions.leader(&fleet);
    let mut workers: BTreeMap<&str, Process> =
        ["a", "b"].into_iter().map(|id| (id, actions.calm_worker(&fleet, id))).collect();
    let id = submit(&fleet, &["hold"]);
    let (node, process) = wait_for_hold(&actions, 0);
    let mut stopped = workers.remove(node.as_str()).unwrap();
    stopped.shut_down(DEADLINE);
    wait_until_gone(process);
    let (next, _) = wait_for_hold(&actions, 1);
    assert_ne!(next, node);
    let running = show(&fleet, &id);
    assert_eq!(running["nodes"][&next]["state"], "running", "{running}");
}

fn reaped_node_hands_its_task_over_at_once(fleet: Fleet) {
    let actions = Actions::new();
    // Nothing but the cleanup ends the session in time.
    let file = actions.file();
    let long = ["--boards", file.to_str().unwrap(), "--board", "tasks", "--session-timeout", "40s"];
    let _leader = actions.leader(&fleet);
    let machine = Machine::of(&fleet);
    let mut node = machine.node(&fleet, "1", &long);
    node.wait_for_line("ready for tasks", DEADLINE);
    let id = submit(&fleet, &["hold"]);
    let (_, process) = wait_for_hold(&actions, 0);
    let _worker = actions.worker(&fleet, "w1");
    node.kill9();
    wait_until_gone(process);
    let since = Instant::now();
    let text = machine.reap_exits(&["1"], 0);
    assert!(text.contains(&format!("/atalaya/tasks/claim/{id}.1")), "{text}");
    let (next, _) = wait_for_hold(&actions, 1);
    assert_eq!(next, "w1");
    assert!(since.elapsed() < DEADLINE, "before the session has expired");
}

fn killed_worker_is_replaced_at_once_by_its_next_process_or_by_reap(fleet: Fleet) {
    let actions = Actions::new();
    let _leader = actions.leader(&fleet);
    // Nothing but the cleanup ends the sessions in time.
    let command = |id: &str| work_with_session(&fleet, id, &actions.file(), Duration::from_secs(40));
    let mut first = Process::start(command("w1"), "ready for tasks", DEADLINE);
    submit(&fleet, &["hold"]);
    let (_, process) = wait_for_hold(&actions, 0);
    let since = Instant::now();
    first.kill9();
    let mut second =
        Process::start(command("w1"), "deleted the znodes of a dead process with this id", DEADLINE);
    wait_until_gone(process);
    let (next, process) = wait_for_hold(&actions, 1);
    assert_eq!(next, "w1");
    let _other = Process::start(command("w2"), "ready for tasks", DEADLINE);
    second.kill9();
    wait_until_gone(process);
    let mut reap = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    reap.args(["reap", "w1", "--timeout", "20s"])
        .env("ATALAYA_STATE_DIR", actions.scratch.path().join("state"));
    let output = reap.envs(fleet.identity("fleet")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("/atalaya/tasks/alive/w1"), "{output:?}");
    assert_eq!(wait_for_hold(&actions, 2).0, "w2");
    assert!(since.elapsed() < Duration::from_secs(40), "before a session has expired");
}

fn hostile_znodes_disturb_neither_other_tasks_nor_sampling(fleet: Fleet) {
    let actions = Actions::new();
    let _leader = actions.leader(&fleet);
    let node = actions.node(&fleet, "1", "tasks");
    node.wait_for_line("ready for tasks", DEADLINE);
    let probe = fleet.probe();
    let large = vec![b'x'; 1_000_000];
    let unknown = json!({"id": "a", "action": "no.such", "to": {"nodes": ["1"]}}).to_string();
    let climbing = json!({"id": "b", "action": "../../etc/passwd"}).to_string();
    let field = json!({"id": "c", "action": "status", "color": 1}).to_string();
    let wrong_args = json!({"id": "d", "action": "echo", "args": {"y": "1"}}).to_string();
    let specs: [&[u8]; 7] =
        [&large, b"", b"{", unknown.as_bytes(), climbing.as_bytes(), field.as_bytes(), wrong_args.as_bytes()];
    for (number, data) in specs.iter().enumerate() {
        probe.create(&format!("{SPEC}/t-00000010{number:02}"), data, false).unwrap();
    }
    for folder in ["spec", "cancel", "done", "claim", "state", "alive", "run/1", "worker"] {
        for name in ["x", "t-1", "t-0000000001.", "t-9999999999.1"] {
            let _ = probe.create(&format!("/atalaya/tasks/{folder}/{name}"), &large, false);
        }
    }
    // Assignments that no leader has made: refused by the node, and deleted by the next leader at the latest.
    probe.create("/atalaya/tasks/run/1/t-0000000555", b"junk", false).unwrap();
    probe.create("/atalaya/tasks/done/t-0000000777.1", b"junk", false).unwrap();
    probe.create("/atalaya/tasks/cancel/t-0000000888", b"junk", false).unwrap();
    let output = task(&fleet, &["submit", "echo", "x=1", "--to", "1", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for number in 0..specs.len() {
        let ended = wait_for_state(&fleet, &format!("t-00000010{number:02}"), "failed");
        assert!(!ended["reason"].as_str().unwrap_or_default().is_empty(), "{ended}");
    }
    let reason = |number: usize| show(&fleet, &format!("t-00000010{number:02}"))["reason"].to_string();
    assert!(reason(0).contains("1000000 bytes"), "{}", reason(0));
    assert!(reason(3).contains("does not offer the action no.such"), "{}", reason(3));
    assert!(reason(4).contains("not the name of an action"), "{}", reason(4));
    assert!(reason(5).contains("unknown field"), "{}", reason(5));
    assert!(reason(6).contains("unknown argument"), "{}", reason(6));
    eventually("the foreign requests are gone", DEADLINE, || {
        let left = ["done/t-0000000777.1", "cancel/t-0000000888"];
        left.iter().all(|path| probe.exists(&format!("/atalaya/tasks/{path}")).is_none()).then_some(())
    });
    goes_on_publishing(&probe, "1", 3);
}

fn new_leader_continues_with_all_tasks(fleet: Fleet) {
    let actions = Actions::new();
    let mut leader = actions.leader(&fleet);
    let _worker = actions.calm_worker(&fleet, "w1");
    let file = actions.file();
    let second = fleet.follower("second", &["--boards", file.to_str().unwrap(), "--board", "none"]);
    let holding = submit(&fleet, &["hold"]);
    wait_for_hold(&actions, 0);
    let absent = submit(&fleet, &["echo", "x=1", "--to", "w2", "--force"]);
    leader.kill9();
    let later = submit(&fleet, &["echo", "x=2"]);
    second.wait_for_line(" leading epoch=", DEADLINE);
    wait_for_state(&fleet, &later, "done");
    let _other = actions.worker(&fleet, "w2");
    wait_for_state(&fleet, &absent, "done");
    assert_eq!(show(&fleet, &holding)["state"], "running", "it was not interrupted");
    assert_eq!(actions.lines().len(), 3, "{:?}", actions.lines());
    done(&fleet, &["cancel", &holding]);
    wait_for_state(&fleet, &holding, "cancelled");
    wait_until_clean(&fleet);
}

fn tasks_in_sequence_leave_a_bounded_history(fleet: Fleet) {
    let actions = Actions::new();
    let _leader = actions.leader(&fleet);
    let _worker = actions.worker(&fleet, "w1");
    let probe = fleet.probe();
    for batch in 0..4 {
        for number in 0..250 {
            let spec = json!({"id": format!("s{batch}-{number}"), "action": "status"}).to_string();
            probe.create(&format!("{SPEC}/t-{:010}", batch * 250 + number), spec.as_bytes(), false).unwrap();
        }
        eventually("all tasks have ended", DEADLINE * 2, || probe.ls(SPEC).is_empty().then_some(()));
    }
    wait_until_clean(&fleet);
    wait_until("500 records", || probe.ls(STATE).len() == 500);
    let states = json_lines(&done(&fleet, &["list", "--output", "json", "--limit", "500"]));
    assert!(states.iter().all(|task| task["state"] == "done"), "all were executed");
}

fn boards_install_replaces_the_file_or_keeps_the_last_good_one(fleet: Fleet) {
    let actions = Actions::new();
    let _leader = actions.leader(&fleet);
    // Its own file, which the task replaces.
    let own = Actions::new();
    let node = own.node(&fleet, "1", "tasks");
    node.wait_for_line("ready for tasks", DEADLINE);
    let before = std::fs::read_to_string(own.file()).unwrap();
    let new = own.scratch.path().join("new.toml");
    std::fs::write(&new, before.replace("name = \"s\"", "name = \"renamed\"")).unwrap();
    let install = |file: &Path| {
        task(
            &fleet,
            &[
                "submit",
                "boards.install",
                "--file",
                file.to_str().unwrap(),
                "--to",
                "1",
                "--attempts",
                "1",
                "--wait",
            ],
        )
    };
    let output = install(&new);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    node.wait_for_line("sensors=\"renamed\"", DEADLINE);
    let last_good = own.scratch.path().join("boards.toml.last-good");
    assert_eq!(std::fs::read_to_string(&last_good).unwrap(), before);
    // A file that only the node can judge.
    let current = std::fs::read_to_string(own.file()).unwrap();
    std::fs::write(&new, format!("[fleet]\nacl_fleet = \"nonsense\"\n{current}")).unwrap();
    let output = install(&new);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("keeps its current one"), "{text}");
    assert_eq!(std::fs::read_to_string(own.file()).unwrap(), current);
    goes_on_publishing(&fleet.probe(), "1", 2);
    // The client refuses a file that is wrong for every node.
    std::fs::write(&new, "[boards.tasks]\nbackend = 7\n").unwrap();
    assert_eq!(install(&new).status.code(), Some(78));
    wait_until_clean(&fleet);
}

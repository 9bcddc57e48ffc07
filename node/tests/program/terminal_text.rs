//! Text that other programs have written into ZooKeeper is safe on a terminal, and byte for byte in a pipe.
#![cfg(target_os = "linux")]

use std::process::Command;

use atalaya_testbed::{Scratch, Terminal, clean_command};

use crate::common::{DEADLINE, Fleet};

/// Clears the screen, sets a title, colours by a C1 control, overrides the direction of writing, and starts another
/// line.
const HOSTILE: &str = "before\x1b[2J\x1b]0;title\x07\u{9b}31m\u{202e}\u{2066}\r after";
/// The text as a terminal shows it. The terminal of these tests omits U+FFFD.
const SHOWN: &str = "before[2J]0;title31m after";

fn program(scratch: &Scratch, fleet: &Fleet, words: &[&str]) -> Command {
    let mut command = clean_command(scratch.path(), env!("CARGO_BIN_EXE_atalaya"));
    command.args(words).args(["--zookeeper", &fleet.hosts]);
    command
}

#[test]
fn znode_values_are_exact_in_a_pipe_and_safe_on_a_terminal() {
    let fleet = Fleet::memory();
    let scratch = Scratch::new("terminal-text");
    let probe = fleet.probe();
    probe.create("/value", HOSTILE.as_bytes(), false).unwrap();
    let put = || {
        let put = program(&scratch, &fleet, &["queue", "put", "/jobs", HOSTILE]).output().unwrap();
        assert!(put.status.success(), "{put:?}");
    };
    for words in [["config", "get", "/value"], ["queue", "take", "/jobs"]] {
        put();
        let piped = program(&scratch, &fleet, &words).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&piped.stdout), format!("{HOSTILE}\n"), "{words:?}");
    }
    put();
    for words in
        [&["config", "get", "/value"][..], &["config", "watch", "/value"], &["queue", "take", "/jobs"]]
    {
        let terminal = Terminal::spawn(program(&scratch, &fleet, words), (100, 24));
        terminal.wait_for(SHOWN, DEADLINE);
    }
}

#[test]
fn tables_are_safe_on_a_terminal_whatever_znodes_contain() {
    let fleet = Fleet::memory();
    let scratch = Scratch::new("terminal-text");
    let probe = fleet.probe();
    probe.create("/mediciones", b"", false).unwrap();
    probe.create("/atalaya", b"", false).unwrap();
    probe.create("/atalaya/nodes", b"", false).unwrap();
    probe.create("/atalaya/reports", b"", false).unwrap();
    probe.create("/mediciones/a\u{202e}b", HOSTILE.as_bytes(), false).unwrap();
    let said = serde_json::json!({"host": HOSTILE, "version": HOSTILE, "board": HOSTILE, "started": "2026-01-01T00:00:00Z",
        "sensors": [{"name": HOSTILE, "chip": HOSTILE, "quantities": ["x\u{1b}"], "health": {"state": "failing", "error": HOSTILE}}]});
    probe.create("/atalaya/nodes/1", said.to_string().as_bytes(), false).unwrap();
    probe.create("/atalaya/reports/7", HOSTILE.as_bytes(), false).unwrap();
    let outcome = serde_json::json!({"result": "failed", "output": HOSTILE, "reason": HOSTILE});
    let record = serde_json::json!({"state": "failed", "submitted_at": 1, "reason": HOSTILE,
        "spec": {"id": "s", "action": "a", "args": {"x": HOSTILE}, "by": HOSTILE},
        "part": {"state": "failed", "node": HOSTILE, "reason": HOSTILE, "outcome": outcome}});
    let worker = serde_json::json!({"board": HOSTILE, "actions": {HOSTILE: {"args": {HOSTILE: "name"}}}});
    probe.create("/atalaya/tasks/state/t-0000000001", record.to_string().as_bytes(), false).unwrap();
    probe.create("/atalaya/tasks/spec/t-0000000002", HOSTILE.as_bytes(), false).unwrap();
    probe.create("/atalaya/tasks/worker/a\u{202e}b", worker.to_string().as_bytes(), false).unwrap();
    for words in [
        &["status"][..],
        &["task", "list"],
        &["task", "show", "1"],
        &["task", "show", "2"],
        &["task", "watch", "1"],
        &["task", "actions"],
        &["task", "submit", "x"],
        &["inspect", "--recursive"],
        &["inspect", "/mediciones"],
        &["reports", "list"],
        &["sensors", "list", "--node", "1"],
    ] {
        let output = program(&scratch, &fleet, words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let bad =
            text.chars().find(|c| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{2069}').contains(c));
        assert_eq!(bad, None, "{words:?}: {text:?}");
    }
}

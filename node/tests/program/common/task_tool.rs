//! `atalaya task …` as a command, and the znodes that leaders and workers write for it.

use std::process::{Command, Output};

use atalaya_testbed::parent_death_command;
use serde_json::{Value, json};

use super::Fleet;
use super::outputs::{assert_refused, stdout};

pub const SPEC: &str = "/atalaya/tasks/spec";
pub const STATE: &str = "/atalaya/tasks/state";

pub fn tool_on(hosts: &str, words: &[&str]) -> Command {
    tool_with_timeout(hosts, words, "6s")
}

pub fn tool_with_timeout(hosts: &str, words: &[&str], timeout: &str) -> Command {
    let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    command.arg("task").args(words).args(["--zookeeper", hosts, "--session-timeout", timeout]);
    command.current_dir(std::env::temp_dir()).env("USER", "ana");
    command
}

pub fn task(fleet: &Fleet, words: &[&str]) -> Output {
    tool_on(&fleet.hosts, words).output().unwrap()
}

#[track_caller]
pub fn done(fleet: &Fleet, words: &[&str]) -> String {
    let output = task(fleet, words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    stdout(&output)
}

/// Checks the exit code and that the message contains `reason`.
#[track_caller]
pub fn refused(fleet: &Fleet, words: &[&str], code: i32, reason: &str) {
    assert_refused(&task(fleet, words), code, reason);
}

#[track_caller]
pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Writes the description of a worker that offers `status` and `calibrate`.
pub fn publish_worker(fleet: &Fleet, node: &str, is_alive: bool) {
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

/// Returns the data of a record of a final state, as a leader writes it.
pub fn record(state: &str, extra: &Value) -> Vec<u8> {
    let mut record = json!({"state": state, "submitted_at": 1, "ended_at": 2,
        "spec": {"id": "s", "action": "status"}});
    record.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    record.to_string().into_bytes()
}

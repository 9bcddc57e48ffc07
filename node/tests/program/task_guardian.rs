//! The guardian process of a command: no process outlives the lease of the worker, whatever ends the worker.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Instant;

use atalaya_testbed::{Process, Scratch, parent_death_command};

use crate::common::{DEADLINE, wait_until};
use crate::task_actions::{BINARY, SESSION, alive, boards, tree};

fn wait_for_tree(folder: &Path) {
    wait_until("all processes of the tree", || folder.join("ready").exists());
}

/// Starts a worker process (`examples/task_worker.rs`), whose lease is renewed for as long as it runs.
fn worker(folder: &Path) -> Process {
    let boards = boards(folder, &tree(folder, "trap '' TERM; wait; sleep 300"), "");
    std::fs::write(folder.join("boards.toml"), boards).unwrap();
    let exe = std::env::current_exe().unwrap();
    // The examples are built with the tests of the package; the tests are in `deps` beside them.
    let program = exe.parent().and_then(Path::parent).unwrap().join("examples/task_worker");
    assert!(program.exists(), "build it first: cargo build --package atalaya --example task_worker");
    let mut command = parent_death_command(program);
    command.arg(BINARY).arg(folder);
    let worker = Process::spawn(command);
    wait_for_tree(folder);
    worker
}

#[test]
fn guardian_ends_all_processes_of_a_stopped_worker_before_the_lease_ends() {
    let scratch = Scratch::new("actions");
    let mut worker = worker(scratch.path());
    // The lease was renewed at most now.
    let lease_end = Instant::now() + SESSION / 2;
    worker.stop();
    wait_until("the end of the tree", || alive(scratch.path()).is_empty());
    assert!(Instant::now() < lease_end, "processes after the end of the lease");
    assert!(!scratch.path().join("execution").exists(), "the worker is still stopped");
    worker.cont();
    worker.wait_exit(DEADLINE);
    let execution = std::fs::read_to_string(scratch.path().join("execution")).unwrap();
    assert!(execution.contains("Stopped(LeaseEnding)"), "{execution}");
}

#[test]
fn guardian_kills_all_processes_of_a_killed_worker_at_once() {
    let scratch = Scratch::new("actions");
    let mut worker = worker(scratch.path());
    worker.kill9();
    let killed = Instant::now();
    wait_until("the end of the tree", || alive(scratch.path()).is_empty());
    assert!(killed.elapsed() < SESSION / 4, "{:?}", killed.elapsed());
}

/// Returns the time by the clock of the guardian, in milliseconds.
fn boot_millis() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap() * 1_000 + u64::try_from(now.tv_nsec).unwrap() / 1_000_000
}

#[test]
fn guardian_follows_its_worker_and_ignores_signals_of_the_service_manager() {
    let scratch = Scratch::new("actions");
    let script = scratch.path().join("script");
    std::fs::write(&script, tree(scratch.path(), "wait; sleep 300")).unwrap();
    let mut command = std::process::Command::new(BINARY);
    let end = boot_millis() + 60_000;
    command.args(["guard", "--parent", &std::process::id().to_string()]);
    command.args(["--term-at", &end.to_string(), "--kill-at", &(end + 1_000).to_string()]);
    command.args(["--run-for-ms", "60000", "--grace-ms", "100", "--", "/bin/sh"]).arg(&script);
    let mut guardian = Process::spawn_piped(command);
    wait_for_tree(scratch.path());
    guardian.term();
    guardian.hup();
    guardian.write_line("no order");
    guardian.write_line("lease 1 1");
    assert_eq!(alive(scratch.path()).len(), 4, "neither a signal nor a shorter lease ends the command");
    assert!(guardian.is_running());
    guardian.write_line("stop 100");
    assert!(guardian.wait_exit(DEADLINE).success());
    guardian.wait_for_line("\"cause\":\"stopped\"", DEADLINE);
    assert_eq!(alive(scratch.path()), [""; 0]);
}

//! Tasks on servers with authentication and ACLs.
#![cfg(unix)]

use atalaya_testbed::Process;

use crate::common::DEADLINE;
use crate::common::Fleet;
use crate::common::task_boards::{Actions, work};
use crate::common::task_tool::tool_on;

on_secured!(
    actions_are_offered_with_authentication_and_acls,
    worker_does_not_trust_znodes_that_others_can_write
);

fn actions_are_offered_with_authentication_and_acls(fleet: Fleet) {
    let actions = Actions::new();
    let text = actions.boards("").replace("allow_unauthenticated = true\n", "");
    std::fs::write(actions.file(), text).unwrap();
    let _leader = actions.leader(&fleet);
    let worker = actions.worker(&fleet, "w1");
    let run = |user: &str, words: &[&str]| {
        let mut command = tool_on(&fleet.hosts, words);
        command.envs(fleet.identity(user)).output().unwrap()
    };
    let output = run("fleet", &["submit", "echo", "x=1", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{:?}", worker.log());
    assert_eq!(actions.lines().len(), 1);
}

fn worker_does_not_trust_znodes_that_others_can_write(fleet: Fleet) {
    let actions = Actions::new();
    // The znodes of tasks exist since a time without ACLs.
    let mut command = work(&fleet, "w0", &actions.file());
    let mut before = Process::spawn({
        command.env("ATALAYA_ACL", "open");
        command
    });
    before.wait_for_line("ready for tasks", DEADLINE);
    before.term();
    before.wait_exit(DEADLINE);
    let text = actions.boards("").replace("allow_unauthenticated = true\n", "");
    std::fs::write(actions.file(), text).unwrap();
    let _leader = actions.leader(&fleet);
    let worker = actions.worker(&fleet, "w1");
    worker.wait_for_line("clients outside the fleet can write this znode", DEADLINE);
    let run = |words: &[&str]| {
        let mut command = tool_on(&fleet.hosts, words);
        command.envs(fleet.identity("fleet")).output().unwrap()
    };
    let output = run(&["submit", "echo", "x=2", "--to", "w1", "--wait"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = run(&["submit", "status", "--to", "w1", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(actions.lines().is_empty(), "{:?}", actions.lines());
}

//! A task or a thread that panics ends the process with exit code 70, whatever stderr takes, and a supervising parent
//! starts the node again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::process::Command;
use std::time::Duration;

use atalaya_testbed::{Process, Scratch, ZkProbe, clean_command, eventually, node_command};
use atalaya_zookeeper::Server;

const DEADLINE: Duration = Duration::from_secs(30);
const BINARY: &str = env!("CARGO_BIN_EXE_atalaya");

fn node(server: &Server, id: &str, fault: &str) -> Command {
    let mut command = node_command(BINARY, id, &server.connect_string());
    command.args(["--sampling-period", "500ms"]).env("ATALAYA_FAULT", fault);
    command
}

#[track_caller]
fn ends_by_the_panic(process: &mut Process, point: &str) {
    process.wait_for_line(&format!("fault point {point}"), DEADLINE);
    assert_eq!(process.wait_exit(DEADLINE).code(), Some(70));
    let log = process.log();
    assert!(log.iter().any(|line| line.text.contains("ERROR internal error, exiting: thread")), "{log:?}");
}

#[test]
fn node_ends_with_an_error_when_a_task_of_it_panics() {
    let server = Server::builder().start_thread().unwrap();
    let mut node = Process::start(
        node(&server, "1", "reload-task:1:panic"),
        "published the first measurement",
        DEADLINE,
    );
    node.hup();
    ends_by_the_panic(&mut node, "reload-task");
}

#[test]
fn node_ends_with_an_error_when_the_thread_of_a_bus_panics() {
    let server = Server::builder().start_thread().unwrap();
    let scratch = Scratch::new("panics");
    let boards = scratch.path().join("boards.toml");
    let text = "[boards.b]\nbackend = \"linux\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"command\"\n\
                command = [\"echo\", \"1\"]\nquantity = \"voltage\"\n";
    std::fs::write(&boards, text).unwrap();
    let mut command = node(&server, "1", "bus-thread:3:panic");
    command.args(["--boards", &boards.display().to_string()]);
    let mut node = Process::spawn(command);
    ends_by_the_panic(&mut node, "bus-thread");
}

#[test]
fn collector_ends_with_an_error_when_a_task_of_it_panics() {
    let scratch = Scratch::new("panics");
    let mut command = clean_command(scratch.path(), BINARY);
    command.args(["collect", "--listen", "127.0.0.1:0", "--store", "memory"]);
    let mut collector = Process::spawn({
        command.env("ATALAYA_FAULT", "reload-task:1:panic");
        command
    });
    collector.wait_for_line("listening at", DEADLINE);
    collector.hup();
    ends_by_the_panic(&mut collector, "reload-task");
}

#[test]
fn supervised_node_is_started_again_after_a_panic_of_a_task() {
    let server = Server::builder().start_thread().unwrap();
    let mut command = node(&server, "1", "reload-task:1:panic");
    command.arg("--supervised");
    let mut parent = Process::start(command, "published the first measurement", DEADLINE);
    let probe = ZkProbe::connect(&server.connect_string());
    let first = probe.exists("/mediciones/1").unwrap().czxid;
    parent.hup();
    eventually("another node", DEADLINE, || probe.exists("/mediciones/1").filter(|stat| stat.czxid != first));
    parent.shut_down(DEADLINE);
}

#[test]
fn node_ends_with_an_error_after_a_panic_when_stderr_is_not_read() {
    let server = Server::builder().start_thread().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = node(&server, "1", "reload-task:1:panic");
    // 64 KiB fill the pipe.
    command.args(["--log", "trace"]).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let probe = ZkProbe::connect(&server.connect_string());
    eventually("a measurement", DEADLINE, || probe.exists("/mediciones/1"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let status = eventually("the end", DEADLINE, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(70));
    drop(reader);
}

//! A child process: its lines, its signals, its end.

use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, Stream, node_command};

const SECONDS: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::spawn(command)
}

/// Prints a line each 20 ms, until a signal ends it.
const TICKING: &str = "echo ready; \
                       while :; do sleep 0.02; echo tick; done";

#[test]
fn keeps_the_lines_of_both_streams_with_their_times() {
    let start = Instant::now();
    let mut process = shell("echo one; echo two >&2; printf 'caf\\303\\251 \\377'");
    assert!(process.wait_exit(SECONDS).success());
    let log = process.log();
    let text = |stream| log.iter().filter(|l| l.stream == stream).map(|l| l.text.clone()).collect::<Vec<_>>();
    assert_eq!(text(Stream::Stdout), ["one", "café \u{fffd}"]);
    assert_eq!(text(Stream::Stderr), ["two"]);
    assert!(log.iter().all(|line| line.at > start && line.at <= Instant::now()));
    assert!(!process.is_running());
}

#[test]
fn stopped_it_stands_still_until_it_may_go_on() {
    let mut process = shell(TICKING);
    process.wait_for_line("tick", SECONDS);
    process.stop();
    #[cfg(target_os = "linux")]
    assert_eq!(state(process.pid()), 'T', "stopped when stop() returns");
    assert!(process.is_running());
    let since = Instant::now();
    process.cont();
    assert!(process.wait_for_line_since(since, "tick", SECONDS).at > since);
    process.stop();
    drop(process);
}

/// Returns the state of a process: the letter after its name in /proc/PID/stat (proc_pid_stat(5)).
#[cfg(target_os = "linux")]
fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap()
}

#[test]
#[should_panic(expected = "wrote no line with \"never\": it has ended")]
fn does_not_wait_for_the_dead() {
    shell("echo something else").wait_for_line("never", Duration::from_secs(600));
}

#[test]
#[should_panic(expected = "wrote no line with \"never\": not within 50ms")]
fn says_what_it_did_not_write() {
    shell(TICKING).wait_for_line("never", Duration::from_millis(50));
}

#[test]
fn outlives_the_thread_that_started_it() {
    let mut process = std::thread::spawn(|| shell("echo ready; sleep 600")).join().unwrap();
    process.wait_for_line("ready", SECONDS);
    assert!(process.is_running());
}

#[test]
fn variables_and_folder_are_carried_over() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo $MINE-$HOME-$(pwd)"]).env("MINE", "1").env_remove("HOME").current_dir("/");
    Process::spawn(command).wait_for_line("1--/", SECONDS);
}

#[test]
fn a_node_starts_with_a_clean_environment_and_a_folder_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let node = folder.path().join("atalaya");
    std::fs::write(&node, "#!/bin/sh\necho \"args $*\"; echo in $(pwd); env\n").unwrap();
    let mut chmod = Process::spawn({
        let mut command = Command::new("chmod");
        command.arg("+x").arg(&node);
        command
    });
    assert!(chmod.wait_exit(SECONDS).success());
    let run = |id: &str, hosts: &str| {
        let mut command = node_command(node.to_str().unwrap(), id, hosts);
        command.args(["--sampling-period", "1s"]);
        let mut process = Process::spawn(command);
        assert!(process.wait_exit(SECONDS).success());
        process.log().into_iter().map(|line| line.text).collect::<Vec<_>>()
    };
    let first = run("1", "127.0.0.1:1");
    assert_eq!(first[0], "args run 1 --zookeeper 127.0.0.1:1 --sampling-period 1s");
    let state = first[1].strip_prefix("in ").unwrap();
    assert!(first.contains(&format!("ATALAYA_STATE_DIR={state}")), "{first:?}");
    assert!(!first.iter().any(|line| line.starts_with("CARGO")), "{first:?}");
    assert_eq!(run("1", "127.0.0.1:1")[1], first[1]);
    assert_ne!(run("2", "127.0.0.1:1")[1], first[1]);
    assert_ne!(run("1", "127.0.0.1:2")[1], first[1]);
    assert_eq!(run("../..", "127.0.0.1:1")[0], "args run ../.. --zookeeper 127.0.0.1:1 --sampling-period 1s");
}

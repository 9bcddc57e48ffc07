//! Settings in ZooKeeper that would cause unbounded work in a library are refused in bounded time.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::outputs::assert_refused;
use crate::common::{DEADLINE, Fleet, goes_on_publishing};

/// An automaton for this would take gigabytes.
fn bomb() -> String {
    format!("[{{x=(a|b)*a{}}}]=debug", "(a|b)".repeat(22))
}

/// Returns the peak memory of a process, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn log_filter_in_zookeeper_cannot_exhaust_a_node() {
    let fleet = Fleet::memory();
    let probe = fleet.probe();
    let mut nodes = [fleet.leader("1", &[]), fleet.follower("2", &[])];
    let before = nodes.each_ref().map(|node| peak(node.pid()));
    probe.create("/config", b"", false).unwrap();
    probe.create("/config/log", bomb().as_bytes(), false).unwrap();
    for node in &nodes {
        node.wait_for_line("bad log filter", DEADLINE);
    }
    for filter in ["[a]=debug".repeat(400), "(a*)*".repeat(800), "a=debug,".repeat(500), "x".repeat(1 << 19)]
    {
        probe.set("/config/log", filter.as_bytes()).unwrap();
        goes_on_publishing(&probe, "1", 2);
    }
    probe.set("/config/log", b"debug").unwrap();
    for (node, before) in nodes.iter_mut().zip(before) {
        node.wait_for_line("DEBUG", DEADLINE);
        let growth = peak(node.pid()).saturating_sub(before);
        assert!(growth < 32 * 1024, "{growth} KiB more");
        node.shut_down(DEADLINE);
    }
}

#[test]
fn log_filter_of_the_command_line_and_the_environment_is_parsed_in_no_time() {
    let run = |words: &[&str], variable: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atalaya"));
        command.args(words).env("ATALAYA_LOG", variable);
        command.output().unwrap()
    };
    let begin = Instant::now();
    for output in [run(&["--log", &bomb(), "sensors", "list"], ""), run(&["sensors", "list"], &bomb())] {
        assert_refused(&output, 64, "spans and fields are not supported");
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

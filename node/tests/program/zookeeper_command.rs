//! `atalaya zookeeper`: the in-memory server as a program.

use std::time::Duration;

use atalaya_testbed::{Probe, Process, guarded};

use crate::common::{DEADLINE, QUICK, TestEnv, mean_reported};

fn server(args: &[&str]) -> Process {
    let mut command = guarded(env!("CARGO_BIN_EXE_atalaya"));
    command.arg("zookeeper").args(args);
    Process::spawn(command)
}

/// Returns the address that the server logs.
fn address(server: &Process) -> String {
    let line = server.wait_for_line("is listening", DEADLINE).text;
    let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
    address.unwrap_or_else(|| panic!("no address in {line}")).to_owned()
}

#[test]
fn zookeeper_command_serves_a_fleet_until_it_is_stopped() {
    let mut server = server(&["--listen", "127.0.0.1:0", "--tick", "500"]);
    let around = TestEnv::of(address(&server), QUICK);
    server.wait_for_line("for development", DEADLINE);
    server.wait_for_line("Apache ZooKeeper", DEADLINE);
    let _one = around.leader("1", &["--board", "v70"]);
    let _two = around.follower("2", &["--board", "v90"]);
    mean_reported(&around.api, 80.0, std::time::Instant::now());
    assert_eq!(Probe::connect(&around.hosts).ls("/mediciones"), ["1", "2"]);
    server.term();
    assert!(server.wait_exit(Duration::from_secs(2)).success());
    server.wait_for_line("all data is lost", Duration::ZERO);
}

#[test]
fn zookeeper_command_names_an_address_in_use_with_the_remedy() {
    let first = server(&["--listen", "127.0.0.1:0"]);
    let address = address(&first);
    let mut second = server(&["--listen", &address]);
    assert_eq!(second.wait_exit(DEADLINE).code(), Some(69));
    let line = second.wait_for_line("cannot listen", Duration::ZERO).text;
    assert!(line.contains(&address) && line.contains("--listen"), "{line}");
}

#[test]
fn zookeeper_command_refuses_an_invalid_tick() {
    for tick in ["0", "5", "61s", "now"] {
        let mut server = server(&["--tick", tick]);
        assert_eq!(server.wait_exit(DEADLINE).code(), Some(64), "{tick}");
        server.wait_for_line("--tick", Duration::ZERO);
    }
}

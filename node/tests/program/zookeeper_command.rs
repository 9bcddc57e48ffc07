//! `atalaya zookeeper`: the in-memory server as a program.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use atalaya_testbed::{Kazoo, Process, Scratch, ZkProbe, parent_death_command};

use crate::common::{DEADLINE, QUICK, TestEnv, mean_reported};

fn server(args: &[&str]) -> Process {
    let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    command.arg("zookeeper").args(args);
    Process::spawn(command)
}

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
    assert_eq!(ZkProbe::connect(&around.hosts).ls("/mediciones"), ["1", "2"]);
    server.shut_down(Duration::from_secs(2));
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
fn zookeeper_command_authenticates_the_users_in_a_file() {
    let folder = Scratch::new("zookeeper-users");
    let file = folder.write("users.txt", "# fleet\nfleet:ri:ght\n\n");
    let file = file.to_str().unwrap();
    let server = server(&["--listen", "127.0.0.1:0", "--users", file]);
    let address = address(&server);
    for (password, expected) in [("ri:ght", "created /a"), ("wrong", "refused")] {
        Kazoo::ready()
            .script("sasl.py", &[&address, "fleet", password, "/a"])
            .wait_for_line(expected, DEADLINE);
    }
    let line = server.wait_for_line("SASL authentication refused", DEADLINE).text;
    assert!(
        line.contains("wrong password") && line.contains("127.0.0.1") && !line.contains("ri:ght"),
        "{line}"
    );
}

#[test]
fn zookeeper_command_names_the_line_of_a_users_file_that_is_invalid() {
    let folder = Scratch::new("zookeeper-users-invalid");
    let file = folder.write("users.txt", "fleet:right\ns3cret\n");
    let mut server = server(&["--listen", "127.0.0.1:0", "--users", file.to_str().unwrap()]);
    assert_eq!(server.wait_exit(DEADLINE).code(), Some(78));
    let line = server.wait_for_line("line 2", Duration::ZERO).text;
    assert!(line.contains("users.txt") && !line.contains("s3cret"), "{line}");
}

#[test]
fn zookeeper_command_logs_a_tls_connection_once() {
    let server = server(&["--listen", "127.0.0.1:0"]);
    let address = address(&server);
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]).unwrap();
        // The server closes or resets the connection.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    server.wait_for_line("TLS connection: this server has no TLS", DEADLINE);
    assert_eq!(server.log().iter().filter(|line| line.text.contains("no TLS")).count(), 1);
}

#[test]
fn zookeeper_command_refuses_an_invalid_tick() {
    for tick in ["0", "5", "61s", "now"] {
        let mut server = server(&["--tick", tick]);
        assert_eq!(server.wait_exit(DEADLINE).code(), Some(64), "{tick}");
        server.wait_for_line("--tick", Duration::ZERO);
    }
}

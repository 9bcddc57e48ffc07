//! What systemd is told, at a real socket: ready, status, watchdog, reloading, stopping.
#![cfg(target_os = "linux")]

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, Scratch};

use crate::common::{Fleet, PATIENCE, goes_on_publishing};

on_both!(
    a_life_from_ready_to_stopping,
    a_node_whose_zookeeper_is_away_is_ready_and_well,
    a_start_that_must_connect_is_not_ready_before_it_has,
);

/// Somebody who listens.
struct Listener {
    socket: UnixDatagram,
    address: String,
    heard: Vec<String>,
    _scratch: Option<Scratch>,
}

impl Listener {
    fn new() -> Listener {
        let scratch = Scratch::new("notify");
        let path = scratch.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        Listener { socket, address: path.display().to_string(), heard: Vec::new(), _scratch: Some(scratch) }
    }

    fn at_name(name: &str) -> Listener {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Listener { socket, address: format!("@{name}"), heard: Vec::new(), _scratch: None }
    }

    fn supervise(&self, mut command: Command) -> Process {
        command.env("NOTIFY_SOCKET", &self.address).env("WATCHDOG_USEC", "400000");
        Process::spawn(command)
    }

    /// Listens until some message is wanted, and gives it.
    fn wait(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never heard {what}: {:?}", self.heard);
            self.socket.set_read_timeout(Some(left)).unwrap();
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            self.heard.push(message.clone());
            if wanted(&message) {
                return message;
            }
        }
    }

    fn count(&self, message: &str) -> usize {
        self.heard.iter().filter(|heard| *heard == message).count()
    }
}

fn a_life_from_ready_to_stopping(fleet: Fleet) {
    let mut systemd = Listener::new();
    let mut node = systemd.supervise(fleet.command("1", &[]));
    systemd.wait("that it is ready", |message| message == "READY=1");
    assert!(!systemd.heard.iter().any(|message| message.starts_with("STATUS=")), "ready comes first");
    systemd.wait("that it leads", |message| message == "STATUS=leading");
    for _ in 0..4 {
        systemd.wait("that it is alive", |message| message == "WATCHDOG=1");
    }
    node.hup();
    let reloading = systemd.wait("that it reloads", |message| message.starts_with("RELOADING=1"));
    let since_boot = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("when");
    assert!(since_boot.parse::<u64>().unwrap() > 0);
    systemd.wait("that it has reloaded", |message| message == "READY=1");
    node.term();
    systemd.wait("that it stops", |message| message.starts_with("STOPPING=1"));
    assert!(node.wait_exit(PATIENCE).success());
    assert_eq!(systemd.count("READY=1"), 2);
}

fn a_node_whose_zookeeper_is_away_is_ready_and_well(mut fleet: Fleet) {
    fleet.server.vanish();
    let mut systemd = Listener::at_name(&format!("atalaya-test-{}-{}", std::process::id(), fleet.hosts));
    let _node = systemd.supervise(fleet.command("1", &[]));
    systemd.wait("that it is ready", |message| message == "READY=1");
    systemd.wait("what it waits for", |message| message.starts_with("STATUS=waiting for ZooKeeper at "));
    // Longer than two session timeouts, so that waiting is no stalling.
    let begin = Instant::now();
    while begin.elapsed() < fleet.pace.session * 2 + Duration::from_secs(1) {
        systemd.wait("that it is alive", |message| message == "WATCHDOG=1");
    }
    fleet.server.come_back();
    systemd.wait("that it leads", |message| message == "STATUS=leading");
}

fn a_start_that_must_connect_is_not_ready_before_it_has(mut fleet: Fleet) {
    fleet.server.vanish();
    let mut systemd = Listener::new();
    let mut node = systemd.supervise(fleet.command("1", &["--connect-timeout", "1s"]));
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(69));
    fleet.server.come_back();
    let _node = systemd.supervise(fleet.command("2", &["--connect-timeout", "30s"]));
    systemd.wait("that it is ready", |message| message == "READY=1");
    assert_eq!(systemd.count("READY=1"), 1, "the one that could not connect never was: {:?}", systemd.heard);
}

#[test]
fn a_supervisor_that_reads_nothing_does_not_hold_a_node_up() {
    let fleet = Fleet::memory();
    let systemd = Listener::new();
    let mut command = fleet.command("1", &[]);
    // A queue takes a few hundred messages: a thousand a second fill it at once.
    command.env("NOTIFY_SOCKET", &systemd.address).env("WATCHDOG_USEC", "2000");
    let mut node = Process::spawn(command);
    node.wait_for_line(" leading epoch=", PATIENCE);
    goes_on_publishing(&fleet.probe(), "1", 10);
    node.term();
    assert!(node.wait_exit(Duration::from_secs(10)).success());
}

#[test]
fn a_watchdog_of_another_process_and_an_address_that_is_none_are_left_alone() {
    let fleet = Fleet::memory();
    let mut systemd = Listener::new();
    let mut command = fleet.command("1", &[]);
    command.env("WATCHDOG_PID", "1");
    let mut node = systemd.supervise(command);
    systemd.wait("that it leads", |message| message == "STATUS=leading");
    goes_on_publishing(&fleet.probe(), "1", 2);
    node.term();
    systemd.wait("that it stops", |message| message.starts_with("STOPPING=1"));
    assert_eq!(systemd.count("WATCHDOG=1"), 0);
    assert!(node.wait_exit(PATIENCE).success());

    let mut command = fleet.command("2", &[]);
    command.env("NOTIFY_SOCKET", "vsock:2:1234");
    let node = Process::spawn(command);
    node.wait_for_line("cannot use NOTIFY_SOCKET=vsock:2:1234", PATIENCE);
    node.wait_for_line(" leading epoch=", PATIENCE);
}

/// `run --supervised` under systemd: the node tells, and feeds a watchdog that counts on its parent.
#[test]
fn a_node_below_a_parent_of_its_own_tells_the_same() {
    let fleet = Fleet::memory();
    let mut systemd = Listener::new();
    let node = fleet.command("1", &["--supervised"]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"]).arg(node.get_program()).args(node.get_args());
    command.envs(node.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(node.get_current_dir().unwrap());
    let mut parent = systemd.supervise(command);
    systemd.wait("that it is ready", |message| message == "READY=1");
    systemd.wait("that it leads", |message| message == "STATUS=leading");
    for _ in 0..2 {
        systemd.wait("that it is alive", |message| message == "WATCHDOG=1");
    }
    parent.term();
    systemd.wait("that it stops", |message| message.starts_with("STOPPING=1"));
    assert!(parent.wait_exit(PATIENCE).success());
}

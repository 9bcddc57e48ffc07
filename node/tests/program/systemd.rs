//! Notifications to systemd at a real socket: ready, status, watchdog, reloading, stopping.
#![cfg(target_os = "linux")]

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, Scratch};

use crate::common::{DEADLINE, Fleet, goes_on_publishing};

on_both!(
    node_notifies_systemd_from_ready_to_stopping,
    node_without_zookeeper_is_ready_and_feeds_the_watchdog,
    node_with_a_connect_timeout_is_ready_after_it_connected,
);

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

    fn wait(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
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

fn node_notifies_systemd_from_ready_to_stopping(fleet: Fleet) {
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
    assert!(node.wait_exit(DEADLINE).success());
    assert_eq!(systemd.count("READY=1"), 2);
}

fn node_without_zookeeper_is_ready_and_feeds_the_watchdog(mut fleet: Fleet) {
    fleet.server.vanish();
    let mut systemd = Listener::at_name(&format!("atalaya-test-{}-{}", std::process::id(), fleet.hosts));
    let _node = systemd.supervise(fleet.command("1", &[]));
    systemd.wait("that it is ready", |message| message == "READY=1");
    systemd.wait("what it waits for", |message| message.starts_with("STATUS=waiting for ZooKeeper at "));
    // Longer than two session timeouts: waiting is not a stall.
    let begin = Instant::now();
    while begin.elapsed() < fleet.pace.session * 2 + Duration::from_secs(1) {
        systemd.wait("that it is alive", |message| message == "WATCHDOG=1");
    }
    fleet.server.come_back();
    systemd.wait("that it leads", |message| message == "STATUS=leading");
}

fn node_with_a_connect_timeout_is_ready_after_it_connected(mut fleet: Fleet) {
    fleet.server.vanish();
    let mut systemd = Listener::new();
    let mut node = systemd.supervise(fleet.command("1", &["--connect-timeout", "1s"]));
    assert_eq!(node.wait_exit(DEADLINE).code(), Some(69));
    fleet.server.come_back();
    let _node = systemd.supervise(fleet.command("2", &["--connect-timeout", "30s"]));
    systemd.wait("that it is ready", |message| message == "READY=1");
    assert_eq!(systemd.count("READY=1"), 1, "the one that could not connect never was: {:?}", systemd.heard);
}

#[test]
fn node_does_not_wait_for_a_notify_socket_that_is_not_read() {
    let fleet = Fleet::memory();
    let systemd = Listener::new();
    let mut command = fleet.command("1", &[]);
    // A socket buffer holds a few hundred messages, so a thousand messages a second fill it at once.
    command.env("NOTIFY_SOCKET", &systemd.address).env("WATCHDOG_USEC", "2000");
    let mut node = Process::start(command, " leading epoch=", DEADLINE);
    goes_on_publishing(&fleet.probe(), "1", 10);
    node.shut_down(Duration::from_secs(10));
}

#[test]
fn node_ignores_a_watchdog_of_another_process_and_an_invalid_socket() {
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
    assert!(node.wait_exit(DEADLINE).success());

    let mut command = fleet.command("2", &[]);
    command.env("NOTIFY_SOCKET", "vsock:2:1234");
    let node = Process::start(command, "cannot use NOTIFY_SOCKET=vsock:2:1234", DEADLINE);
    node.wait_for_line(" leading epoch=", DEADLINE);
}

/// `run --supervised` under systemd: the node notifies, and feeds a watchdog that watches its parent.
#[test]
fn supervised_node_sends_the_same_notifications() {
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
    assert!(parent.wait_exit(DEADLINE).success());
}

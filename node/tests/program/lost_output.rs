//! Standard output and standard error that accept nothing: a full file system, a closed pipe, a reader that does not
//! read. A long-running command loses its lines and continues.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{ErrorKind, PipeReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use atalaya_testbed::{Port, Scratch, ZkProbe, clean_command, eventually, get};

use crate::common::{DEADLINE, Fleet, children, goes_on_publishing, wait_until};

/// Maximum time from SIGTERM to the end.
const END: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sink {
    /// Each write fails: no space left on device.
    Full,
    /// Each write fails: broken pipe.
    Closed,
    /// A full pipe: each write blocks.
    Stalled,
}

const SINKS: [Sink; 3] = [Sink::Full, Sink::Closed, Sink::Stalled];

impl Sink {
    /// The end to write to, and the other end, which must stay open while the process runs.
    fn open(self) -> (Stdio, Option<PipeReader>) {
        if self == Sink::Full {
            return (File::options().write(true).open("/dev/full").unwrap().into(), None);
        }
        let (reader, mut writer) = std::io::pipe().unwrap();
        if self == Sink::Closed {
            return (writer.into(), None);
        }
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[b'.'; 1024]).is_ok() {}
        assert_eq!(writer.write(b".").unwrap_err().kind(), ErrorKind::WouldBlock);
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        (writer.into(), Some(reader))
    }
}

/// A process that is killed when this is dropped.
struct Running(Child, #[expect(dead_code, reason = "held open")] Option<PipeReader>);

impl Running {
    fn with_stderr(sink: Sink, mut command: Command) -> Running {
        let (stderr, reader) = sink.open();
        Running(command.stdin(Stdio::null()).stderr(stderr).spawn().unwrap(), reader)
    }

    fn with_stdout(sink: Sink, mut command: Command) -> Running {
        let (stdout, reader) = sink.open();
        Running(command.stdin(Stdio::null()).stdout(stdout).spawn().unwrap(), reader)
    }

    fn term(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    #[track_caller]
    fn ends(&mut self, what: &str) -> ExitStatus {
        eventually(&format!("{what} ends"), END, || self.0.try_wait().unwrap())
    }

    #[track_caller]
    fn ends_by_term(&mut self, what: &str) -> ExitStatus {
        self.term();
        self.ends(what)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(folder: &Path, words: &[&str]) -> Command {
    let mut command = clean_command(folder, env!("CARGO_BIN_EXE_atalaya"));
    command.args(words);
    command
}

#[test]
fn node_publishes_and_ends_by_sigterm_when_stderr_takes_nothing() {
    let fleet = Fleet::memory();
    for (sink, id) in SINKS.into_iter().zip(["1", "2", "3"]) {
        let port = Port::reserve();
        let metrics = format!("127.0.0.1:{}", port.number());
        let command = fleet.command(id, &["--log", "trace", "--metrics-listen", &metrics]);
        let mut node = Running::with_stderr(sink, command);
        goes_on_publishing(&fleet.probe(), id, 4);
        // Expired sessions are replaced, so the background tasks are alive.
        let session = fleet.probe().exists(&format!("/mediciones/{id}")).unwrap().ephemeral_owner;
        fleet.server.hand().expire(session);
        eventually("another session", DEADLINE, || {
            let stat = fleet.probe().exists(&format!("/mediciones/{id}"))?;
            (stat.ephemeral_owner != session && stat.version > 0).then_some(())
        });
        if sink != Sink::Stalled {
            let figures = get(&metrics, "/metrics", &[]).unwrap().body;
            let lost = figures.lines().find_map(|line| line.strip_prefix("atalaya_log_lines_lost_total "));
            assert!(lost.is_some_and(|lost| lost.parse::<f64>().unwrap() > 0.0), "{figures}");
        }
        assert!(node.ends_by_term(&format!("the node with {sink:?}")).success(), "{sink:?}");
    }
}

#[test]
fn supervised_node_is_restarted_and_ends_by_sigterm_when_stderr_takes_nothing() {
    let fleet = Fleet::memory();
    for (sink, id) in SINKS.into_iter().zip(["1", "2", "3"]) {
        let mut parent = Running::with_stderr(sink, fleet.command(id, &["--supervised"]));
        goes_on_publishing(&fleet.probe(), id, 2);
        let path = format!("/mediciones/{id}");
        let first = fleet.probe().exists(&path).unwrap().czxid;
        let child = children(parent.0.id())[0].parse().unwrap();
        kill9(child);
        eventually("another node", DEADLINE, || {
            fleet.probe().exists(&path).filter(|stat| stat.czxid != first)
        });
        goes_on_publishing(&fleet.probe(), id, 2);
        assert!(parent.ends_by_term(&format!("the parent with {sink:?}")).success(), "{sink:?}");
    }
}

#[test]
fn collector_records_and_ends_by_sigterm_when_stderr_takes_nothing() {
    let scratch = Scratch::new("lost-output");
    for sink in SINKS {
        let port = Port::reserve();
        let listen = format!("127.0.0.1:{}", port.number());
        let store = format!("sqlite:{sink:?}.db");
        let words = ["--log", "trace", "collect", "--listen", &listen, "--store", &store];
        let mut collector = Running::with_stderr(sink, program(scratch.path(), &words));
        eventually("an answer", DEADLINE, || get(&listen, "/healthz", &[]).ok());
        for value in ["1", "2", "3"] {
            let answer = get(&listen, &format!("/nuevo?dato={value}"), &[]).unwrap();
            assert!(answer.status < 300, "{sink:?}: {answer:?}");
        }
        // A reload, which runs in its own task, logs too.
        let pid = rustix::process::Pid::from_child(&collector.0);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        assert!(get(&listen, "/nuevo?dato=4", &[]).unwrap().status < 300);
        assert!(collector.ends_by_term(&format!("the collector with {sink:?}")).success(), "{sink:?}");
    }
}

#[test]
fn zookeeper_serves_and_ends_by_sigterm_when_stderr_takes_nothing() {
    let scratch = Scratch::new("lost-output");
    for sink in SINKS {
        let port = Port::reserve();
        let listen = format!("127.0.0.1:{}", port.number());
        let words = ["--log", "trace", "zookeeper", "--listen", &listen];
        let mut server = Running::with_stderr(sink, program(scratch.path(), &words));
        eventually("a listener", DEADLINE, || std::net::TcpStream::connect(&listen).ok());
        let probe = ZkProbe::connect(&listen);
        probe.create("/a", b"1", false).unwrap();
        assert!(server.ends_by_term(&format!("the server with {sink:?}")).success(), "{sink:?}");
    }
}

#[test]
fn lock_and_elect_run_their_command_and_end_by_sigterm_when_stderr_takes_nothing() {
    let fleet = Fleet::memory();
    let scratch = Scratch::new("lost-output");
    for command in ["lock", "elect"] {
        for sink in SINKS {
            let file = scratch.path().join(format!("{command}-{sink:?}"));
            let script = format!("echo in >> {}; exec sleep 1000", file.display());
            let path = format!("/{command}");
            let words =
                ["--log", "trace", command, &path, "--zookeeper", &fleet.hosts, "--", "sh", "-c", &script];
            let mut holder = Running::with_stderr(sink, program(scratch.path(), &words));
            wait_until("the command", || file.exists());
            let status = holder.ends_by_term(&format!("{command} with {sink:?}"));
            assert_eq!(status.code(), Some(128 + 15), "{command} {sink:?}");
            assert!(fleet.probe().ls(&path).is_empty(), "{command} {sink:?} has given the lock up");
        }
    }
}

#[test]
fn watching_commands_end_by_sigterm_when_stdout_is_stalled() {
    let fleet = Fleet::memory();
    let scratch = Scratch::new("lost-output");
    let _node = fleet.node("1", &[]);
    fleet.probe().create("/watched", b"value", false).unwrap();
    for words in [&["config", "watch", "/watched"][..], &["status", "--watch"]] {
        let mut command = program(scratch.path(), words);
        command.args(["--zookeeper", &fleet.hosts]);
        let mut watching = Running::with_stdout(Sink::Stalled, command);
        is_blocked_in_a_write(watching.0.id());
        assert!(watching.ends_by_term(&format!("{words:?}")).success(), "{words:?}");
    }
}

#[test]
fn demo_ends_by_sigterm_when_stdout_is_stalled() {
    let scratch = Scratch::new("lost-output");
    let command = program(scratch.path(), &["demo", "--plain", "--nodes", "2", "--listen", "127.0.0.1:0"]);
    let mut demo = Running::with_stdout(Sink::Stalled, command);
    is_blocked_in_a_write(demo.0.id());
    demo.ends_by_term("the demo");
}

#[test]
fn commands_end_when_the_reader_of_stdout_has_gone() {
    let fleet = Fleet::memory();
    let scratch = Scratch::new("lost-output");
    let _node = fleet.leader("1", &[]);
    // The leader deletes records that are a week old.
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let record = format!(
        r#"{{"state":"done","submitted_at":1,"ended_at":{now},"spec":{{"id":"s","action":"status"}}}}"#
    );
    fleet.probe().create("/atalaya/tasks/state/t-0000000001", record.as_bytes(), false).unwrap();
    for words in [
        &["status"][..],
        &["status", "--watch"],
        &["config", "get", "/election"],
        &["config", "watch", "/election"],
        &["inspect", "--recursive"],
        &["reports", "list"],
        &["task", "list"],
        &["task", "actions"],
        &["task", "show", "1"],
        &["task", "watch", "1"],
        &["counter", "get", "/nothing"],
        &["sensors", "list", "--node", "1"],
    ] {
        for (sink, code) in [(Sink::Closed, 0), (Sink::Full, 74)] {
            let mut command = program(scratch.path(), words);
            command.args(["--zookeeper", &fleet.hosts]);
            let mut running = Running::with_stdout(sink, command);
            assert_eq!(running.ends(&format!("{words:?}")).code(), Some(code), "{words:?} {sink:?}");
        }
    }
    for words in [
        &["--help"][..],
        &["completions", "bash"],
        &["man"],
        &["sensors", "list"],
        &["sensors", "read", "--count", "3", "--interval", "100ms"],
        &["demo", "--plain", "--nodes", "1", "--for", "1s", "--listen", "127.0.0.1:0"],
    ] {
        let mut running = Running::with_stdout(Sink::Closed, program(scratch.path(), words));
        assert_eq!(running.ends(&format!("{words:?}")).code(), Some(0), "{words:?}");
    }
}

fn kill9(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Waits until some thread of the process blocks in a write to a pipe.
#[track_caller]
fn is_blocked_in_a_write(pid: u32) {
    eventually("a thread that is blocked in a write", DEADLINE, || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let blocked = threads.flatten().any(|thread| {
            let wchan = std::fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
            let call = std::fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
            // write(2) is system call 1 on x86-64 and 64 on ARM64.
            wchan.contains("pipe_write") || call.starts_with("1 0x1 ") || call.starts_with("64 0x1 ")
        });
        blocked.then_some(())
    });
}

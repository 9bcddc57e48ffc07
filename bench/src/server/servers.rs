//! Both servers as processes. They can be started repeatedly, always at the same address.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::{Process, ZooKeeper, parent_death_command};

/// Timeout for the first session: longer than a JVM needs on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time after which a client opens one more connection, while it keeps the earlier ones. Apache may never answer those
/// that connect when its port is open and its database is not loaded yet.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// Interval at which the connections are polled.
const POLL_INTERVAL: Duration = Duration::from_micros(500);

pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) address: String,
    /// Time from the start of the process to the first session.
    pub(crate) start: Duration,
}

impl Running {
    fn wait_for(mut process: Process, address: &str, begin: Instant) -> anyhow::Result<Running> {
        let mut attempts: Vec<TcpStream> = Vec::new();
        let mut latest = begin;
        loop {
            ensure!(process.is_running(), "the server at {address} ended");
            ensure!(begin.elapsed() < START_TIMEOUT, "the server at {address} gives no session");
            if attempts.is_empty() || latest.elapsed() > RETRY_INTERVAL {
                attempts.extend(request_session(address));
                latest = Instant::now();
            }
            let mut has_started = false;
            attempts.retain_mut(|attempt| match has_session(attempt) {
                Ok(has_session) => {
                    has_started |= has_session;
                    true
                }
                Err(_) => false,
            });
            if has_started {
                return Ok(Running { process, address: address.to_owned(), start: begin.elapsed() });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Connects and sends a request for a session.
fn request_session(address: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    // Length, protocol version, last zxid, timeout, session id, empty password, read-only flag.
    let (length, timeout) = (29_u32, 4_000_u32);
    let request =
        [&length.to_be_bytes()[..], &[0; 12], &timeout.to_be_bytes(), &[0; 8], &[0; 4], &[0]].concat();
    stream.write_all(&request)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Returns true if the server has answered with a session, false if no answer has arrived yet, and an error if the
/// server refuses. The session is not closed; it expires.
fn has_session(stream: &mut TcpStream) -> io::Result<bool> {
    // The answer up to the session id.
    let mut answer = [0; 20];
    match stream.read(&mut answer) {
        Ok(20) if answer[12..] != [0; 8] => Ok(true),
        Ok(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// The in-memory server, `atalaya zookeeper`.
pub(crate) struct InMemory {
    program: PathBuf,
    address: String,
}

impl InMemory {
    pub(crate) fn new(program: &Path) -> io::Result<InMemory> {
        // The port is free now, and the system is unlikely to assign it again soon.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        Ok(InMemory { program: program.to_owned(), address })
    }

    pub(crate) fn start(&self) -> anyhow::Result<Running> {
        let mut command = parent_death_command(&self.program);
        command.args(["zookeeper", "--listen", &self.address]);
        let begin = Instant::now();
        Running::wait_for(Process::spawn(command), &self.address, begin)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jvm {
    /// As in the tests: a small heap and a quick start.
    Small,
    /// As started by `zkServer.sh`: 1000 MiB of heap and all compilers. The fastest after warm-up.
    Full,
    /// As started by `zkServer.sh`, with 6 GiB of heap.
    Large,
}

/// Apache ZooKeeper, with the configuration of the tests.
pub(crate) struct Apache {
    /// The server of the tests, which was killed. It keeps the port reserved and the folder in existence.
    server: ZooKeeper,
    folder: PathBuf,
    arguments: Vec<OsString>,
}

impl Apache {
    /// Kills the server, so that this benchmark can start it again with its command line.
    pub(crate) fn take_over(mut server: ZooKeeper) -> anyhow::Result<Apache> {
        let path = format!("/proc/{}/cmdline", server.pid());
        let line = fs::read(&path).with_context(|| format!("cannot read {path}"))?;
        let arguments: Vec<OsString> = line
            .split(|byte| *byte == 0)
            .filter(|argument| !argument.is_empty())
            .map(|argument| OsString::from_vec(argument.to_vec()))
            .collect();
        server.kill();
        let folder = arguments
            .last()
            .and_then(|file| Path::new(file).parent())
            .context("no zoo.cfg in the command line")?
            .to_owned();
        Ok(Apache { server, folder, arguments })
    }

    /// Returns a value of the answer to `mntr`, or `None` if the server does not answer.
    pub(crate) fn count(&self, name: &str) -> Option<f64> {
        self.server.mntr(name)
    }

    /// Starts the server without data of earlier runs.
    pub(crate) fn start(&self, jvm: Jvm) -> anyhow::Result<Running> {
        match fs::remove_dir_all(self.folder.join("data/version-2")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.restart(jvm)
    }

    /// Starts the server with the data of earlier runs.
    pub(crate) fn restart(&self, jvm: Jvm) -> anyhow::Result<Running> {
        let (program, arguments) = self.arguments.split_first().context("an empty command line")?;
        let mut command = parent_death_command(program);
        command.current_dir(&self.folder);
        for variable in ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"] {
            command.env_remove(variable);
        }
        let heap = match jvm {
            Jvm::Small => None,
            Jvm::Full => Some("-Xmx1000m"),
            Jvm::Large => Some("-Xmx6g"),
        };
        let is_used = |argument: &&OsString| heap.is_none() || !is_small_option(argument);
        command.args(heap).args(arguments.iter().filter(is_used));
        let begin = Instant::now();
        Running::wait_for(Process::spawn(command), &self.server.connect_string(), begin)
    }
}

/// Returns true if an option reduces the heap or the start time of the JVM.
fn is_small_option(argument: &OsString) -> bool {
    let argument = argument.to_string_lossy();
    ["-Xmx", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel"].iter().any(|option| argument.starts_with(option))
}

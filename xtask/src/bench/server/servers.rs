//! Both servers as processes, started as often as wanted, each always at the same address.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::{Process, ZooKeeper, guarded};

/// Longer than a JVM takes on a machine that is busy.
const START: Duration = Duration::from_secs(60);
/// A client that has waited so long for its session tries again as well: Apache may leave the first ones, who come when
/// it has its port and not yet its database, without an answer for ever.
const PATIENCE: Duration = Duration::from_millis(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_micros(500);

/// A server that serves.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) address: String,
    /// From the start of its process to the first session.
    pub(crate) start: Duration,
}

impl Running {
    fn wait_for(mut process: Process, address: &str, begin: Instant) -> anyhow::Result<Running> {
        let mut attempts: Vec<TcpStream> = Vec::new();
        let mut latest = begin;
        loop {
            ensure!(process.is_running(), "the server at {address} ended");
            ensure!(begin.elapsed() < START, "the server at {address} does not serve");
            if attempts.is_empty() || latest.elapsed() > PATIENCE {
                attempts.extend(hello(address));
                latest = Instant::now();
            }
            let mut serves = false;
            attempts.retain_mut(|attempt| match session(attempt) {
                Ok(has_begun) => {
                    serves |= has_begun;
                    true
                }
                Err(_) => false,
            });
            if serves {
                return Ok(Running { process, address: address.to_owned(), start: begin.elapsed() });
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Asks for a session.
fn hello(address: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    // Length, protocol, latest transaction, timeout, session, no password, whether it is read-only.
    let (length, timeout) = (29_u32, 4_000_u32);
    let hello =
        [&length.to_be_bytes()[..], &[0; 12], &timeout.to_be_bytes(), &[0; 8], &[0; 4], &[0]].concat();
    stream.write_all(&hello)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Whether the session has begun that was asked for; an error when it will not. It is left to its timeout.
fn session(stream: &mut TcpStream) -> io::Result<bool> {
    // As far as the session's number.
    let mut answer = [0; 20];
    match stream.read(&mut answer) {
        Ok(20) if answer[12..] != [0; 8] => Ok(true),
        Ok(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// `atalaya zookeeper`.
pub(crate) struct InMemory {
    program: PathBuf,
    address: String,
}

impl InMemory {
    pub(crate) fn new(program: &Path) -> io::Result<InMemory> {
        // Free now, and nobody else is likely to be given it soon.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        Ok(InMemory { program: program.to_owned(), address })
    }

    pub(crate) fn start(&self) -> anyhow::Result<Running> {
        let mut command = guarded(&self.program);
        command.args(["zookeeper", "--listen", &self.address]);
        let begin = Instant::now();
        Running::wait_for(Process::spawn(command), &self.address, begin)
    }
}

/// How Apache's JVM is told to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jvm {
    /// As in the tests: small, and quick to start.
    Small,
    /// As `zkServer.sh` starts it: 1000 MiB of heap and every compiler. The fastest once it is warm.
    Full,
}

/// Apache ZooKeeper, with the configuration of the tests.
pub(crate) struct Apache {
    /// Killed: it keeps the port and the folder.
    server: ZooKeeper,
    folder: PathBuf,
    /// The command line that it was started with.
    words: Vec<OsString>,
}

impl Apache {
    /// The same server, but started by us.
    pub(crate) fn instead_of(mut server: ZooKeeper) -> anyhow::Result<Apache> {
        let path = format!("/proc/{}/cmdline", server.pid());
        let line = fs::read(&path).with_context(|| format!("cannot read {path}"))?;
        let words: Vec<OsString> = line
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect();
        server.kill();
        let folder = words.last().and_then(|file| Path::new(file).parent()).context("no zoo.cfg")?.to_owned();
        Ok(Apache { server, folder, words })
    }

    /// Without any data from before.
    pub(crate) fn start(&self, jvm: Jvm) -> anyhow::Result<Running> {
        match fs::remove_dir_all(self.folder.join("data/version-2")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let (program, words) = self.words.split_first().context("an empty command line")?;
        let mut command = guarded(program);
        command.current_dir(&self.folder);
        for variable in ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"] {
            command.env_remove(variable);
        }
        match jvm {
            Jvm::Small => command.args(words),
            Jvm::Full => command.arg("-Xmx1000m").args(words.iter().filter(|word| !is_of_small(word))),
        };
        let begin = Instant::now();
        Running::wait_for(Process::spawn(command), &self.server.connect_string(), begin)
    }
}

/// Whether an option is there to keep the JVM small or its start short.
fn is_of_small(word: &OsString) -> bool {
    let word = word.to_string_lossy();
    ["-Xmx", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel"].iter().any(|option| word.starts_with(option))
}

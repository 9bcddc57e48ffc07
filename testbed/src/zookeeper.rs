//! An Apache ZooKeeper server.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::install::{self, Part};
use crate::java;
use crate::journal::{self, Transaction};
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::security::Security;
use crate::spawn::parent_death_command;
use crate::wait::eventually;

mod pool;

pub use pool::PooledZooKeeper;

/// Timeout until a JVM serves on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(90);
/// Timeout of the answer to a four-letter word; a frozen server never answers.
const ANSWER: Duration = Duration::from_secs(2);
/// Maximum number of starts, if another process has taken one of the server's ports.
const ATTEMPTS: u32 = 5;
/// Number of a server's log lines that are printed when a test panics.
const SHOWN: usize = 40;

/// Default tick, 500 ms: it allows session timeouts from 1 s, so tests that wait for one are fast.
pub(crate) const TICK: u32 = 500;

/// Configuration that lets the server accept identities of scheme `sasl`.
const SASL: &str = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";

/// An Apache ZooKeeper server on loopback, with its data in a folder that is removed when this is dropped.
///
/// Session timeouts may be from 2 ticks to 40 s. A member of an [`Ensemble`](crate::Ensemble) is also a `ZooKeeper`.
pub struct ZooKeeper {
    // Drop order: the server must end before its folder is removed.
    process: Option<Process>,
    /// Frozen by [`stop_process`](Self::stop_process).
    frozen: AtomicBool,
    client: Port,
    /// Port for TLS of a secured server, and a certificate of a client with its key. The `client` port of such a server
    /// is for the four-letter words of this type only.
    secure: Option<(Port, PathBuf)>,
    scratch: Scratch,
    /// True if it was killed or frozen.
    was_disturbed: bool,
    /// First transaction id of [`journal`](Self::journal).
    first_zxid: i64,
}

impl ZooKeeper {
    /// Starts a standalone server with ticks of 500 ms (session timeouts from 1 s), and waits until it serves.
    #[track_caller]
    pub fn start() -> Self {
        Self::with_tick(TICK)
    }

    /// Starts a server like [`start`](Self::start) with another tick, in milliseconds: the minimum session timeout is
    /// twice that.
    #[track_caller]
    pub fn with_tick(ms: u32) -> Self {
        Self::start_configured(ms, "", None, |_| {})
    }

    /// Starts a server like [`start`](Self::start), but `users`, each a name and a password, can authenticate by SASL
    /// DIGEST-MD5.
    #[track_caller]
    pub fn with_sasl(users: &[(&str, &str)]) -> Self {
        Self::start_configured(TICK, SASL, None, |server| server.set_sasl_users(users))
    }

    /// Starts a server like [`start`](Self::start), but clients need TLS and a certificate, and can authenticate by
    /// SASL DIGEST-MD5.
    ///
    /// [`connect_string`](Self::connect_string) has the port for TLS. An unencrypted port remains on loopback, because
    /// the functions of this type find out with four-letter words whether the server is ready.
    #[track_caller]
    pub fn secured(security: &Security) -> Self {
        Self::start_configured(TICK, "", Some(security), |_| {})
    }

    /// Replaces the users of [`with_sasl`](Self::with_sasl) or [`secured`](Self::secured). The server reads them when
    /// it is started.
    pub fn set_sasl_users(&self, users: &[(&str, &str)]) {
        let mut file =
            String::from("Server {\n  org.apache.zookeeper.server.auth.DigestLoginModule required");
        for (name, password) in users {
            file.push_str(&format!("\n  user_{name}=\"{password}\""));
        }
        file.push_str(";\n};\n");
        fs::write(self.folder().join(java::SASL_USERS), file).expect("write the users of ZooKeeper");
    }

    #[track_caller]
    fn start_configured(tick: u32, more: &str, security: Option<&Security>, prepare: impl Fn(&Self)) -> Self {
        require();
        for _ in 0..ATTEMPTS {
            let mut server = Self::configure(tick, more, security);
            prepare(&server);
            if server.launch(Self::serves).is_ok() {
                return server;
            }
        }
        panic!("ZooKeeper ended {ATTEMPTS} times while starting; `java` may be unfit, see the log above");
    }

    /// Writes the configuration of a server that is not started yet.
    pub(crate) fn configure(tick: u32, more: &str, security: Option<&Security>) -> Self {
        let client = Port::reserve();
        let secure = security.map(|security| (Port::reserve(), security.testbed_certificate()));
        let tls = security.zip(secure.as_ref()).map(|(security, (port, _))| security.zoo_cfg(port.number()));
        let scratch = Scratch::new("zookeeper");
        let data = scratch.path().join("data");
        fs::create_dir(&data).expect("make ZooKeeper's data folder");
        let configuration = format!(
            "tickTime={tick}\n\
             dataDir={data}\n\
             clientPort={port}\n\
             clientPortAddress=127.0.0.1\n\
             maxClientCnxns=0\n\
             maxSessionTimeout=40000\n\
             admin.enableServer=false\n\
             4lw.commands.whitelist=*\n\
             extendedTypesEnabled=true\n\
             # A killed process loses nothing that the kernel has; only a power failure would.\n\
             forceSync=no\n\
             preAllocSize=1024\n\
             # A server that was away is sent what it missed, and writes it down: its log has no holes.\n\
             snapCount=1000000\n\
             commitLogCount=20000\n\
             snapshotSizeFactor=1000000\n\
             {more}{tls}",
            data = data.display(),
            port = client.number(),
            tls = tls.unwrap_or_default(),
        );
        fs::write(scratch.path().join("zoo.cfg"), configuration).expect("write ZooKeeper's configuration");
        let server = Self {
            process: None,
            frozen: AtomicBool::new(false),
            client,
            secure,
            scratch,
            was_disturbed: false,
            first_zxid: 0,
        };
        if let Some(security) = security {
            server.set_sasl_users(security.users());
        }
        server
    }

    /// Starts the process, without waiting.
    #[track_caller]
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "ZooKeeper at {} runs already", self.connect_string());
        let name = format!("ZooKeeper at {}", self.connect_string());
        self.process = Some(Process::spawn(java::server(self.scratch.path())).called(name, SHOWN));
        self.frozen.store(false, Ordering::Relaxed);
    }

    /// Starts the process and waits until `ready`. An error means that it ended by itself; its log is on stderr.
    #[track_caller]
    pub(crate) fn launch(&mut self, ready: impl Fn(&Self) -> bool) -> Result<(), ()> {
        self.spawn();
        let what = format!("ZooKeeper at {} starts", self.connect_string());
        eventually(&what, START, || {
            if self.has_ended() {
                return Some(Err(()));
            }
            ready(self).then_some(Ok(()))
        })
    }

    /// Returns true if the process ended by itself. If so, prints its log to stderr.
    pub(crate) fn has_ended(&mut self) -> bool {
        let Some(process) = &mut self.process else { return false };
        if process.is_running() {
            return false;
        }
        eprintln!("ZooKeeper at port {} ended:\n{}", self.client.number(), process.tail(SHOWN));
        self.process = None;
        true
    }

    /// Returns `host:port`, for clients; the port for TLS if the server is secured.
    pub fn connect_string(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Returns the port for clients.
    pub fn port(&self) -> u16 {
        self.secure.as_ref().map_or(&self.client, |(port, _)| port).number()
    }

    /// Returns the process id of the server.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Returns the process, to read its log.
    #[track_caller]
    pub fn process(&self) -> &Process {
        let Some(process) = &self.process else {
            panic!("ZooKeeper at {} was killed", self.connect_string())
        };
        process
    }

    /// Returns true if it was started and not killed since.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Returns the folder of its configuration and data.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Returns the transactions from `zxid` on in its log. The server may run or not. The last ones may not be
    /// committed, because a server of an ensemble also logs proposals.
    #[track_caller]
    pub fn journal(&self, zxid: i64) -> Vec<Transaction> {
        match journal::read(&self.folder().join("data/version-2"), zxid.max(self.first_zxid)) {
            Ok(transactions) => transactions,
            Err(error) => panic!("the log of ZooKeeper at {}: {error}", self.connect_string()),
        }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    /// Returns its exit status, if it ended without a call of this type.
    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.try_exit()
    }

    /// Sends SIGKILL, and waits until it is gone. Does nothing if it does not run.
    pub fn kill(&mut self) {
        self.was_disturbed = true;
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Sends SIGTERM and waits until it is gone, or kills it at the deadline.
    pub fn shut_down(&mut self, deadline: Duration) {
        self.was_disturbed = true;
        if let Some(mut process) = self.process.take() {
            process.cont();
            process.term();
            let end = Instant::now() + deadline;
            while process.is_running() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Starts it again after [`kill`](Self::kill), with the same port and data, and waits until it serves.
    #[track_caller]
    pub fn restart(&mut self) {
        self.relaunch(Self::serves);
    }

    /// Starts it again and waits until `ready`. Its ports must be the same, so every attempt uses the same ones.
    #[track_caller]
    pub(crate) fn relaunch(&mut self, ready: impl Fn(&Self) -> bool) {
        if (0..ATTEMPTS).any(|_| self.launch(&ready).is_ok()) {
            return;
        }
        panic!(
            "ZooKeeper at {} ended {ATTEMPTS} times while restarting, see the log above",
            self.connect_string()
        );
    }

    /// Sends SIGSTOP: the server is frozen, its connections stay open.
    #[track_caller]
    pub fn stop_process(&mut self) {
        let Some(process) = &mut self.process else { panic!("a killed ZooKeeper cannot be stopped") };
        process.stop();
        self.was_disturbed = true;
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// Sends SIGCONT: the server continues.
    #[track_caller]
    pub fn continue_process(&self) {
        self.process().cont();
        self.frozen.store(false, Ordering::Relaxed);
    }

    /// Returns the answer to a four-letter word: `srvr`, `mntr`, `cons`, `dump`, `ruok` …
    #[track_caller]
    pub fn four(&self, word: &str) -> String {
        match self.ask(word) {
            Ok(answer) => answer,
            Err(error) => panic!("ZooKeeper at {} does not answer {word}: {error}", self.connect_string()),
        }
    }

    /// Returns the answer to `cons`: the connections of the port for clients.
    ///
    /// ZooKeeper only lists the connections of the port that receives the command.
    pub(crate) fn connections(&self) -> Option<String> {
        let Some((port, certificate)) = &self.secure else { return self.try_four("cons") };
        let mut command = parent_death_command("openssl");
        command.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", port.number())]);
        command
            .arg("-cert")
            .arg(certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut client = command.spawn().ok()?;
        client.stdin.as_mut()?.write_all(b"cons").ok()?;
        let output = client.wait_with_output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Returns the answer like [`four`](Self::four), or `None` if the server does not answer within 2 s: killed,
    /// frozen, or starting.
    pub(crate) fn try_four(&self, word: &str) -> Option<String> {
        self.ask(word).ok()
    }

    fn ask(&self, word: &str) -> io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.client.number()));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(word.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Returns a number in the answer to `mntr`, such as `zk_packets_received`, or `None` while it does not answer.
    pub fn mntr(&self, name: &str) -> Option<f64> {
        let answer = self.try_four("mntr")?;
        answer.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Returns the `Mode:` in the answer to `srvr` — `standalone`, `leader` or `follower` — or `None` while it does not
    /// serve.
    pub fn mode(&self) -> Option<String> {
        let answer = self.ask("srvr").ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// Returns the id of the last transaction, or `None` while it does not serve.
    fn last_zxid(&self) -> Option<i64> {
        let answer = self.try_four("srvr")?;
        let number = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x"))?;
        i64::from_str_radix(number, 16).ok()
    }

    /// Returns true if clients can use it.
    pub(crate) fn serves(&self) -> bool {
        self.mode().is_some()
    }

    /// Returns true if it answers at all; a member of an ensemble without a quorum answers, but does not serve.
    pub(crate) fn answers(&self) -> bool {
        self.try_four("srvr").is_some_and(|answer| !answer.is_empty())
    }
}

/// Installs what a server needs.
#[track_caller]
pub(crate) fn require() {
    install::require(&[Part::Java, Part::ZooKeeper, Part::Netty]);
}

//! An Apache ZooKeeper server.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use derive_more::{Deref, DerefMut};

use crate::install::Part;
use crate::java;
use crate::journal::{self, Transaction};
use crate::ports::Port;
use crate::security::Security;
use crate::server::Server;
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

/// Default tick, 500 ms: it allows session timeouts from 1 s, so tests that wait for one are fast.
pub(crate) const TICK: u32 = 500;

/// Configuration that lets the server accept identities of scheme `sasl`.
const SASL: &str = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";

/// An Apache ZooKeeper server on loopback, with its data in a folder that is removed when this is dropped.
///
/// Session timeouts may be from 2 ticks to 40 s. A member of an [`Ensemble`](crate::Ensemble) is also a `ZooKeeper`.
#[derive(Deref, DerefMut)]
pub struct ZooKeeper {
    #[deref]
    #[deref_mut]
    server: Server,
    /// Port for TLS of a secured server, and a certificate of a client with its key. The other port of such a server is
    /// for the four-letter words of this type only.
    secure: Option<(Port, PathBuf)>,
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
        self.write(java::SASL_USERS, &file);
    }

    #[track_caller]
    fn start_configured(tick: u32, more: &str, security: Option<&Security>, prepare: impl Fn(&Self)) -> Self {
        for _ in 0..ATTEMPTS {
            let mut server = Self::configure(tick, more, security);
            prepare(&server);
            if server.launch(serves).is_ok() {
                return server;
            }
        }
        panic!("ZooKeeper ended {ATTEMPTS} times while starting; `java` may be unfit, see the log above");
    }

    /// Writes the configuration of a server that is not started yet.
    pub(crate) fn configure(tick: u32, more: &str, security: Option<&Security>) -> Self {
        let server = Server::prepare("ZooKeeper", &[Part::Java, Part::ZooKeeper, Part::Netty], serves);
        let secure = security.map(|security| (Port::reserve(), security.testbed_certificate()));
        let tls = security.zip(secure.as_ref()).map(|(security, (port, _))| security.zoo_cfg(port.number()));
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
            data = server.folder().display(),
            port = server.port(),
            tls = tls.unwrap_or_default(),
        );
        server.write("zoo.cfg", &configuration);
        let server = Self { server, secure, first_zxid: 0 };
        if let Some(security) = security {
            server.set_sasl_users(security.users());
        }
        server
    }

    /// Writes an archive of the classes of a server, unless there is one: servers that use it start in half of the time.
    pub fn archive_classes() {
        let archive = java::class_archive();
        if archive.exists() {
            return;
        }
        let written = archive.with_extension("jsa.part");
        let mut server = Self::configure(TICK, "", None);
        let mut command = java::server(server.folder());
        command.env("JAVA_TOOL_OPTIONS", format!("-XX:ArchiveClassesAtExit={}", written.display()));
        server.run(command);
        eventually("ZooKeeper starts", START, || (server.has_ended() || serves(&server)).then_some(()));
        server.end();
        if let Err(error) = std::fs::rename(&written, &archive) {
            eprintln!("no class archive, so ZooKeeper starts more slowly: {error}");
        }
    }

    /// Starts the process, without waiting.
    #[track_caller]
    pub(crate) fn spawn(&mut self) {
        let command = java::server(self.scratch.path());
        self.run(command);
    }

    /// Starts the process and waits until `ready`. An error means that it ended by itself; its log is on stderr.
    #[track_caller]
    fn launch(&mut self, ready: fn(&Server) -> bool) -> Result<(), ()> {
        self.spawn();
        let what = format!("ZooKeeper at {} starts", self.connect_string());
        eventually(&what, START, || {
            if self.has_ended() {
                return Some(Err(()));
            }
            ready(self).then_some(Ok(()))
        })
    }

    /// Returns `host:port`, for clients; the port for TLS if the server is secured.
    pub fn connect_string(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    pub fn port(&self) -> u16 {
        self.secure.as_ref().map_or(self.server.port(), |(port, _)| port.number())
    }

    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Returns the transactions from `zxid` on in its log. The server may run or not. The last ones may not be
    /// committed, because a server of an ensemble also logs proposals.
    #[track_caller]
    pub fn journal(&self, zxid: i64) -> Vec<Transaction> {
        match journal::read(&self.folder().join("version-2"), zxid.max(self.first_zxid)) {
            Ok(transactions) => transactions,
            Err(error) => panic!("the log of ZooKeeper at {}: {error}", self.connect_string()),
        }
    }

    /// Starts it again after [`kill`](Server::kill), with the same port and data, and waits until it serves.
    #[track_caller]
    pub fn restart(&mut self) {
        self.relaunch(serves);
    }

    /// Starts it again and waits until `ready`. Its ports must be the same, so every attempt uses the same ones.
    #[track_caller]
    pub(crate) fn relaunch(&mut self, ready: fn(&Server) -> bool) {
        let is_ready = (0..ATTEMPTS).any(|_| self.launch(ready).is_ok());
        assert!(is_ready, "{} ended {ATTEMPTS} times while restarting, see the log above", self.title());
    }

    /// Returns the answer to a four-letter word: `srvr`, `mntr`, `cons`, `dump`, `ruok` …
    #[track_caller]
    pub fn four(&self, word: &str) -> String {
        match ask(self, word) {
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
        ask(self, word).ok()
    }

    /// Returns a number in the answer to `mntr`, such as `zk_packets_received`, or `None` while it does not answer.
    pub fn mntr(&self, name: &str) -> Option<f64> {
        let answer = self.try_four("mntr")?;
        answer.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Returns the `Mode:` in the answer to `srvr` — `standalone`, `leader` or `follower` — or `None` while it does not
    /// serve.
    pub fn mode(&self) -> Option<String> {
        mode(self)
    }

    /// Returns the id of the last transaction, or `None` while it does not serve.
    fn last_zxid(&self) -> Option<i64> {
        let answer = self.try_four("srvr")?;
        let number = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x"))?;
        i64::from_str_radix(number, 16).ok()
    }
}

fn ask(server: &Server, word: &str) -> io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn mode(server: &Server) -> Option<String> {
    let answer = ask(server, "srvr").ok()?;
    answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}

/// Returns true if clients can use the server.
fn serves(server: &Server) -> bool {
    mode(server).is_some()
}

/// Returns true if the server answers at all; a member of an ensemble without a quorum answers, but does not serve.
pub(crate) fn answers(server: &Server) -> bool {
    ask(server, "srvr").is_ok_and(|answer| !answer.is_empty())
}

//! Server that a scenario runs against.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use atalaya_testbed::ZooKeeper;
use atalaya_zookeeper::{Builder, Faults, Server};
use tokio::runtime::Runtime;

use crate::raw::Raw;

/// Tick of both servers.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// A server, and a part of its tree that no other test uses.
pub(crate) struct Target {
    kind: Kind,
    root: String,
    // Last, so that the server is dropped before its runtime.
    runtime: Runtime,
}

enum Kind {
    Memory(Option<Server>),
    Apache(Arc<ZooKeeper>),
}

/// Apache ZooKeeper takes a second to start, so tests that run at the same time share one.
static SHARED: Mutex<Weak<ZooKeeper>> = Mutex::new(Weak::new());
static ROOTS: AtomicU32 = AtomicU32::new(0);

impl Target {
    pub(crate) fn memory() -> Self {
        Self::memory_with(|builder| builder)
    }

    pub(crate) fn memory_with(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let runtime = runtime();
        // The maximum timeout equals the one in the test bed's configuration of Apache ZooKeeper.
        let builder = Server::builder().tick(TICK).max_session_timeout(Duration::from_secs(40));
        let server = runtime.block_on(settings(builder).start()).unwrap();
        Self::new(Kind::Memory(Some(server)), runtime)
    }

    pub(crate) fn apache() -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let server = shared.upgrade().unwrap_or_else(|| Arc::new(ZooKeeper::start()));
        *shared = Arc::downgrade(&server);
        Self::new(Kind::Apache(server), runtime())
    }

    /// Starts a separate server, so that its transactions can be counted.
    pub(crate) fn apache_alone() -> Self {
        Self::new(Kind::Apache(Arc::new(ZooKeeper::start())), runtime())
    }

    /// Starts a separate server with one more line in its configuration.
    pub(crate) fn apache_with(setting: &str) -> Self {
        let mut server = ZooKeeper::start();
        let configuration = configuration(server.pid());
        server.kill();
        let mut file = OpenOptions::new().append(true).open(configuration).unwrap();
        writeln!(file, "\n{setting}").unwrap();
        server.restart();
        Self::new(Kind::Apache(Arc::new(server)), runtime())
    }

    /// Starts a separate server with a further transaction log that begins at this transaction.
    pub(crate) fn apache_with_log(first_zxid: i64, log: &[u8]) -> Self {
        let mut server = ZooKeeper::start();
        let configuration = configuration(server.pid());
        server.kill();
        let folder = Path::new(&configuration).parent().unwrap().join("data/version-2");
        fs::write(folder.join(format!("log.{first_zxid:x}")), log).unwrap();
        server.restart();
        Self::new(Kind::Apache(Arc::new(server)), runtime())
    }

    fn new(kind: Kind, runtime: Runtime) -> Self {
        let root = format!("/test{}", ROOTS.fetch_add(1, Ordering::Relaxed));
        let target = Self { kind, root, runtime };
        let mut raw = Raw::connect(&target.hosts());
        raw.create(&target.root, b"", 0).unwrap();
        // Closed, so that it does not expire while a test counts transactions.
        raw.close();
        target
    }

    pub(crate) fn hosts(&self) -> String {
        match &self.kind {
            Kind::Memory(server) => server.as_ref().unwrap().connect_string(),
            Kind::Apache(server) => server.connect_string(),
        }
    }

    /// Returns a path below this target's own znode.
    pub(crate) fn path(&self, below: &str) -> String {
        format!("{}{below}", self.root)
    }

    /// Returns a new session, and a path below this target's own znode.
    pub(crate) fn raw(&self, below: &str) -> (Raw, String) {
        (Raw::connect(&self.hosts()), self.path(below))
    }

    /// Returns a new session, and the path of a persistent znode that it has created.
    pub(crate) fn created(&self, below: &str, data: &[u8]) -> (Raw, String) {
        let (mut raw, path) = self.raw(below);
        raw.create(&path, data, 0).unwrap();
        (raw, path)
    }

    /// Returns the fault injection of the in-memory server, to advance its clock; Apache ZooKeeper has none.
    pub(crate) fn faults(&self) -> Option<Faults> {
        match &self.kind {
            Kind::Memory(server) => server.as_ref().map(Server::faults),
            Kind::Apache(_) => None,
        }
    }

    /// Runs clients that need tokio.
    pub(crate) fn run<T>(&self, scenario: impl Future<Output = T>) -> T {
        self.runtime.block_on(scenario)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Kind::Memory(server) = &mut self.kind
            && let Some(server) = server.take()
        {
            self.runtime.block_on(server.shutdown());
        }
    }
}

/// Returns the path of a server's configuration file: the last word of its command line.
fn configuration(process: u32) -> String {
    let ps = Command::new("ps").args(["-ww", "-o", "args=", "-p", &process.to_string()]).output().unwrap();
    String::from_utf8(ps.stdout).unwrap().split_whitespace().next_back().unwrap().to_owned()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

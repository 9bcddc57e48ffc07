//! Test support: a ZooKeeper server (in memory or Apache), sessions, session faults, and Kazoo's recipes in a process.

pub(crate) mod election;
pub(crate) mod memory;

use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use atalaya_recipes::{Connection, Session, SessionOptions};
use atalaya_testbed::{Kazoo, PooledZooKeeper, Process, Proxy, ZkProbe};
use atalaya_zookeeper::{Disconnect, Faults, Operation, PendingDisconnect, RequestFilter, Server};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tracing::instrument::{WithDispatch, WithSubscriber as _};

/// Session timeout of most tests here.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// Session timeout of clients that must not lose their connection on a busy machine: they do after 2/5 of it without data.
const CALM_TIMEOUT: Duration = Duration::from_secs(10);
/// Deadline of every condition, long enough for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

enum Backend {
    Memory(Server),
    Apache(PooledZooKeeper),
}

/// A ZooKeeper server and a runtime for its clients.
pub(crate) struct TestBed {
    // Dropped first, together with all clients that run on it.
    runtime: Runtime,
    backend: Backend,
}

impl TestBed {
    pub(crate) fn memory() -> TestBed {
        let tick = TIMEOUT / 4;
        TestBed::at(Backend::Memory(
            Server::builder().tick(tick).listen("127.0.0.1:0").start_thread().unwrap(),
        ))
    }

    #[track_caller]
    pub(crate) fn apache() -> TestBed {
        TestBed::at(Backend::Apache(PooledZooKeeper::get()))
    }

    /// Starts the in-memory server and a session.
    pub(crate) fn memory_with_session() -> (TestBed, Session) {
        let bed = TestBed::memory();
        let session = bed.session();
        (bed, session)
    }

    /// Starts Apache ZooKeeper and a proxy in front of it.
    #[track_caller]
    pub(crate) fn behind_proxy() -> (TestBed, Proxy) {
        let bed = TestBed::apache();
        let proxy = bed.proxy();
        (bed, proxy)
    }

    fn at(backend: Backend) -> TestBed {
        // Shown only when a test fails. A second test of the same process finds it set up.
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::WARN).try_init();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        TestBed { runtime, backend }
    }

    pub(crate) fn connect_string(&self) -> String {
        match &self.backend {
            Backend::Memory(server) => server.connect_string(),
            Backend::Apache(server) => server.connect_string(),
        }
    }

    /// Returns the fault injector of the in-memory server.
    pub(crate) fn faults(&self) -> Faults {
        match &self.backend {
            Backend::Memory(server) => server.faults(),
            Backend::Apache(_) => panic!("only the in-memory server has a fault injector"),
        }
    }

    pub(crate) fn session(&self) -> Session {
        self.session_to(&self.connect_string())
    }

    /// Starts a session to other servers, such as a proxy.
    pub(crate) fn session_to(&self, servers: &str) -> Session {
        session_on(self.runtime.handle(), servers)
    }

    /// Starts a session whose connection survives stalls of the machine.
    pub(crate) fn calm_session(&self) -> Session {
        self.calm_session_to(&self.connect_string())
    }

    pub(crate) fn calm_session_to(&self, servers: &str) -> Session {
        start_session(self.runtime.handle(), servers, CALM_TIMEOUT)
    }

    /// Returns Apache ZooKeeper, to kill or pause it.
    pub(crate) fn zookeeper(&mut self) -> &mut PooledZooKeeper {
        match &mut self.backend {
            Backend::Memory(_) => panic!("the in-memory server is not a process"),
            Backend::Apache(server) => server,
        }
    }

    pub(crate) fn probe(&self) -> ZkProbe {
        ZkProbe::connect(&self.connect_string())
    }

    pub(crate) fn proxy(&self) -> Proxy {
        match &self.backend {
            Backend::Memory(server) => Proxy::to(server.local_addr().port()),
            Backend::Apache(server) => Proxy::to(server.port()),
        }
    }

    /// Starts a session that survives stalls of the machine, and returns its first connection.
    #[track_caller]
    pub(crate) fn connection(&self) -> Connection {
        self.wait(self.calm_session().connection())
    }

    pub(crate) fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Runs a future to completion on this thread.
    #[track_caller]
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(soon(future))
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// Cuts the connection of `session` at its next request of this kind for this path.
    pub(crate) async fn cut(
        &self,
        cut: Disconnect,
        session: &Session,
        kind: Operation,
        path: &str,
    ) -> PendingDisconnect {
        let id = session.connection().await.session_id();
        self.faults()
            .disconnect_at(cut, RequestFilter::any().session(id).operation(kind).path_contains(path))
            .await
    }

    /// Starts a process with one of Kazoo's recipes.
    #[track_caller]
    pub(crate) fn kazoo(&self, recipe: &str, path: &str, args: &[&str]) -> KazooProcess {
        let hosts = self.connect_string();
        let mut all = vec![hosts.as_str(), recipe, path];
        all.extend(args);
        let process = Kazoo::ready().piped("recipes.py", &all);
        process.wait_for_line("connected", DEADLINE);
        KazooProcess { process, asked: 0 }
    }
}

/// Starts a session on a runtime of the caller.
fn session_on(runtime: &Handle, servers: &str) -> Session {
    start_session(runtime, servers, TIMEOUT)
}

fn start_session(runtime: &Handle, servers: &str, timeout: Duration) -> Session {
    let _inside = runtime.enter();
    Session::start(SessionOptions::new(servers.parse().unwrap(), timeout))
}

/// Captures the log of one future.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    /// Captures the log lines of `future` while it is polled.
    pub(crate) fn of<F: Future>(&self, future: F) -> WithDispatch<F> {
        // While there is only one subscriber, tracing asks the one of the thread that logs a line first whether the line
        // is of interest. That may be the thread of another test, which has none. With a second one, it asks all.
        static SECOND: LazyLock<tracing::Dispatch> =
            LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));
        LazyLock::force(&SECOND);
        let logs = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(move || logs.clone())
            .finish();
        future.with_subscriber(subscriber)
    }

    /// Returns the lines up to now.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }
}

impl std::io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Waits for `future`, up to [`DEADLINE`].
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("timed out")
}

/// Polls a condition every 5 ms until it returns a value, up to [`DEADLINE`].
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looks = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tick.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
    };
    tokio::time::timeout(DEADLINE, looks).await.unwrap_or_else(|_| panic!("{what}: timed out"))
}

pub(crate) struct KazooProcess {
    pub(crate) process: Process,
    asked: usize,
}

impl KazooProcess {
    /// Sends a command. Returns the number of its reply.
    pub(crate) fn ask(&mut self, what: &str) -> usize {
        self.asked += 1;
        self.process.write_line(what);
        self.asked
    }

    #[track_caller]
    pub(crate) fn answer(&self, number: usize) -> String {
        let start = format!("[{number}] ");
        let line = self.process.wait_for_line(&start, DEADLINE).text;
        line.strip_prefix(&start).unwrap().to_owned()
    }

    pub(crate) fn answered(&self, number: usize) -> bool {
        let start = format!("[{number}] ");
        self.process.log().iter().any(|line| line.text.starts_with(&start))
    }

    #[track_caller]
    pub(crate) fn call(&mut self, what: &str) -> String {
        let number = self.ask(what);
        self.answer(number)
    }
}

/// A fault of one session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SessionFault {
    /// The connection is lost before the next request takes effect.
    CutBefore,
    /// The connection is lost after the next request took effect.
    CutAfter,
    /// The connection is lost between two requests.
    Disconnect,
    /// The session expires.
    Expire,
    /// The next request takes effect, its reply is lost, and the session expires before the client can read the
    /// outcome.
    CutAfterAndExpire,
}

pub(crate) fn session_fault() -> impl Strategy<Value = SessionFault> {
    prop_oneof![
        3 => Just(SessionFault::CutBefore),
        4 => Just(SessionFault::CutAfter),
        1 => Just(SessionFault::Disconnect),
        1 => Just(SessionFault::Expire),
        2 => Just(SessionFault::CutAfterAndExpire),
    ]
}

impl SessionFault {
    /// Injects the fault into a connected session. Returns when it has happened, or after 100 ms.
    pub(crate) async fn inject(self, faults: &Faults, session: &Session) {
        let id = session.connection().await.session_id();
        let at = RequestFilter::any().session(id);
        let cut = match self {
            SessionFault::CutBefore => Disconnect::BeforeEffect,
            SessionFault::CutAfter | SessionFault::CutAfterAndExpire => Disconnect::BeforeReply,
            SessionFault::Disconnect => {
                faults.disconnect(id).await;
                return;
            }
            SessionFault::Expire => {
                faults.expire(id).await;
                return;
            }
        };
        let armed = faults.disconnect_at(cut, at).await;
        // A session that sends no more requests cannot be cut.
        let _ = tokio::time::timeout(Duration::from_millis(100), armed.happened()).await;
        if matches!(self, SessionFault::CutAfterAndExpire) {
            faults.expire(id).await;
        }
    }
}

/// Runs `test` with `cases` schedules (`PROPTEST_CASES` overrides the number). A failing schedule is shrunk and
/// reported with its seed. `RECIPES_SEED` sets the first seed; the default is random.
#[track_caller]
pub(crate) fn schedules<S: Strategy>(cases: u32, schedule: S, test: impl Fn(S::Value) -> TestCaseResult) {
    let given = std::env::var("RECIPES_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed: u64 = given.unwrap_or_else(rand::random);
    let cases = std::env::var("PROPTEST_CASES").ok().map_or(cases, |cases| cases.parse().unwrap());
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 64,
        ..ProptestConfig::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    if let Err(error) = runner.run(&schedule, test) {
        panic!("RECIPES_SEED={seed}: {error}");
    }
}

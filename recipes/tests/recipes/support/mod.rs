//! A ZooKeeper, in memory or Apache's, and sessions to it; what befalls sessions; and Kazoo's recipes, spoken to.

pub(crate) mod election;
pub(crate) mod memory;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::{Connection, Session, SessionOptions};
use atalaya_sim::zookeeper::{Armed, AtRequest, Cut, Faults, Operation, Server};
use atalaya_testbed::{Kazoo, Process, Proxy, ZooKeeper};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tracing::instrument::{WithDispatch, WithSubscriber as _};

/// The session timeout of everything here.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// No condition takes longer, on however busy a machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

enum Place {
    Memory(Server),
    Apache(ZooKeeper),
}

/// A ZooKeeper, and a runtime for its clients.
pub(crate) struct Bed {
    // Dropped first, with all the clients that run on it.
    runtime: Runtime,
    place: Place,
}

impl Bed {
    pub(crate) fn memory() -> Bed {
        let tick = TIMEOUT / 4;
        Bed::at(Place::Memory(Server::builder().tick(tick).listen("127.0.0.1:0").start_thread().unwrap()))
    }

    #[track_caller]
    pub(crate) fn apache() -> Bed {
        Bed::at(Place::Apache(ZooKeeper::start()))
    }

    fn at(place: Place) -> Bed {
        // Shown only when a test fails. A second test in the same process finds it set up.
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::WARN).try_init();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Bed { runtime, place }
    }

    pub(crate) fn connect_string(&self) -> String {
        match &self.place {
            Place::Memory(server) => server.connect_string(),
            Place::Apache(server) => server.connect_string(),
        }
    }

    /// The hand on the server in memory.
    pub(crate) fn faults(&self) -> Faults {
        match &self.place {
            Place::Memory(server) => server.faults(),
            Place::Apache(_) => panic!("only the server in memory fails at will"),
        }
    }

    pub(crate) fn session(&self) -> Session {
        self.session_to(&self.connect_string())
    }

    /// A session to other servers: a proxy.
    pub(crate) fn session_to(&self, servers: &str) -> Session {
        let _inside = self.runtime.enter();
        Session::start(SessionOptions { servers: servers.parse().unwrap(), timeout: TIMEOUT })
    }

    /// A proxy before the server.
    pub(crate) fn proxy(&self) -> Proxy {
        match &self.place {
            Place::Memory(server) => Proxy::to(server.local_addr().port()),
            Place::Apache(server) => Proxy::to(server.port()),
        }
    }

    /// A session of its own, connected.
    #[track_caller]
    pub(crate) fn connection(&self) -> Connection {
        let session = self.session();
        self.wait(session.connection())
    }

    /// What its clients run on.
    pub(crate) fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Runs a future on this thread, to its end.
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

    /// The next request of this kind, of this session and about this path, loses its connection.
    pub(crate) async fn cut(&self, cut: Cut, session: &Session, kind: Operation, path: &str) -> Armed {
        let id = session.connection().await.session_id();
        self.faults().cut(cut, AtRequest::next().of_session(id).of_kind(kind).about(path)).await
    }

    /// Kazoo's recipes, in a process of their own.
    #[track_caller]
    pub(crate) fn kazoo(&self, recipe: &str, path: &str, args: &[&str]) -> Kazoos {
        let hosts = self.connect_string();
        let mut all = vec![hosts.as_str(), recipe, path];
        all.extend(args);
        let process = Kazoo::ready().piped("recipes.py", &all);
        process.wait_for_line("connected", SOON);
        Kazoos { process, asked: 0 }
    }
}

/// The log of one future, and of nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    /// Collects what `future` logs while it is polled.
    pub(crate) fn of<F: Future>(&self, future: F) -> WithDispatch<F> {
        let logs = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(move || logs.clone())
            .finish();
        future.with_subscriber(subscriber)
    }

    /// The lines so far.
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

/// `future`'s end, which comes soon.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("this takes for ever")
}

/// Looks until there is something to see, after every round trip to the server.
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
    tokio::time::timeout(SOON, looks).await.unwrap_or_else(|_| panic!("{what}: not soon"))
}

/// One of Kazoo's recipes, in a process of its own.
pub(crate) struct Kazoos {
    pub(crate) process: Process,
    asked: usize,
}

impl Kazoos {
    /// Has it begin something, and returns the number of its answer.
    pub(crate) fn ask(&mut self, what: &str) -> usize {
        self.asked += 1;
        self.process.write_line(what);
        self.asked
    }

    /// Its answer, which comes soon.
    #[track_caller]
    pub(crate) fn answer(&self, number: usize) -> String {
        let start = format!("[{number}] ");
        let line = self.process.wait_for_line(&start, SOON).text;
        line.strip_prefix(&start).unwrap().to_owned()
    }

    pub(crate) fn answered(&self, number: usize) -> bool {
        let start = format!("[{number}] ");
        self.process.log().iter().any(|line| line.text.starts_with(&start))
    }

    /// Has it do something, and waits for its answer.
    #[track_caller]
    pub(crate) fn call(&mut self, what: &str) -> String {
        let number = self.ask(what);
        self.answer(number)
    }
}

/// What befalls one of several sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blow {
    /// The connection is lost at the next request, which has no effect.
    CutBefore,
    /// The connection is lost at the next request, which takes effect.
    CutAfter,
    /// The connection is lost between two requests.
    Disconnect,
    /// The session ends.
    Expire,
    /// The next request takes effect, its reply is lost, and the session ends before it can be looked at.
    CutAfterAndExpire,
}

pub(crate) fn blow() -> impl Strategy<Value = Blow> {
    prop_oneof![
        3 => Just(Blow::CutBefore),
        4 => Just(Blow::CutAfter),
        1 => Just(Blow::Disconnect),
        1 => Just(Blow::Expire),
        2 => Just(Blow::CutAfterAndExpire),
    ]
}

impl Blow {
    /// Deals it to a session, if that is connected; returns when it has come down, or will not soon.
    pub(crate) async fn deal(self, faults: &Faults, session: &Session) {
        let id = session.connection().await.session_id();
        let at = AtRequest::next().of_session(id);
        let cut = match self {
            Blow::CutBefore => Cut::BeforeEffect,
            Blow::CutAfter | Blow::CutAfterAndExpire => Cut::BeforeReply,
            Blow::Disconnect => {
                faults.disconnect(id).await;
                return;
            }
            Blow::Expire => {
                faults.expire(id).await;
                return;
            }
        };
        let armed = faults.cut(cut, at).await;
        // A session that asks for nothing any more cannot be cut.
        let _ = tokio::time::timeout(Duration::from_millis(100), armed.happened()).await;
        if matches!(self, Blow::CutAfterAndExpire) {
            faults.expire(id).await;
        }
    }
}

/// Tries `test` with so many schedules, or as many as `PROPTEST_CASES` says. A failure is made smaller as far as it
/// stays one, and told with the seed; `RECIPES_SEED` is where to begin with another than a random one.
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

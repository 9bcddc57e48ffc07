//! What the promises are tried with: a ZooKeeper, sessions to it, and contenders that keep a journal.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Connection, Election, Leadership, Phase, Session, SessionOptions, Standing};
use atalaya_testbed::{Probe, Proxy, ZooKeeper, eventually};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The session timeout of everything here; the server's tick is a quarter of it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// No condition takes longer, on however busy a machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// What a machine that is busy with other tests may be late by.
pub(crate) const SLACK: Duration = Duration::from_secs(1);

pub(crate) const ELECTION: &str = "/election";

/// Op codes, for the proxy.
pub(crate) const DELETE: i32 = 2;
pub(crate) const SET: i32 = 5;
pub(crate) const SYNC: i32 = 9;
pub(crate) const MULTI: i32 = 14;
pub(crate) const CREATE: i32 = 15;

/// A ZooKeeper, and a runtime for its clients.
pub(crate) struct Bed {
    // Dropped first, with all the clients that run on it.
    runtime: Runtime,
    pub(crate) zookeeper: ZooKeeper,
}

impl Bed {
    #[track_caller]
    pub(crate) fn start() -> Bed {
        // Shown only when a test fails. A second test in the same process finds it set up.
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::INFO).try_init();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Bed { runtime, zookeeper: ZooKeeper::start() }
    }

    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::to(self.zookeeper.port())
    }

    pub(crate) fn probe(&self) -> Probe {
        Probe::connect(&self.zookeeper.connect_string())
    }

    /// A session to `servers`, which need not be there.
    pub(crate) fn session(&self, servers: &str) -> Session {
        session_on(self.runtime.handle(), servers)
    }

    /// A session that goes to the server directly, and its first connection.
    #[track_caller]
    pub(crate) fn connection(&self) -> Connection {
        let session = self.session(&self.zookeeper.connect_string());
        self.wait(session.connection())
    }

    /// Runs a future on this thread, to its end.
    #[track_caller]
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime
            .block_on(async { tokio::time::timeout(SOON, future).await.expect("this takes for ever") })
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// A contender behind `proxy`.
    pub(crate) fn contender(&self, name: &str, proxy: &Proxy) -> Contender {
        Contender::on(self.runtime.handle(), name, &proxy.connect_string())
    }

    /// A contender that goes to the server directly.
    pub(crate) fn contender_beside(&self, name: &str) -> Contender {
        Contender::on(self.runtime.handle(), name, &self.zookeeper.connect_string())
    }

    /// The paths of the election's znodes in line, as `connection` sees them after a `sync`.
    #[track_caller]
    pub(crate) fn line(&self, connection: &Connection) -> Vec<String> {
        self.wait(async {
            connection.sync().await.unwrap();
            let children = match connection.children(ELECTION).await {
                Ok(children) => children,
                Err(error) if error.is_no_node() => Vec::new(),
                Err(error) => panic!("{error}"),
            };
            let line = atalaya_recipes::node_names::sorted_contenders(Naming::Kazoo, &children);
            assert_eq!(line.len(), children.len(), "others than contenders: {children:?}");
            line.into_iter().map(|name| format!("{ELECTION}/{name}")).collect()
        })
    }
}

/// Begins a session on a runtime of the caller's choice.
fn session_on(runtime: &Handle, servers: &str) -> Session {
    let _inside = runtime.enter();
    Session::start(SessionOptions { servers: servers.parse().unwrap(), timeout: TIMEOUT })
}

/// Waits until the session is in this phase.
#[track_caller]
pub(crate) fn until_phase(session: &Session, phase: Phase) {
    eventually(&format!("the session is {phase:?}"), SOON, || (session.state().phase == phase).then_some(()));
}

/// Waits until the session has another id than `old`.
#[track_caller]
pub(crate) fn until_another_session(session: &Session, old: i64) {
    eventually("another session", SOON, || {
        let view = session.state();
        (view.phase == Phase::Connected && view.session != old).then_some(())
    });
}

/// A time in which leader code ran.
#[derive(Clone, Debug)]
pub(crate) struct Reign {
    pub(crate) who: String,
    pub(crate) term: i64,
    pub(crate) znode: String,
    pub(crate) from: Instant,
    /// When it was last polled.
    pub(crate) polled: Instant,
    /// When its future was dropped or returned.
    pub(crate) to: Option<Instant>,
}

/// The reigns of one or more contenders.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Reign>>>);

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Vec<Reign>> {
        self.0.lock().unwrap()
    }

    pub(crate) fn reigns(&self) -> Vec<Reign> {
        self.lock().clone()
    }

    /// The leader's code: keeps its entry current until it is told to stop.
    pub(crate) async fn lead(self, who: String, leadership: Leadership, mut stop: watch::Receiver<bool>) {
        let now = Instant::now();
        let entry = {
            let mut reigns = self.lock();
            let (term, znode) = (leadership.fencing_token(), leadership.znode().to_owned());
            reigns.push(Reign { who, term, znode, from: now, polled: now, to: None });
            reigns.len() - 1
        };
        let ending = Ending { journal: self, entry };
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = tick.tick() => ending.journal.lock()[entry].polled = Instant::now(),
            }
        }
    }
}

/// Dropped with the leader's code.
struct Ending {
    journal: Journal,
    entry: usize,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.journal.lock()[self.entry].to = Some(Instant::now());
    }
}

/// A contender with a session of its own, whose leader's code goes on until it is told to stop.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) session: Session,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) journal: Journal,
    stop: watch::Sender<bool>,
    run: JoinHandle<()>,
}

impl Contender {
    pub(crate) fn on(runtime: &Handle, name: &str, servers: &str) -> Contender {
        let session = session_on(runtime, servers);
        let election = Election::new(session.clone(), ELECTION, name, Naming::Kazoo);
        let standing = election.standing();
        let (stop, stopped) = watch::channel(false);
        let journal = Journal::default();
        let (kept, who) = (journal.clone(), name.to_owned());
        let lead = move |leadership| kept.clone().lead(who.clone(), leadership, stopped.clone());
        let run = runtime.spawn(election.run(lead));
        Contender { name: name.to_owned(), session, standing, journal, stop, run }
    }

    /// Waits until it stands so.
    #[track_caller]
    pub(crate) fn until(&self, standing: Standing) {
        eventually(&format!("{} is {standing:?}", self.name), SOON, || self.is(standing).then_some(()));
    }

    #[track_caller]
    pub(crate) fn until_leading(&self) -> Reign {
        eventually(&format!("{} leads", self.name), SOON, || {
            let newest = self.journal.reigns().pop()?;
            (self.is(Standing::Leading) && newest.to.is_none()).then_some(newest)
        })
    }

    /// Waits until the leader's code has ended for the `nth` time, and returns that time.
    #[track_caller]
    pub(crate) fn until_ended(&self, nth: usize) -> Reign {
        eventually(&format!("the leader's code of {} has ended {nth} times", self.name), SOON, || {
            self.journal.reigns().get(nth - 1).filter(|reign| reign.to.is_some()).cloned()
        })
    }

    pub(crate) fn is(&self, standing: Standing) -> bool {
        *self.standing.borrow() == standing
    }

    /// Lets the leader's code return.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Lets the leader's code return, and waits until `run` has.
    #[track_caller]
    pub(crate) fn finish(self, bed: &Bed) {
        self.stop();
        bed.wait(self.run).unwrap();
    }
}

/// A count that async code keeps and a test looks at.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

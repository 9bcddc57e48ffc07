//! Elections on Apache ZooKeeper: a server, sessions, and contenders that record when their leader code runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Connection, Election, Leadership, Phase, Session, Standing};
use atalaya_testbed::{Proxy, eventually};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use super::{TIMEOUT, TestBed};
/// Deadline of every condition, long enough for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Delay that a machine that is busy with other tests may add.
pub(crate) const SLACK: Duration = Duration::from_secs(1);

pub(crate) const ELECTION: &str = "/election";

/// Operation codes, for the proxy.
pub(crate) const DELETE: i32 = 2;
pub(crate) const SET: i32 = 5;
pub(crate) const SYNC: i32 = 9;
pub(crate) const MULTI: i32 = 14;
pub(crate) const CREATE: i32 = 15;

impl TestBed {
    pub(crate) fn contender(&self, name: &str, proxy: &Proxy) -> Contender {
        Contender::on(self.runtime.handle(), name, &proxy.connect_string())
    }

    /// Starts a contender directly at the server.
    pub(crate) fn direct_contender(&self, name: &str) -> Contender {
        Contender::on(self.runtime.handle(), name, &self.connect_string())
    }

    /// Returns the paths of the queued election znodes, as `connection` sees them after a `sync`.
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

/// Waits for a condition, up to [`DEADLINE`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, DEADLINE, || condition().then_some(()));
}

#[track_caller]
pub(crate) fn until_phase(session: &Session, phase: Phase) {
    wait_until(&format!("the session is {phase:?}"), || session.state().phase == phase);
}

/// Waits until the session has another id than `old`.
#[track_caller]
pub(crate) fn until_another_session(session: &Session, old: i64) {
    eventually("another session", DEADLINE, || {
        let view = session.state();
        (view.phase == Phase::Connected && view.session != old).then_some(())
    });
}

/// A time span in which leader code ran.
#[derive(Clone, Debug)]
pub(crate) struct LeaderRun {
    pub(crate) who: String,
    pub(crate) fencing_token: i64,
    pub(crate) znode: String,
    pub(crate) from: Instant,
    pub(crate) poll_times: Instant,
    /// Time when the future was dropped or returned.
    pub(crate) to: Option<Instant>,
}

/// The leader runs of one or more contenders.
#[derive(Clone, Default)]
pub(crate) struct RunLog(Arc<Mutex<Vec<LeaderRun>>>);

impl RunLog {
    fn lock(&self) -> MutexGuard<'_, Vec<LeaderRun>> {
        self.0.lock().unwrap()
    }

    pub(crate) fn runs(&self) -> Vec<LeaderRun> {
        self.lock().clone()
    }

    /// Leader code: updates its entry until it is stopped.
    pub(crate) async fn lead(self, who: String, leadership: Leadership, mut stop: watch::Receiver<bool>) {
        let now = Instant::now();
        let entry = {
            let mut runs = self.lock();
            let (fencing_token, znode) = (leadership.fencing_token(), leadership.znode().to_owned());
            runs.push(LeaderRun { who, fencing_token, znode, from: now, poll_times: now, to: None });
            runs.len() - 1
        };
        let ending = EndOnDrop { run_log: self, entry };
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = tick.tick() => ending.run_log.lock()[entry].poll_times = Instant::now(),
            }
        }
    }
}

/// Dropped with the leader code.
struct EndOnDrop {
    run_log: RunLog,
    entry: usize,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.run_log.lock()[self.entry].to = Some(Instant::now());
    }
}

/// A contender with its own session, whose leader code runs until it is stopped.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) session: Session,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) run_log: RunLog,
    stop: watch::Sender<bool>,
    run: JoinHandle<()>,
}

impl Contender {
    pub(crate) fn on(runtime: &Handle, name: &str, servers: &str) -> Contender {
        let session = super::session_on(runtime, servers);
        let election = Election::new(session.clone(), ELECTION, name, Naming::Kazoo);
        let standing = election.standing();
        let (stop, stopped) = watch::channel(false);
        let run_log = RunLog::default();
        let (kept, who) = (run_log.clone(), name.to_owned());
        let lead = move |leadership| kept.clone().lead(who.clone(), leadership, stopped.clone());
        let run = runtime.spawn(election.run(lead));
        Contender { name: name.to_owned(), session, standing, run_log, stop, run }
    }

    #[track_caller]
    pub(crate) fn until(&self, standing: Standing) {
        wait_until(&format!("{} is {standing:?}", self.name), || self.is(standing));
    }

    #[track_caller]
    pub(crate) fn until_leading(&self) -> LeaderRun {
        eventually(&format!("{} leads", self.name), DEADLINE, || {
            let newest = self.run_log.runs().pop()?;
            (self.is(Standing::Leading) && newest.to.is_none()).then_some(newest)
        })
    }

    /// Waits until the leader code has ended for the `nth` time, and returns that run.
    #[track_caller]
    pub(crate) fn until_ended(&self, nth: usize) -> LeaderRun {
        eventually(&format!("the leader's code of {} has ended {nth} times", self.name), DEADLINE, || {
            self.run_log.runs().get(nth - 1).filter(|leader_run| leader_run.to.is_some()).cloned()
        })
    }

    pub(crate) fn is(&self, standing: Standing) -> bool {
        *self.standing.borrow() == standing
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Lets the leader code return, and waits until `run` has returned.
    #[track_caller]
    pub(crate) fn finish(self, bed: &TestBed) {
        self.stop();
        bed.wait(self.run).unwrap();
    }
}

/// A counter that async code increments and a test reads.
#[derive(Clone, Default)]
pub(crate) struct SharedCount(Arc<AtomicU64>);

impl SharedCount {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

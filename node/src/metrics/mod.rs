//! What a node tells of itself to whoever watches it: figures for Prometheus at `/metrics`, whether it lives at `/healthz`,
//! whether it does its work at `/readyz`.
//!
//! A [`Server`] answers from a thread of its own, so that a node whose thread hangs can be told from one that is well, and
//! so that nobody who asks holds the measuring up. The parts of a node count what they do in [`Metrics`], which costs
//! nothing if nobody listens; everything else is looked up when somebody asks.

mod browser;
mod health;
mod leading;
mod plain;
mod process;
mod scrape;
mod sensing;
mod server;
mod shares;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atalaya_hal::SensorInfo;
use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::session::Phase;
use atalaya_recipes::{Session, Standing};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::{mpsc, oneshot, watch};

pub use leading::Ended;
pub use server::Server;

use crate::leader::delivery::queue::Outcome;
use crate::leader::read_fleet::Gathered;
use crate::leader::schedule::ServerClock;
use crate::model::barrier::SamplingMode;
use crate::model::leader_state::LeaderState;
use crate::model::node_id::NodeId;
use crate::model::report::CycleReport;
use crate::observe::node_status::NodeStatus;
use crate::process::systemd::Progress;
use crate::sampling::{Sample, SampleProgress};
use crate::settings::Settings;
use health::{Look, Stage};
use leading::Leading;
use sensing::{Sensing, age};

/// What a node counts. Clones are the same; the default counts nothing.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Option<Arc<Inner>>);

/// Where a node that runs says what it does.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) session: Session,
    pub(crate) node_status: watch::Receiver<NodeStatus>,
    pub(crate) turns: watch::Receiver<Option<SampleProgress>>,
    pub(crate) settings: watch::Receiver<Settings>,
    pub(crate) board: watch::Receiver<String>,
    pub(crate) leading: watch::Receiver<Option<LeaderState>>,
    pub(crate) pace: watch::Receiver<SamplingMode>,
    /// What this node made of the counter last.
    pub(crate) tally: watch::Receiver<Option<i64>>,
}

/// A question that the node's own thread answers when it comes to it.
type Ping = oneshot::Sender<()>;
/// Questions that may wait. More than can be asked at a time.
const PINGS: usize = 64;

#[derive(Debug)]
struct Inner {
    id: String,
    sensing: Mutex<Sensing>,
    leading: Leading,
    /// How long it waited at the barrier.
    waits: Histogram,
    /// `None` before it runs, and after.
    running: Mutex<Option<Running>>,
    /// Whether it gets on, as a watchdog has it.
    progress: Mutex<Option<Progress>>,
    seen: Mutex<Seen>,
    is_stopping: AtomicBool,
    ping: mpsc::Sender<Ping>,
    pings: Mutex<Option<mpsc::Receiver<Ping>>>,
}

/// Sessions, as far as they were seen.
#[derive(Debug, Default)]
struct Seen {
    newest: i64,
    sessions: u64,
}

/// In seconds: as long as sampling periods may be.
const WAITS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];
/// How late a sample may be before the measuring counts as one that hangs.
const SLACK: Duration = Duration::from_secs(5);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks, and were it to, the values would be whole all the same.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// Those of the node called `id`.
    pub fn of(id: &NodeId) -> Metrics {
        let (ping, pings) = mpsc::channel(PINGS);
        Metrics(Some(Arc::new(Inner {
            id: id.as_str().to_owned(),
            sensing: Mutex::default(),
            leading: Leading::new(),
            waits: Histogram::new(WAITS),
            running: Mutex::default(),
            progress: Mutex::default(),
            seen: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            ping,
            pings: Mutex::new(Some(pings)),
        })))
    }

    /// Whether anything is counted.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Notes what changes, and answers for the node's own thread, until it is dropped: then the node is stopping.
    pub(crate) async fn attend(&self, running: Option<Running>) {
        let (Some(inner), Some(running)) = (&self.0, running) else { return std::future::pending().await };
        let Some(mut pings) = lock(&inner.pings).take() else { return std::future::pending().await };
        let _stopping = Stopping(inner);
        let Running { mut node_status, mut turns, settings, .. } = running.clone();
        *lock(&inner.progress) = Some(Progress::new(Instant::now(), &settings.borrow(), SLACK));
        *lock(&inner.running) = Some(running);
        loop {
            inner.note(&node_status.borrow_and_update(), *turns.borrow_and_update());
            tokio::select! {
                Ok(()) = node_status.changed() => {}
                Ok(()) = turns.changed() => {}
                Some(ping) = pings.recv() => drop(ping.send(())),
                else => return std::future::pending().await,
            }
        }
    }

    fn with(&self, act: impl FnOnce(&Inner)) {
        if let Some(inner) = &self.0 {
            act(inner);
        }
    }

    /// The node carries these sensors from now on.
    pub(crate) fn carries<'a>(&self, sensors: impl IntoIterator<Item = &'a SensorInfo>) {
        self.with(|inner| lock(&inner.sensing).carry(sensors));
    }

    /// A sample was taken.
    pub(crate) fn sampled(&self, samples: &[Sample]) {
        self.with(|inner| lock(&inner.sensing).sampled(samples, BootInstant::now()));
    }

    /// In step, it measures again so long after it had measured.
    pub(crate) fn waited(&self, time: Duration) {
        self.with(|inner| inner.waits.observe(time.as_secs_f64()));
    }

    /// It leads from now on; what it asks ZooKeeper may take `patience`.
    pub(crate) fn begins_to_lead(&self, patience: Duration) {
        self.with(|inner| inner.leading.begins(BootInstant::now(), patience));
    }

    /// It leads no more.
    pub(crate) fn leads_no_more(&self) {
        self.with(|inner| inner.leading.ends());
    }

    /// It leads in an epoch of its own.
    pub(crate) fn takes_office(&self, clock: ServerClock) {
        self.with(|inner| inner.leading.takes_office(clock));
    }

    /// The next cycle is due in this time; what it asks ZooKeeper may take `patience`.
    pub(crate) fn awaits_cycle(&self, due: Duration, patience: Duration) {
        self.with(|inner| inner.leading.awaits(due, BootInstant::now(), patience));
    }

    /// A cycle has ended.
    pub(crate) fn cycled(&self, ended: Ended, late: Duration, took: Duration, clock: ServerClock) {
        self.with(|inner| inner.leading.cycled(ended, late, took, clock));
    }

    /// So many nodes are listed, and this was read.
    pub(crate) fn gathered(&self, nodes: usize, gathered: &Gathered) {
        self.with(|inner| inner.leading.gathered(nodes, gathered));
    }

    /// A cycle came to this.
    pub(crate) fn averaged(&self, report: &CycleReport) {
        self.with(|inner| inner.leading.averaged(report));
    }

    /// What stands at the counter, if the leader writes it.
    pub(crate) fn tallied(&self, value: Option<i64>) {
        self.with(|inner| inner.leading.tallied(value));
    }

    /// So many reports wait, the oldest made then.
    pub(crate) fn waits(&self, waiting: usize, oldest: Option<jiff::Timestamp>) {
        let oldest = oldest.map(jiff::Timestamp::as_millisecond);
        self.with(|inner| inner.leading.waits(waiting, oldest, BootInstant::now()));
    }

    /// Whatever waits is delivered from now on.
    pub(crate) fn delivers(&self) {
        self.with(|inner| inner.leading.delivers(BootInstant::now()));
    }

    /// A report is sent.
    pub(crate) fn sends(&self, retry: bool) {
        self.with(|inner| inner.leading.sends(retry, BootInstant::now()));
    }

    /// A report was answered, or was not in time.
    pub(crate) fn answered(&self, outcome: &Outcome, took: Duration) {
        self.with(|inner| inner.leading.answered(outcome, took, BootInstant::now()));
    }

    /// A collector has refused a report because of an epoch above the leader's.
    pub(crate) fn outranked(&self) {
        self.with(|inner| inner.leading.outranked());
    }

    /// A report that was rejected is set aside.
    pub(crate) fn sets_aside(&self) {
        self.with(|inner| inner.leading.sets_aside());
    }

    /// A report had to make room.
    pub(crate) fn drops(&self) {
        self.with(|inner| inner.leading.drops());
    }

    /// So many are kept aside.
    pub(crate) fn aside(&self, aside: i32) {
        self.with(|inner| inner.leading.aside(aside));
    }
}

/// Says that the node stops, however it does.
struct Stopping<'a>(&'a Inner);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
        *lock(&self.0.running) = None;
    }
}

impl Inner {
    fn note(&self, node_status: &NodeStatus, turn: Option<SampleProgress>) {
        if let Some(progress) = lock(&self.progress).as_mut() {
            progress.look(node_status, turn, Instant::now());
        }
        lock(&self.sensing).published(node_status.published, BootInstant::now());
        let session = node_status.session.map_or(0, |view| view.session);
        let mut seen = lock(&self.seen);
        if session != 0 && session != seen.newest {
            *seen = Seen { newest: session, sessions: seen.sessions + 1 };
        }
    }

    /// What is known of the node, but for whether it answers.
    fn look(&self, now: BootInstant) -> Look {
        let running = lock(&self.running).clone();
        let mut look = Look {
            stage: if self.is_stopping.load(Ordering::Relaxed) { Stage::Stopping } else { Stage::Starting },
            period: Duration::ZERO,
            stuck: Vec::new(),
            faults: Vec::new(),
            measured: None,
            published: None,
            connected: false,
            held: false,
        };
        let Some(running) = running else { return look };
        look.stage = Stage::Running;
        let (standing, held) = {
            let node_status = running.node_status.borrow();
            (node_status.standing, node_status.published.held)
        };
        let reports = {
            let settings = running.settings.borrow();
            look.period = settings.sampling_period;
            settings.api_url.is_some()
        };
        (look.held, look.connected) = (held, running.session.state().phase == Phase::Connected);
        look.connected &= !running.session.lease_remaining(now).is_zero();
        let progress = lock(&self.progress);
        look.stuck.extend(progress.as_ref().and_then(|progress| progress.problem(Instant::now())));
        drop(progress);
        if standing == Standing::Leading {
            look.stuck.extend(self.leading.led().as_ref().and_then(|led| led.problem(reports, now)));
        }
        let sensing = lock(&self.sensing);
        (look.measured, look.published) = (age(sensing.measured_at, now), age(sensing.published_at, now));
        look.faults = sensing.faults();
        look
    }

    /// Whether the node's own thread answers within `patience`.
    async fn answers(&self, patience: Duration) -> bool {
        let (give, given) = oneshot::channel();
        if self.ping.try_send(give).is_err() {
            // As many as that wait already.
            return false;
        }
        // Whoever drops the question stops; that is no hanging.
        tokio::time::timeout(patience, given).await.is_ok()
    }

    /// All figures.
    fn registry(self: &Arc<Inner>) -> Registry {
        let mut registry = Registry::default();
        let own = registry.sub_registry_with_prefix("atalaya");
        self.leading.register(own);
        let help = "In step, how long after a sample the next one could begin";
        own.register_with_unit("barrier_wait", help, Unit::Seconds, self.waits.clone());
        registry.register_collector(Box::new(scrape::Scrape(Arc::clone(self))));
        registry
    }
}

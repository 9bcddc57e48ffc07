//! Observer of one node, for the HTTP server. It exists before the node starts and after it has stopped.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Phase, Session, Standing};
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::{Metrics, lock};
use crate::model::barrier::SamplingMode;
use crate::model::leader_state::LeaderState;
use crate::model::node_id::NodeId;
use crate::model::text;
use crate::observe::health::{HealthReport, HealthSnapshot, Stage};
use crate::observe::node_status::NodeStatus;
use crate::observe::watchdog::{Watchdog, leader_problem};
use crate::settings::Settings;

/// Maximum delay of a sample before the liveness probe fails.
const SAMPLE_TOLERANCE: Duration = Duration::from_secs(5);
/// Maximum time in which the node's thread responds, and in which other problems may resolve themselves before the
/// liveness probe fails: a process that was stopped and continues is healthy again in a moment.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of pings that wait: more than probes at the same time.
const MAX_PINGS: usize = 64;

/// A request that the node's thread answers as soon as it runs.
type Ping = oneshot::Sender<()>;

#[derive(Clone, Debug)]
pub(crate) struct Observer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node_id: String,
    metrics: Metrics,
    state: Mutex<State>,
    ping: mpsc::Sender<Ping>,
    pings: Mutex<Option<mpsc::Receiver<Ping>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Never [`Stage::Hanging`], which only a probe finds out.
    stage: Stage,
    /// `None` before the node runs, and after.
    node: Option<NodeHandles>,
    watchdog: Option<Watchdog>,
    newest_session: i64,
    sessions: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct NodeHandles {
    pub(crate) session: Session,
    pub(crate) status: watch::Receiver<NodeStatus>,
    /// Latest time at which the next sample must be complete.
    pub(crate) sampling: watch::Receiver<Option<Instant>>,
    pub(crate) sampling_mode: watch::Receiver<SamplingMode>,
    pub(crate) settings: watch::Receiver<Settings>,
    pub(crate) board: watch::Receiver<String>,
    pub(crate) leader: watch::Receiver<Option<LeaderState>>,
    /// Value of the counter when this node incremented it last.
    pub(crate) counter: watch::Receiver<Option<i64>>,
}

impl Observer {
    pub(crate) fn new(node_id: &NodeId) -> Observer {
        let (ping, pings) = mpsc::channel(MAX_PINGS);
        let (node_id, metrics) = (node_id.as_str().to_owned(), Metrics::enabled());
        let (state, pings) = (Mutex::default(), Mutex::new(Some(pings)));
        Observer(Arc::new(Inner { node_id, metrics, state, ping, pings }))
    }

    pub(crate) fn node_id(&self) -> &str {
        &self.0.node_id
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn node(&self) -> Option<NodeHandles> {
        lock(&self.0.state).node.clone()
    }

    pub(crate) fn sessions(&self) -> u64 {
        lock(&self.0.state).sessions
    }

    /// Follows the node and answers pings, on the node's thread, until dropped. From then on, the node is stopping.
    pub(crate) async fn follow(&self, node: NodeHandles) {
        let Some(mut pings) = lock(&self.0.pings).take() else { return std::future::pending().await };
        let _guard = StoppingGuard(&self.0);
        let (mut status, mut sampling) = (node.status.clone(), node.sampling.clone());
        let watchdog = Watchdog::new(Instant::now(), &node.settings.borrow(), SAMPLE_TOLERANCE);
        {
            let mut state = lock(&self.0.state);
            (state.stage, state.node, state.watchdog) = (Stage::Running, Some(node), Some(watchdog));
        }
        loop {
            self.record(&status.borrow_and_update(), *sampling.borrow_and_update());
            tokio::select! {
                Ok(()) = status.changed() => {}
                Ok(()) = sampling.changed() => {}
                Some(ping) = pings.recv() => drop(ping.send(())),
                else => return std::future::pending().await,
            }
        }
    }

    fn record(&self, status: &NodeStatus, sampling: Option<Instant>) {
        let now = BootInstant::now();
        self.0.metrics.sampling.update(|stats| stats.record_publication(status.published, now));
        let mut state = lock(&self.0.state);
        if let Some(watchdog) = &mut state.watchdog {
            watchdog.update(status, sampling, Instant::now());
        }
        let session = status.session.map_or(0, |session| session.session);
        if session != 0 && session != state.newest_session {
            state.newest_session = session;
            state.sessions += 1;
        }
    }

    /// Returns the health of the node, without checking that its thread responds.
    pub(crate) fn snapshot(&self, now: BootInstant) -> HealthSnapshot {
        let (stage, node, problem) = {
            let state = lock(&self.0.state);
            let problem = state.watchdog.as_ref().and_then(|watchdog| watchdog.problem(Instant::now()));
            (state.stage, state.node.clone(), problem)
        };
        let mut snapshot = HealthSnapshot { stage, ..HealthSnapshot::default() };
        let Some(node) = node else { return snapshot };
        snapshot.problems.extend(problem);
        snapshot.owns_measurement = node.status.borrow().published.held;
        snapshot.sampling_period = node.settings.borrow().sampling_period;
        snapshot.is_connected =
            node.session.state().phase == Phase::Connected && !node.session.lease_remaining(now).is_zero();
        // One line, whatever a server's certificate contains.
        let connect_error = node.session.connect_error().borrow().as_ref().map(ToString::to_string);
        snapshot.connect_error = connect_error.map(|error| text::sanitize_for_log(&error));
        if node.status.borrow().standing == Standing::Leading {
            let has_api = node.settings.borrow().api_url.is_some();
            let stats = self.0.metrics.leader.stats();
            snapshot.problems.extend(stats.and_then(|stats| leader_problem(&stats, has_api, now)));
        }
        let sampling = self.0.metrics.sampling.stats();
        snapshot.measurement_age = sampling.measured_at.map(|at| now.since(at));
        snapshot.publication_age = sampling.published_at.map(|at| now.since(at));
        snapshot.sensor_errors = sampling.sensor_errors();
        let history = self.0.metrics.history.stats();
        snapshot.history_problems = history.map(|stats| stats.problems()).unwrap_or_default();
        snapshot
    }

    /// Waits until the node's thread responds. Returns false on timeout.
    async fn is_responding(&self) -> bool {
        let (response, responded) = oneshot::channel();
        if self.0.ping.try_send(response).is_err() {
            // The queue is full of pings that have not been answered.
            return false;
        }
        // A ping that is dropped belongs to a node that stops, which is not a timeout.
        tokio::time::timeout(RESPONSE_TIMEOUT, responded).await.is_ok()
    }

    /// Reports liveness. Waits up to [`RESPONSE_TIMEOUT`] for problems to resolve themselves.
    pub(crate) async fn liveness(&self) -> HealthReport {
        let deadline = Instant::now() + RESPONSE_TIMEOUT;
        let is_hanging = !self.is_responding().await;
        loop {
            let mut snapshot = self.snapshot(BootInstant::now());
            if is_hanging && snapshot.stage != Stage::Stopping {
                snapshot.stage = Stage::Hanging;
            }
            let report = snapshot.liveness();
            if report.is_healthy || Instant::now() >= deadline {
                return report;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    pub(crate) async fn readiness(&self) -> HealthReport {
        let is_hanging = !self.is_responding().await;
        let mut snapshot = self.snapshot(BootInstant::now());
        if is_hanging && snapshot.stage == Stage::Running {
            snapshot.stage = Stage::Hanging;
        }
        snapshot.readiness()
    }
}

struct StoppingGuard<'a>(&'a Inner);

impl Drop for StoppingGuard<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        (state.stage, state.node) = (Stage::Stopping, None);
    }
}

#[cfg(test)]
impl Observer {
    /// Fills the queue of pings. They are not answered before the node runs.
    pub(crate) fn fill_pings(&self) {
        while self.0.ping.try_send(oneshot::channel().0).is_ok() {}
    }
}

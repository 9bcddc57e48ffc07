//! A node: samples its sensors, publishes the measurement, and takes part in the election, from start to shutdown.
//!
//! [`Node`] is the configuration, [`Tasks`] are the concurrent parts of a running node, and [`Shared`] is what several of them use.

use std::pin::Pin;
use std::time::Duration;

use atalaya_hal::Boards;
use atalaya_hal::boards::Counting;
use atalaya_recipes::node_names::{ContenderId, Naming};
use atalaya_recipes::persistent_node::{Conflict, NodeState, PersistentNode};
use atalaya_recipes::{
    Election, Session, SessionOptions, Standing, WriteCounter, WrongZnode, ZnodeProblem, election,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::dynamic_config::{self, DynamicConfig};
use crate::leader::delivery::worker::Api;
use crate::leader::fenced_store::COUNTER;
use crate::leader::{Leader, LeaderConfig, LeaderHandles};
use crate::logging::Logs;
use crate::metrics::{Metrics, Running};
use crate::model::barrier::SamplingMode;
use crate::model::leader_state::LeaderState;
use crate::model::node_id::NodeId;
use crate::model::node_info::{self, NodeInfo, NodeInfoSensor, describe_holder};
use crate::model::report::Report;
use crate::observe::node_status::{self, NodeStatus, Sources};
use crate::process::stale_sessions;
use crate::process::state_dir::{ProcessRecord, StateFile};
use crate::process::systemd::Systemd;
use crate::reload::{self, OpenBoardError, OpenedBoard, Reload};
use crate::sampling::{SampleProgress, Sampler, Sensors};
use crate::settings::Settings;
use crate::zk::barrier_watch::follow_barrier;
use crate::zk::node_info_publisher::publish_node_info;

/// Maximum time for closing the session at shutdown. ZooKeeper confirms it within milliseconds if it can be reached.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Maximum time for sending counted measurements at shutdown.
const COUNTER_TIMEOUT: Duration = Duration::from_millis(500);

/// Error that ends a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The znode of the measurement is persistent, or a session of another process owns it.
    #[error("the node id {id} is taken: {cause}")]
    IdInUse {
        /// Id of the node.
        id: NodeId,
        /// Owner of the znode, and the remedy.
        cause: String,
    },
    /// ZooKeeper was not reached in time after the start.
    #[error("ZooKeeper at {servers} was not reached within {timeout:?}")]
    Unavailable {
        /// Addresses of the servers.
        servers: String,
        /// Time that was allowed.
        timeout: Duration,
    },
}

/// Configuration of a node, before it runs.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    board: String,
    settings: Settings,
    sensors: Sensors,
    node_status: watch::Sender<NodeStatus>,
    averages: Option<mpsc::UnboundedSender<Report>>,
    network: Option<Handle>,
    reload: Option<Reload>,
    logs: Option<Logs>,
    systemd: Systemd,
    state_file: Option<StateFile>,
    metrics: Metrics,
}

impl Node {
    /// Opens the board with this name and starts a thread per bus.
    ///
    /// # Errors
    /// See [`OpenBoardError`].
    pub fn build(
        id: NodeId,
        board: Option<String>,
        boards: &Boards,
        settings: Settings,
    ) -> Result<Node, OpenBoardError> {
        let OpenedBoard { name, sensors } = OpenedBoard::open(board.as_deref(), boards)?;
        Ok(Node {
            id,
            board: name,
            settings,
            sensors,
            node_status: watch::Sender::default(),
            averages: None,
            network: None,
            reload: None,
            logs: None,
            systemd: Systemd::none(),
            state_file: None,
            metrics: Metrics::default(),
        })
    }

    /// Returns a receiver of the node status. Without a receiver, the status is not computed.
    pub fn node_status(&self) -> watch::Receiver<NodeStatus> {
        self.node_status.subscribe()
    }

    /// Sends each average of this leader to `averages` as soon as it is committed, delivered or not.
    #[must_use]
    pub fn with_averages(mut self, averages: mpsc::UnboundedSender<Report>) -> Node {
        self.averages = Some(averages);
        self
    }

    /// Sends HTTP requests from the runtime `network`. The runtime of the node then needs only timers: with thousands of nodes in one
    /// process, an I/O driver for each would exceed the limit on open files. (The ZooKeeper client has its own I/O.)
    #[must_use]
    pub fn with_network(mut self, network: Handle) -> Node {
        self.network = Some(network);
        self
    }

    /// Lets the node replace its sensors and some of its settings while it runs.
    #[must_use]
    pub fn with_reload(mut self, reload: Reload) -> Node {
        self.reload = Some(reload);
        self
    }

    /// Applies the log filter of the dynamic configuration. Not for processes with several nodes, which share one log.
    #[must_use]
    pub fn with_logs(mut self, logs: Logs) -> Node {
        self.logs = Some(logs);
        self
    }

    /// Notifies systemd of the node's state.
    #[must_use]
    pub fn with_systemd(mut self, systemd: Systemd) -> Node {
        self.systemd = systemd;
        self
    }

    /// Records sessions and znodes in the state file, and deletes the znodes of earlier processes of this node.
    #[must_use]
    pub fn with_state_file(mut self, state_file: Option<StateFile>) -> Node {
        self.state_file = state_file;
        self
    }

    /// Records metrics.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Node {
        self.metrics = metrics;
        self
    }

    /// Runs the node until `stop` completes, which returns the reason for the log. Then closes the session: when this returns, ZooKeeper
    /// has deleted all znodes of the node, if it can be reached.
    ///
    /// # Errors
    /// - [`NodeError::IdInUse`]: another process owns the znode of the measurement, or that znode is persistent.
    /// - [`NodeError::Unavailable`]: ZooKeeper was not reached within `connect_timeout`.
    pub async fn run(
        self,
        connect_timeout: Option<Duration>,
        stop: impl Future<Output = &'static str>,
    ) -> Result<(), NodeError> {
        let (shared, inputs) = Shared::start(self).await;
        let outcome = {
            let tasks = shared.tasks(inputs, connect_timeout);
            tokio::select! {
                // In this order: after a signal, no task does another step.
                biased;
                signal = stop => {
                    info!(signal, "stopping");
                    // Before the session is closed, because that may take as long as systemd waits for a sign of life.
                    shared.systemd.stopping().await;
                    Ok(())
                }
                conflict = tasks.publish_measurement => Err(shared.id_in_use(conflict).await),
                error = tasks.check_connect_timeout => Err(error),
                // The others do not end.
                () = tasks.sample => Ok(()),
                () = tasks.contend => Ok(()),
                () = tasks.publish_node_info => Ok(()),
                () = tasks.update_status => Ok(()),
                () = tasks.reload => Ok(()),
                () = tasks.follow_config => Ok(()),
                () = tasks.apply_settings => Ok(()),
                () = tasks.follow_barrier => Ok(()),
                () = tasks.notify_systemd => Ok(()),
                () = tasks.serve_metrics => Ok(()),
            }
        };
        // All tasks are dropped by now, so that none of them writes while the session closes.
        shared.shutdown().await;
        outcome
    }
}

/// Future of a task. Boxed: otherwise each caller would have a copy of it on its stack.
type Task<'a, T = ()> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The tasks of a running node. Dropping them stops them.
struct Tasks<'a> {
    /// Ends if the node id is in use.
    publish_measurement: Task<'a, Conflict>,
    /// Ends if ZooKeeper is not reached in time.
    check_connect_timeout: Task<'a, NodeError>,
    sample: Task<'a>,
    contend: Task<'a>,
    publish_node_info: Task<'a>,
    update_status: Task<'a>,
    reload: Task<'a>,
    follow_config: Task<'a>,
    apply_settings: Task<'a>,
    follow_barrier: Task<'a>,
    notify_systemd: Task<'a>,
    serve_metrics: Task<'a>,
}

/// Parts of the configuration that one task takes over.
struct Inputs {
    sensors: Sensors,
    averages: Option<mpsc::UnboundedSender<Report>>,
    reload: Option<Reload>,
    logs: Option<Logs>,
    contender_id: ContenderId,
}

/// The parts of a running node that several tasks use, and the channels between tasks.
struct Shared {
    id: NodeId,
    /// Settings at the start; for later ones, see `config`.
    settings: Settings,
    measurement_path: String,
    session: Session,
    /// With the name of this process in it.
    state_file: Option<(StateFile, String)>,
    config: DynamicConfig,
    counter: WriteCounter,
    network: Option<Handle>,
    systemd: Systemd,
    metrics: Metrics,
    node_status: watch::Sender<NodeStatus>,
    /// Newest measurement, encoded for its znode.
    measurement: watch::Sender<Option<Vec<u8>>>,
    sensor_info: watch::Sender<Vec<NodeInfoSensor>>,
    sample_progress: watch::Sender<Option<SampleProgress>>,
    sampling_mode: watch::Sender<SamplingMode>,
    board: watch::Sender<String>,
    /// `None` while the node does not lead.
    leader_state: watch::Sender<Option<LeaderState>>,
}

impl Shared {
    /// Starts the session.
    async fn start(node: Node) -> (Shared, Inputs) {
        let Node {
            id,
            board,
            settings,
            sensors,
            node_status,
            averages,
            network,
            reload,
            logs,
            systemd,
            state_file,
            metrics,
        } = node;
        info!(%id, board, zookeeper = %settings.zookeeper, period = ?settings.sampling_period, "starting");
        let contender_id = ContenderId::random();
        let measurement_path = settings.measurement_path(id.as_str());
        let state_file = state_file.map(|file| {
            let record = ProcessRecord {
                process: std::process::id(),
                sessions: Vec::new(),
                znodes: vec![measurement_path.clone(), format!("{}/{id}", node_info::PARENT)],
                election: settings.election.clone(),
                contender: Naming::Kazoo.prefix(&contender_id),
            };
            let own = record.contender.clone();
            file.add_process(record);
            (file, own)
        });
        let options =
            SessionOptions { servers: settings.zookeeper.clone(), timeout: settings.session_timeout };
        let session = match &state_file {
            // Each session is recorded before a znode is created in it.
            Some((file, _)) => {
                let file = file.clone();
                Session::start_with_callback(options, move |session| file.add_session(session))
            }
            None => Session::start(options),
        };
        let counter = WriteCounter::new(session.clone(), COUNTER);
        counter.set_enabled(settings.counting() == Counting::PerNode).await;
        let shared = Shared {
            config: DynamicConfig::new(id.clone(), settings.clone()),
            sampling_mode: watch::Sender::new(SamplingMode {
                period: settings.sampling_period,
                barrier: None,
            }),
            measurement: watch::Sender::default(),
            sensor_info: watch::Sender::default(),
            sample_progress: watch::Sender::default(),
            board: watch::Sender::new(board),
            leader_state: watch::Sender::default(),
            id,
            settings,
            measurement_path,
            session,
            state_file,
            counter,
            network,
            systemd,
            metrics,
            node_status,
        };
        (shared, Inputs { sensors, averages, reload, logs, contender_id })
    }

    fn tasks(&self, inputs: Inputs, connect_timeout: Option<Duration>) -> Tasks<'_> {
        let Inputs { sensors, averages, reload, logs, contender_id } = inputs;
        let publisher =
            PersistentNode::new(self.session.clone(), &self.measurement_path).counted(self.counter.clone());
        let published = publisher.state();
        let sampler = Sampler {
            measurement: self.measurement.clone(),
            sensor_info: self.sensor_info.clone(),
            progress: self.sample_progress.clone(),
            mode: self.sampling_mode.subscribe(),
            published: published.clone(),
            metrics: self.metrics.clone(),
        };
        let (new_sensors, replacements) = mpsc::channel(1);
        let election = Election::with_contender_id(
            self.session.clone(),
            &self.settings.election,
            self.id.as_str(),
            Naming::Kazoo,
            contender_id,
        );
        let (leader_config, current_config) = watch::channel(self.leader_config(&self.settings));
        let leader = Leader::new(LeaderHandles {
            id: self.id.as_str().to_owned(),
            measurements: self.settings.measurements.clone(),
            name: self.settings.name.clone(),
            orders: current_config,
            averages,
            leading: self.leader_state.clone(),
            metrics: self.metrics.clone(),
        });
        let sources = Sources {
            session: &self.session,
            standing: election.standing(),
            measured: self.measurement.subscribe(),
            published: published.clone(),
            sensors: self.sensor_info.subscribe(),
        };
        let status = self.systemd.is_there().then(|| self.node_status.subscribe());
        let progress = self.sample_progress.subscribe();
        Tasks {
            publish_measurement: Box::pin(self.publish_measurement(publisher)),
            check_connect_timeout: Box::pin(self.check_connect_timeout(connect_timeout)),
            sample: Box::pin(sampler.run(&self.id, sensors, replacements)),
            contend: Box::pin(self.contend(election, leader, published.clone())),
            publish_node_info: Box::pin(self.publish_node_info(published)),
            reload: Box::pin(reload::serve(reload, &self.systemd, &self.config, &self.board, new_sensors)),
            follow_config: Box::pin(self.config.follow(&self.session)),
            apply_settings: Box::pin(self.apply_settings(leader_config, logs)),
            follow_barrier: Box::pin(follow_barrier(
                &self.session,
                self.config.settings(),
                &self.sampling_mode,
            )),
            notify_systemd: Box::pin(self.systemd.serve(
                &self.settings,
                connect_timeout.is_some(),
                status,
                progress,
            )),
            serve_metrics: Box::pin(self.metrics.attend(self.metrics_inputs())),
            update_status: Box::pin(node_status::follow(&self.node_status, sources)),
        }
    }

    fn leader_config(&self, settings: &Settings) -> LeaderConfig {
        let api = settings.api_url.clone().map(|url| {
            let api = Api::new(&self.id, url, settings.api_method).through(self.network.clone());
            api.showing(settings.api_token.clone())
        });
        LeaderConfig {
            period: settings.sampling_period,
            api,
            sync: settings.sync,
            release: settings.release,
            counting: settings.counting(),
        }
    }

    fn metrics_inputs(&self) -> Option<Running> {
        self.metrics.is_on().then(|| Running {
            session: self.session.clone(),
            node_status: self.node_status.subscribe(),
            turns: self.sample_progress.subscribe(),
            settings: self.config.settings(),
            board: self.board.subscribe(),
            leading: self.leader_state.subscribe(),
            pace: self.sampling_mode.subscribe(),
            tally: self.counter.value(),
        })
    }

    /// Publishes measurements. Ends if another process or a persistent znode occupies the path.
    async fn publish_measurement(&self, publisher: PersistentNode) -> Conflict {
        if let Some((file, own)) = &self.state_file {
            // First, because a znode of an earlier process of this node would look like a node with the same id.
            clean_up_earlier_processes(&self.session, file, own).await;
        }
        publisher.run(self.measurement.subscribe()).await
    }

    /// Ends if ZooKeeper is not reached within `timeout` after the start.
    async fn check_connect_timeout(&self, timeout: Option<Duration>) -> NodeError {
        let Some(timeout) = timeout else { return std::future::pending().await };
        if tokio::time::timeout(timeout, self.session.connection()).await.is_ok() {
            return std::future::pending().await;
        }
        NodeError::Unavailable { servers: self.settings.zookeeper.to_string(), timeout }
    }

    /// Contends for leadership once the node has published, and leads when it is elected.
    async fn contend(&self, election: Election, leader: Leader, mut published: watch::Receiver<NodeState>) {
        // A node whose id is in use never publishes, and must not lead under that id.
        let _ = published.wait_for(|state| state.stored > 0).await;
        info!(znode = self.measurement_path, "published the first measurement");
        // The first report must go to the API that the dynamic configuration names.
        let config = self.config.wait_until_complete();
        if tokio::time::timeout(self.settings.session_timeout, config).await.is_err() {
            warn!(
                "cannot read the dynamic configuration at {}; contending without it",
                dynamic_config::FLEET_FOLDER
            );
        }
        let standing = election.standing();
        tokio::select! {
            () = log_standing(&self.session, &self.settings.election, standing) => {}
            never = election.run(|leadership| Box::pin(leader.clone().lead(leadership))) => match never {},
        }
    }

    /// Publishes the node info once the node has published a measurement, or has none to publish.
    async fn publish_node_info(&self, mut published: watch::Receiver<NodeState>) {
        let info = NodeInfo::of(&self.board.borrow());
        let mut progress = self.sample_progress.subscribe();
        let measurement = self.measurement.subscribe();
        // A node whose id is in use must not publish under that id. Without any readable sensor this cannot be known, but the state of
        // the sensors is worth publishing.
        tokio::select! {
            _ = published.wait_for(|state| state.stored > 0) => {}
            _ = progress.wait_for(|progress| progress.is_some() && measurement.borrow().is_none()) => {}
        }
        let (sensors, board) = (self.sensor_info.subscribe(), self.board.subscribe());
        publish_node_info(&self.session, &self.id, info, sensors, board, self.leader_state.subscribe()).await;
    }

    /// Applies changed settings to the leader, the counter and the log.
    async fn apply_settings(&self, leader_config: watch::Sender<LeaderConfig>, logs: Option<Logs>) {
        let mut settings = self.config.settings();
        let mut before = self.settings.clone();
        loop {
            let now = settings.borrow_and_update().clone();
            if now.log != before.log
                && let Some(Err(problem)) = logs.as_ref().map(|logs| logs.follow(now.log.as_deref()))
            {
                warn!("{problem}");
            }
            if let Some(change) = now.api_change(&before) {
                warn!("{change}");
            }
            // A new log filter alone must not interrupt deliveries.
            let is_changed = Settings { log: None, ..before } != Settings { log: None, ..now.clone() };
            if is_changed {
                self.counter.set_enabled(now.counting() == Counting::PerNode).await;
                leader_config.send_replace(self.leader_config(&now));
            }
            before = now;
            if settings.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Returns the error for an id that is in use, with the owner of the znode.
    async fn id_in_use(&self, conflict: Conflict) -> NodeError {
        let path = &self.measurement_path;
        let cause = match conflict {
            Conflict::Held { session } => {
                let owner = describe_holder(&self.session, self.id.as_str(), session).await;
                format!("{owner} owns {path} and is alive; stop it, or give this node another id")
            }
            Conflict::Persistent => {
                let remedy = WrongZnode::new(path, ZnodeProblem::NotEphemeral).remedy();
                format!(
                    "{path} is a persistent znode, which does not end with a session; {remedy}, or give this node another id"
                )
            }
        };
        NodeError::IdInUse { id: self.id.clone(), cause }
    }

    /// Closes the session, after all tasks are dropped.
    async fn shutdown(self) {
        // Before the session is closed: counted measurements are sent over it.
        let _ = tokio::time::timeout(COUNTER_TIMEOUT, self.counter.close()).await;
        if self.session.close(CLOSE_TIMEOUT).await {
            // Only now: if the session was not closed, the next process of this node must delete the znodes.
            if let Some((file, own)) = &self.state_file {
                file.remove_process(own);
            }
            info!("stopped; all znodes of this node are deleted");
        } else {
            warn!(
                "ZooKeeper did not confirm that the session is closed; znodes of this node may stay until the session times out"
            );
        }
    }
}

/// Deletes the znodes of earlier processes of this node. They are dead, because this process holds their lock.
async fn clean_up_earlier_processes(session: &Session, state_file: &StateFile, own: &str) {
    let dead = state_file.earlier_processes(own);
    let cleaned_up = stale_sessions::clean_up_all(session, &dead, |process, deleted| {
        state_file.remove_process(&process.contender);
        if !deleted.is_empty() {
            let znodes = deleted.join(", ");
            info!(process = process.process, znodes, "deleted the znodes of a dead process of this node");
        }
    });
    if let Err(error) = cleaned_up.await {
        warn!(%error, "cannot delete the znodes of a dead process of this node; they stay until its session times out");
    }
}

/// Logs the number of contenders ahead of this node, and the leader, when that number changes.
async fn log_standing(session: &Session, election: &str, mut standing: watch::Receiver<Standing>) {
    let mut logged = None;
    while standing.changed().await.is_ok() {
        let now = *standing.borrow_and_update();
        let Standing::Waiting { ahead } = now else {
            // The leader logs more about itself. A node that waits again after it has led logs that again.
            logged = (now == Standing::Leading).then_some(0).or(logged);
            continue;
        };
        if logged.replace(ahead) == Some(ahead) {
            continue;
        }
        let connection = session.connection().await;
        match election::leader(&connection, election, Naming::Kazoo).await {
            Ok(Some(leader)) => {
                let leader = String::from_utf8_lossy(&leader).into_owned();
                info!(ahead, leader, "follower: waiting to lead");
            }
            _ => info!(ahead, "follower: waiting to lead"),
        }
    }
}

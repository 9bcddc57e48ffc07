//! The parts of a running node that several tasks use, the channels between tasks, and the tasks themselves.

mod activities;

use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_config::{CounterMode, LeadMode};
use atalaya_recipes::node_names::{ContenderId, Naming};
use atalaya_recipes::persistent_node::{Conflict, PersistentNode};
use atalaya_recipes::{Election, Session, WriteCounter, WrongZnode, ZnodeProblem};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::context::TokioContext;
use tracing::{info, warn};

use super::{Node, NodeError, Task, Tasks};
use crate::dynamic_config::DynamicConfig;
use crate::history::History;
use crate::leader::delivery::api_client::Api;
use crate::leader::evaluation::ValueConfig;
use crate::leader::{AclCheck, Leader, LeaderConfig, LeaderHandles};
use crate::logging::Logs;
use crate::metrics::Metrics;
use crate::model::barrier::SamplingMode;
use crate::model::counter;
use crate::model::fleet_paths::STANDBY_PATH;
use crate::model::leader_state::LeaderState;
use crate::model::node_id::NodeId;
use crate::model::node_info::{self, SensorStatus};
use crate::model::report::Report;
use crate::model::task::paths;
use crate::model::task::worker_info::WorkerInfo;
use crate::observe::node_status::{self, NodeStatus};
use crate::observe::{NodeHandles, Observer, systemd_notifications};
use crate::outputs::Output;
use crate::process::state_dir::{OwnProcess, start_session};
use crate::process::systemd::Notifier;
use crate::reload::{self, Reload};
use crate::sampling::{BusReservations, LatestSample, Sampler, Sensors};
use crate::settings::Settings;
use crate::settings::zookeeper_access::{self, ZooKeeperAccess};
use crate::tasks::actions::{ActionHandles, BoardsInstaller, Executor, SensorHandles};
use crate::tasks::master::{Master, OverviewSender};
use crate::tasks::worker::Worker;
use crate::zk::barrier_watch::follow_barrier;
use crate::zk::id_owner;

/// Maximum time for a shutdown. A slow or busy machine has the rest of two seconds for everything else. ZooKeeper confirms
/// the end of a session within milliseconds if it can be reached.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(1_200);
/// Maximum time for stopping the tasks that the node executes, before the shutdown. Without tasks it takes no time.
const STOP_WORK_TIMEOUT: Duration = Duration::from_secs(6);
/// Maximum part of it for storing the last samples.
const HISTORY_TIMEOUT: Duration = Duration::from_millis(300);
/// Maximum part of it for deleting the counter's dedup record.
const COUNTER_TIMEOUT: Duration = Duration::from_millis(500);

/// Parts of the configuration that one task takes over.
pub(super) struct Inputs {
    sensors: Sensors,
    averages: Option<mpsc::UnboundedSender<Report>>,
    reload: Option<Reload>,
    logs: Option<Logs>,
    contender_id: ContenderId,
}

/// The parts of a running node that several tasks use, and the channels between tasks.
pub(super) struct Shared {
    id: NodeId,
    /// Settings at the start; for later ones, see `config`.
    settings: Settings,
    access: ZooKeeperAccess,
    measurement_path: String,
    session: Session,
    /// Record of this process in the state file.
    process: Option<OwnProcess>,
    config: DynamicConfig,
    counter: WriteCounter,
    network: Option<Handle>,
    pub(super) notifier: Notifier,
    observer: Option<Observer>,
    metrics: Metrics,
    /// Stores samples for the collector and for outputs, if there are any.
    history: Option<History>,
    node_status: watch::Sender<NodeStatus>,
    /// Newest measurement, encoded for its znode.
    measurement: watch::Sender<Option<Vec<u8>>>,
    sensor_info: watch::Sender<Vec<SensorStatus>>,
    latest_sample: watch::Sender<Option<Arc<LatestSample>>>,
    /// Buses that tasks use.
    reservations: BusReservations,
    sample_progress: watch::Sender<Option<Instant>>,
    sampling_mode: watch::Sender<SamplingMode>,
    board: watch::Sender<String>,
    group: watch::Sender<Option<String>>,
    /// `None` while the node does not lead.
    leader_state: watch::Sender<Option<LeaderState>>,
    /// Executes the actions of the board.
    executor: Executor,
    /// Description of this node for clients and for the leader.
    worker_info: watch::Sender<Option<WorkerInfo>>,
    worker: Worker,
    /// Assigns tasks while this node leads.
    master: Master,
    /// The newest tasks, while this node leads.
    tasks_overview: OverviewSender,
    /// Receivers of averages and samples besides the API and the collector.
    outputs: Vec<Arc<Output>>,
}

impl Shared {
    /// Starts the session. Splits `node` into what tasks share and what single tasks take over.
    pub(super) async fn start(node: Node) -> (Shared, Inputs) {
        let Node {
            id,
            board,
            group,
            actions,
            settings,
            access,
            limits_responses,
            spawner,
            state_file,
            outputs,
            observer,
            ..
        } = node;
        info!(%id, board, zookeeper = %settings.zookeeper, period = ?settings.sampling_period, "starting");
        let contender_id = ContenderId::random();
        let measurement_path = settings.measurement_path(id.as_str());
        let process = state_file.clone().map(|file| {
            let node_info = format!("{}/{id}", node_info::PARENT_PATH);
            let znodes = vec![measurement_path.clone(), node_info, paths::alive(id.as_str())];
            OwnProcess::add(file, znodes, &settings.election, &contender_id)
        });
        let mut options = access.options(settings.zookeeper.clone(), settings.session_timeout);
        if !limits_responses {
            options = options.with_max_response(None);
        }
        options.spawner = spawner;
        let session = start_session(options, process.clone());
        let counter = WriteCounter::new(session.clone(), counter::PATH);
        counter.set_enabled(settings.counting() == CounterMode::PerNode).await;
        let sampling_mode = SamplingMode { period: settings.sampling_period, barrier: None };
        let (sensor_info, latest_sample) = (watch::Sender::default(), watch::Sender::default());
        let (reservations, leader_state) = (BusReservations::default(), watch::Sender::default());
        let handles = ActionHandles {
            sensors: Some(SensorHandles {
                info: sensor_info.subscribe(),
                latest: latest_sample.subscribe(),
                reservations: reservations.clone(),
            }),
            leader: Some(leader_state.subscribe()),
            session: Some(session.clone()),
            install: node.reload.as_ref().and_then(|reload| boards_installer(reload, &board)),
        };
        let executor = Executor::new(id.as_str(), actions, &settings, handles);
        let (worker_info, tasks_overview) = (watch::Sender::default(), OverviewSender::default());
        let metrics = observer.as_ref().map(|observer| observer.metrics().clone()).unwrap_or_default();
        let history = History::start(&id, &settings, state_file.as_ref(), &outputs, metrics.history.clone());
        let shared = Shared {
            worker: Worker::new(
                session.clone(),
                id.as_str(),
                executor.clone(),
                worker_info.subscribe(),
                access.policy().clone(),
            )
            .with_metrics(metrics.tasks.clone()),
            master: Master::new(
                &settings.measurements,
                &settings.name,
                metrics.tasks.clone(),
                tasks_overview.clone(),
            ),
            tasks_overview,
            outputs,
            worker_info,
            executor,
            config: DynamicConfig::new(id.clone(), settings.clone()),
            sampling_mode: watch::Sender::new(sampling_mode),
            measurement: watch::Sender::default(),
            sensor_info,
            latest_sample,
            reservations,
            sample_progress: watch::Sender::default(),
            board: watch::Sender::new(board),
            group: watch::Sender::new(group),
            leader_state,
            id,
            settings,
            access,
            measurement_path,
            session,
            process,
            counter,
            network: node.network,
            notifier: node.notifier,
            metrics,
            history,
            observer,
            node_status: node.node_status,
        };
        for output in &shared.outputs {
            output.connect(shared.sensor_info.subscribe());
        }
        let Node { sensors, averages, reload, logs, .. } = node;
        (shared, Inputs { sensors, averages, reload, logs, contender_id })
    }

    /// Creates the tasks and connects them by channels. They start when they are first polled.
    pub(super) fn tasks(&self, inputs: Inputs, connect_timeout: Option<Duration>) -> Tasks<'_> {
        let Inputs { sensors, averages, reload, logs, contender_id } = inputs;
        let publisher =
            PersistentNode::new(self.session.clone(), &self.measurement_path).counted(self.counter.clone());
        let published = publisher.state();
        let sampler = Sampler {
            measurement: self.measurement.clone(),
            sensor_info: self.sensor_info.clone(),
            latest: self.latest_sample.clone(),
            reservations: self.reservations.clone(),
            progress: self.sample_progress.clone(),
            mode: self.sampling_mode.subscribe(),
            published: published.clone(),
            metrics: self.metrics.sampling.clone(),
            recorder: self.history.as_ref().map(History::recorder),
        };
        let (new_sensors, replacements) = mpsc::channel(1);
        let election = Election::with_contender_id(
            self.session.clone(),
            &self.settings.election,
            self.id.as_str(),
            Naming::Kazoo,
            contender_id,
        );
        let election = match self.settings.lead {
            LeadMode::Auto => election.with_limit(STANDBY_PATH, self.settings.contenders),
            LeadMode::Always | LeadMode::Never => election,
        };
        let standing = election.standing();
        let (leader_config, current_config) = watch::channel(self.leader_config(&self.settings));
        let leader = Leader::new(LeaderHandles {
            id: self.id.as_str().to_owned(),
            measurements: self.settings.measurements.clone(),
            name_template: self.settings.name.clone(),
            config: current_config,
            averages,
            state: self.leader_state.clone(),
            tasks: self.tasks_overview.subscribe(),
            metrics: self.metrics.leader.clone(),
            acl_check: AclCheck::new(
                self.access.policy().clone(),
                &self.settings.measurements,
                &self.settings.election,
                &self.outputs,
            ),
            outputs: self.outputs.clone(),
        });
        let status = node_status::follow(
            &self.node_status,
            &self.session,
            standing.clone(),
            self.measurement.subscribe(),
            published.clone(),
            self.sensor_info.subscribe(),
        );
        let others: [Task<'_>; 13] = [
            Box::pin(sampler.run(&self.id, sensors, replacements)),
            Box::pin(self.contend(election, leader, published.clone())),
            Box::pin(self.publish_node_info(published, standing)),
            Box::pin(status),
            Box::pin(reload::serve(
                reload,
                &self.notifier,
                &self.config,
                (&self.board, &self.group),
                &self.executor,
                new_sensors,
            )),
            Box::pin(self.config.follow(&self.session)),
            Box::pin(self.apply_settings(leader_config, logs)),
            Box::pin(follow_barrier(&self.session, self.config.settings(), &self.sampling_mode)),
            self.notify_systemd(connect_timeout.is_some()),
            self.observe(),
            self.forward(),
            Box::pin(zookeeper_access::keep_current(&self.access)),
            Box::pin(self.work()),
        ];
        Tasks {
            publish_measurement: Box::pin(self.publish_measurement(publisher)),
            check_connect_timeout: Box::pin(self.check_connect_timeout(connect_timeout)),
            others: others.into_iter().collect(),
        }
    }

    fn leader_config(&self, settings: &Settings) -> LeaderConfig {
        let api = settings.api_url.clone().map(|url| {
            let mut api = Api::new(&self.id, url, settings.api_method);
            (api.token, api.runtime) = (settings.api_token.clone(), self.network.clone());
            api.fleet.clone_from(&settings.fleet_name);
            api.zone.clone_from(&settings.zone);
            api
        });
        LeaderConfig {
            period: settings.sampling_period,
            api,
            sync: settings.sync,
            release: settings.release,
            counting: settings.counting(),
            values: ValueConfig {
                aggregate: settings.aggregate,
                quorum: settings.quorum,
                outliers: settings.outliers,
                quantiles: settings.quantiles.0.clone(),
            },
        }
    }

    /// Notifies systemd, if there is one. `needs_connection`: the node is ready only once it is connected to ZooKeeper.
    fn notify_systemd(&self, needs_connection: bool) -> Task<'_> {
        if !self.notifier.is_enabled() {
            return Box::pin(std::future::pending());
        }
        let (status, progress) = (self.node_status.subscribe(), self.sample_progress.subscribe());
        let notify =
            systemd_notifications::notify(&self.notifier, &self.settings, needs_connection, status, progress);
        Box::pin(notify)
    }

    fn observe(&self) -> Task<'_> {
        let Some(observer) = &self.observer else { return Box::pin(std::future::pending()) };
        Box::pin(observer.follow(NodeHandles {
            session: self.session.clone(),
            status: self.node_status.subscribe(),
            sampling: self.sample_progress.subscribe(),
            settings: self.config.settings(),
            board: self.board.subscribe(),
            leader: self.leader_state.subscribe(),
            sampling_mode: self.sampling_mode.subscribe(),
            counter: self.counter.value(),
        }))
    }

    /// Sends samples to the collector and to outputs.
    fn forward(&self) -> Task<'_> {
        let Some(history) = &self.history else { return Box::pin(std::future::pending()) };
        let forward = history.forward(self.config.settings());
        match self.network.clone() {
            Some(network) => Box::pin(TokioContext::new(forward, network)),
            None => Box::pin(forward),
        }
    }

    /// Returns the error for an id that is in use, with the owner of the znode.
    pub(super) async fn id_in_use(&self, conflict: Conflict) -> NodeError {
        let path = &self.measurement_path;
        let cause = match conflict {
            Conflict::Held { session } => {
                let owner = id_owner::describe(&self.session, self.id.as_str(), session).await;
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
    pub(super) async fn shutdown(self) {
        let begin = Instant::now();
        if let Some(history) = &self.history {
            history.close(HISTORY_TIMEOUT).await;
        }
        // Before the session is closed: the dedup record is deleted over it.
        let _ = tokio::time::timeout(COUNTER_TIMEOUT, self.counter.close()).await;
        if self.session.close(SHUTDOWN_TIMEOUT.saturating_sub(begin.elapsed())).await {
            // Only now: if the session was not closed, the next process of this node must delete the znodes.
            if let Some(process) = &self.process {
                process.remove();
            }
            info!("stopped; all znodes of this node are deleted");
        } else {
            warn!(
                "ZooKeeper did not confirm that the session is closed; znodes of this node may stay until the session times out"
            );
        }
    }
}

/// Returns the installer of boards.toml for the node with this board. Returns `None` without a file.
fn boards_installer(reload: &Reload, board: &str) -> Option<BoardsInstaller> {
    let (reload, file) = reload.file.clone()?;
    Some(BoardsInstaller { file, board: Some(board.to_owned()), reload })
}

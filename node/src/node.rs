//! A node: samples its sensors, publishes the measurement, and takes part in the election, from start to shutdown.
//!
//! [`Node`] is the configuration, `Tasks` are the concurrent parts of a running node, and `Shared` is what several
//! of them use.

mod shared;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use atalaya_config::Boards;
use atalaya_recipes::persistent_node::Conflict;
use atalaya_recipes::session::Spawner;
use atalaya_recipes::{ConnectError, ConnectString};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tracing::info;

use self::shared::Shared;
use crate::logging::Logs;
use crate::model::node_id::NodeId;
use crate::model::report::Report;
use crate::observe::Observer;
use crate::observe::node_status::NodeStatus;
use crate::outputs::Output;
use crate::process::state_dir::StateFile;
use crate::process::systemd::Notifier;
use crate::reload::{OpenBoardError, OpenedBoard, Reload};
use crate::sampling::Sensors;
use crate::settings::Settings;
use crate::settings::zookeeper_access::ZooKeeperAccess;
use crate::tasks::actions::BoardActions;

/// Error that ends a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The znode of the measurement is persistent, or a session of another process owns it.
    #[error("the node id {id} is in use: {cause}")]
    IdInUse {
        /// Id of the node.
        id: NodeId,
        /// Owner of the znode, and the remedy.
        cause: String,
    },
    /// No session with ZooKeeper in time after the start.
    #[error("ZooKeeper at {servers} was not reached within {timeout:?}")]
    Unavailable {
        /// Addresses of the servers.
        servers: ConnectString,
        /// Reason of the last attempt.
        reason: Option<ConnectError>,
        /// Time that was allowed.
        timeout: Duration,
    },
}

/// Configuration of a node, before it runs.
pub struct Node {
    id: NodeId,
    board: String,
    group: Option<String>,
    settings: Settings,
    sensors: Sensors,
    /// Actions that the node may execute.
    actions: BoardActions,
    node_status: watch::Sender<NodeStatus>,
    /// Certificates and identity for ZooKeeper; by default there are none.
    pub(crate) access: ZooKeeperAccess,
    /// Receives each average of this leader as soon as it is committed, delivered or not.
    pub averages: Option<mpsc::UnboundedSender<Report>>,
    /// False: connects to ZooKeeper directly and accepts responses of any size. With thousands of nodes in one process,
    /// two more connections for each would exceed the limit on open files.
    pub limits_responses: bool,
    /// Runtime for HTTP requests. `None`: that of the node.
    pub(crate) network: Option<Handle>,
    /// Spawns the tasks of the session. `None`: the runtime of the node.
    pub(crate) spawner: Option<Spawner>,
    /// Lets the node replace its sensors and some of its settings while it runs.
    pub(crate) reload: Option<Reload>,
    /// Follows the log filter of the dynamic configuration. `None` if several nodes of a process share one log.
    pub(crate) logs: Option<Logs>,
    /// Notifies systemd of the node's state.
    pub(crate) notifier: Notifier,
    /// Records sessions and znodes, so that the znodes of earlier processes of this node can be deleted.
    pub(crate) state_file: Option<StateFile>,
    /// Receivers of averages and samples besides the API and the collector.
    pub(crate) outputs: Vec<Arc<Output>>,
    /// Records metrics and follows the state of the node.
    pub(crate) observer: Option<Observer>,
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
        let OpenedBoard { name, group, sensors, actions } = OpenedBoard::open(board.as_deref(), boards)?;
        Ok(Node {
            id,
            board: name,
            group,
            settings,
            sensors,
            actions,
            access: ZooKeeperAccess::default(),
            node_status: watch::Sender::default(),
            averages: None,
            limits_responses: true,
            network: None,
            spawner: None,
            reload: None,
            logs: None,
            notifier: Notifier::default(),
            state_file: None,
            outputs: Vec::new(),
            observer: None,
        })
    }

    /// Returns a receiver of the node status. Without a receiver, the status is not computed.
    pub fn node_status(&self) -> watch::Receiver<NodeStatus> {
        self.node_status.subscribe()
    }

    /// Runs the node until `stop` completes, which returns the reason for the log. Then closes the session: when this
    /// returns, ZooKeeper has deleted all znodes of the node, if it can be reached.
    ///
    /// # Errors
    /// - [`NodeError::IdInUse`]: another process owns the znode of the measurement, or that znode is persistent.
    /// - [`NodeError::Unavailable`]: ZooKeeper was not reached within `connect_timeout`.
    pub fn run(
        self,
        connect_timeout: Option<Duration>,
        stop: impl Future<Output = &'static str>,
    ) -> impl Future<Output = Result<(), NodeError>> {
        // Boxed, so that a running node does not keep the memory that only its start needs.
        let start = Box::pin(Shared::start(self));
        async move {
            let (shared, inputs) = start.await;
            let shared = Box::new(shared);
            let outcome =
                run_tasks(shared.tasks(inputs, connect_timeout), stopped(stop, &shared), &shared).await;
            // All tasks are dropped by now, so that none of them writes while the session closes.
            Box::pin(shared.shutdown()).await;
            outcome
        }
    }
}

/// Runs the tasks until `stopped` completes or one of them fails.
async fn run_tasks(
    mut tasks: Tasks<'_>,
    stopped: impl Future<Output = ()>,
    shared: &Shared,
) -> Result<(), NodeError> {
    tokio::select! {
        // The signal is checked first, so that a busy node stops as well.
        biased;
        () = stopped => Ok(()),
        conflict = tasks.publish_measurement => Err(shared.id_in_use(conflict).await),
        error = tasks.check_connect_timeout => Err(error),
        Some(()) = tasks.others.next() => Ok(()),
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
    /// These do not end. Each is polled only when it was woken itself.
    others: FuturesUnordered<Task<'a>>,
}

/// Waits until `stop` completes and the tasks that the node executes have ended. The other parts of the node continue
/// meanwhile.
async fn stopped(stop: impl Future<Output = &'static str>, shared: &Shared) {
    let signal = stop.await;
    info!(signal, "stopping");
    // First, so that systemd shows the node as stopping while the session closes.
    shared.notifier.stopping().await;
    shared.stop_work().await;
}

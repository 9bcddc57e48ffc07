//! Configuration of a leader, and its connections to the other parts of the node.

use std::sync::Arc;
use std::time::Duration;

use atalaya_config::{BarrierRelease, CounterMode, SyncMode};
use tokio::sync::{mpsc, watch};

use crate::leader::acl_check::AclCheck;
use crate::leader::delivery::api_client::Api;
use crate::leader::evaluation::ValueConfig;
use crate::metrics::LeaderMetrics;
use crate::model::leader_state::LeaderState;
use crate::model::report::{CycleReport, Report};
use crate::model::task::overview::Overview;
use crate::outputs::Output;

/// Settings of a leader that may change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct LeaderConfig {
    /// Time between two cycles.
    pub(crate) period: Duration,
    /// Receiver of the reports; averages are only logged if it is `None`.
    pub(crate) api: Option<Api>,
    /// Sampling mode of the fleet.
    pub(crate) sync: SyncMode,
    /// In lock-step mode, when the barrier is released.
    pub(crate) release: BarrierRelease,
    /// Writer of the counter.
    pub(crate) counting: CounterMode,
    /// Settings of the values.
    pub(crate) values: ValueConfig,
}

/// Fixed settings of a leader, and its channels to the other parts of the node.
#[derive(Debug)]
pub(crate) struct LeaderHandles {
    pub(crate) id: String,
    /// Parent of the measurement znodes.
    pub(crate) measurements: String,
    /// Name of a node's measurement znode, with `{id}` in it.
    pub(crate) name_template: String,
    pub(crate) config: watch::Receiver<LeaderConfig>,
    /// Receiver of each committed average, besides the API. After an interruption it may receive an average twice.
    pub(crate) averages: Option<mpsc::UnboundedSender<Report>>,
    /// State of this leader; `None` while this node is not the leader.
    pub(crate) state: watch::Sender<Option<LeaderState>>,
    /// The newest tasks, for the fleet status.
    pub(crate) tasks: watch::Receiver<Option<Arc<Overview>>>,
    pub(crate) metrics: LeaderMetrics,
    pub(crate) acl_check: AclCheck,
    /// Outputs of boards.toml.
    pub(crate) outputs: Vec<Arc<Output>>,
}

impl LeaderHandles {
    /// Sends the averages of a committed cycle to [`LeaderHandles::averages`].
    pub(super) fn publish_averages(&self, report: &CycleReport) {
        if let Some(averages) = &self.averages {
            // The receiver may have ended already.
            report.reports().for_each(|report| drop(averages.send(report)));
        }
    }
}

//! The tasks of a running node that need several of its shared parts.

use std::convert::Infallible;
use std::time::Duration;

use atalaya_config::{CounterMode, LeadMode};
use atalaya_recipes::node_names::Naming;
use atalaya_recipes::persistent_node::{Conflict, NodeState, PersistentNode};
use atalaya_recipes::{Election, Leadership, Session, Standing, election};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{STOP_WORK_TIMEOUT, Shared};
use crate::dynamic_config;
use crate::leader::{Leader, LeaderConfig};
use crate::logging::Logs;
use crate::model::node_info::{self, NodeInfo};
use crate::node::NodeError;
use crate::process::stale_sessions;
use crate::settings::Settings;
use crate::tasks::worker;
use crate::zk::node_info_publisher::{NodeInfoContent, publish_node_info};

impl Shared {
    /// Publishes measurements. Ends if another process or a persistent znode occupies the path.
    pub(super) async fn publish_measurement(&self, publisher: PersistentNode) -> Conflict {
        if let Some(process) = &self.process {
            // First, because a znode of an earlier process of this node would look like a node with the same id.
            Box::pin(stale_sessions::clean_up_earlier_processes(&self.session, process)).await;
        }
        publisher.run(self.measurement.subscribe()).await
    }

    /// Ends if ZooKeeper is not reached within `timeout` after the start.
    pub(super) async fn check_connect_timeout(&self, timeout: Option<Duration>) -> NodeError {
        let Some(timeout) = timeout else { return std::future::pending().await };
        if tokio::time::timeout(timeout, self.session.connection()).await.is_ok() {
            return std::future::pending().await;
        }
        let reason = self.session.connect_error().borrow().clone();
        NodeError::Unavailable { servers: self.settings.zookeeper.clone(), reason, timeout }
    }

    /// Contends for leadership once the node has published, and leads when it is elected.
    pub(super) async fn contend(
        &self,
        election: Election,
        leader: Leader,
        mut published: watch::Receiver<NodeState>,
    ) {
        // A node whose id is in use never publishes, and must not lead under that id.
        let _ = published.wait_for(|state| state.stored > 0).await;
        info!(znode = self.measurement_path, "published the first measurement");
        if self.settings.lead == LeadMode::Never {
            info!("not contending for leadership (lead = false)");
            return std::future::pending().await;
        }
        // The first report must go to the API that the dynamic configuration names.
        let config = self.config.wait_until_complete();
        if tokio::time::timeout(self.settings.session_timeout, config).await.is_err() {
            let folder = dynamic_config::FLEET_FOLDER;
            warn!("cannot read the dynamic configuration at {folder}; contending without it");
        }
        let standing = election.standing();
        tokio::select! {
            () = log_standing(&self.session, &self.settings.election, standing) => {}
            never = election.run(|leadership| Box::pin(self.lead(&leader, leadership))) => match never {},
        }
    }

    /// Leads the fleet: averages and tasks.
    pub(super) async fn lead(&self, leader: &Leader, leadership: Leadership) -> Infallible {
        tokio::select! {
            never = leader.lead(leadership.clone()) => never,
            never = self.master.run(&leadership) => never,
        }
    }

    /// Executes the tasks that are assigned to this node, if its board allows that.
    pub(super) async fn work(&self) {
        tokio::select! {
            () = worker::info::follow(&self.executor, Some(self.sensor_info.subscribe()), &self.worker_info) => {}
            conflict = self.worker.run() => {
                warn!("no tasks are executed: another process is a worker with the id {}: {conflict}", self.id);
                std::future::pending().await
            }
        }
    }

    /// Stops the tasks that this node executes.
    pub(in crate::node) async fn stop_work(&self) {
        self.worker.stop(STOP_WORK_TIMEOUT).await;
    }

    /// Publishes the node info once the node has published a measurement, or has none to publish.
    pub(super) async fn publish_node_info(
        &self,
        mut published: watch::Receiver<NodeState>,
        mut standing: watch::Receiver<Standing>,
    ) {
        let info = NodeInfo::new(&self.board.borrow());
        let mut progress = self.sample_progress.subscribe();
        let measurement = self.measurement.subscribe();
        // A node whose id is in use must not publish under that id. Without any readable sensor this cannot be known,
        // but the state of the sensors is worth publishing.
        tokio::select! {
            _ = published.wait_for(|state| state.stored > 0) => {}
            _ = progress.wait_for(|progress| progress.is_some() && measurement.borrow().is_none()) => {}
        }
        // Mostly, the node joins the election in this time, and need not publish twice.
        let joined = standing.wait_for(|standing| *standing != Standing::Inactive);
        let _ = tokio::time::timeout(node_info::MIN_PUBLISH_INTERVAL, joined).await;
        let content = NodeInfoContent {
            sensors: self.sensor_info.subscribe(),
            board: self.board.subscribe(),
            group: self.group.subscribe(),
            standing,
            leader_state: self.leader_state.subscribe(),
        };
        publish_node_info(&self.session, &self.id, info, content).await;
    }

    /// Applies changed settings to the leader, the counter and the log.
    pub(super) async fn apply_settings(
        &self,
        leader_config: watch::Sender<LeaderConfig>,
        logs: Option<Logs>,
    ) {
        let mut settings = self.config.settings();
        // Boxed, because it is kept as long as the node runs.
        let mut before = Box::new(self.settings.clone());
        loop {
            let now = Box::new(settings.borrow_and_update().clone());
            if log_changes(&before, &now, logs.as_ref()) {
                self.counter.set_enabled(now.counting() == CounterMode::PerNode).await;
                leader_config.send_replace(self.leader_config(&now));
            }
            before = now;
            if settings.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Sets the log filter and logs what has changed. Returns true if anything else than the filter has.
fn log_changes(before: &Settings, now: &Settings, logs: Option<&Logs>) -> bool {
    if now.log != before.log
        && let Some(Err(problem)) = logs.map(|logs| logs.set_filter(now.log.as_deref()))
    {
        warn!("{problem}");
    }
    if let Some(change) = now.api_change(before) {
        warn!("{change}");
    }
    // A new log filter alone must not interrupt deliveries.
    Settings { log: None, ..before.clone() } != Settings { log: None, ..now.clone() }
}

/// Time after which a node on standby logs that. Nodes that start together pass through the line in less.
const STANDBY_LOG_DELAY: Duration = Duration::from_secs(1);

/// Returns the next standing. One on standby counts only if it lasts. Returns `None` when the election has ended.
async fn next_standing(standing: &mut watch::Receiver<Standing>) -> Option<Standing> {
    standing.changed().await.ok()?;
    loop {
        let now = *standing.borrow_and_update();
        if now != Standing::Standby {
            return Some(now);
        }
        match tokio::time::timeout(STANDBY_LOG_DELAY, standing.changed()).await {
            Ok(changed) => changed.ok()?,
            Err(_) => return Some(now),
        }
    }
}

/// Logs when this node waits, with the number of contenders ahead of it and the leader if it is a contender.
async fn log_standing(session: &Session, election: &str, mut standing: watch::Receiver<Standing>) {
    let mut logged = None;
    while let Some(now) = next_standing(&mut standing).await {
        // The leader logs more about itself. A node that waits again after it has led logs that again.
        if now == Standing::Inactive || logged.replace(now) == Some(now) {
            continue;
        }
        if now == Standing::Standby {
            info!("on standby: enough other nodes contend for leadership; waiting until one of them leaves");
        }
        let Standing::Waiting { ahead } = now else { continue };
        let connection = session.connection().await;
        match election::leader(&connection, election, Naming::Kazoo).await {
            Ok(Some(leader)) => {
                let leader = String::from_utf8_lossy(&leader).into_owned();
                info!(ahead, leader, "following: waiting to lead");
            }
            _ => info!(ahead, "following: waiting to lead"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn standby_counts_only_if_it_lasts() {
        let (sender, mut standing) = watch::channel(Standing::Inactive);
        let waiting = Standing::Waiting { ahead: 1 };
        {
            let mut next = pin!(next_standing(&mut standing));
            for passing in [Standing::Standby, Standing::Inactive, Standing::Standby] {
                sender.send_replace(passing);
            }
            assert_eq!(next.as_mut().now_or_never(), None);
            sender.send_replace(waiting);
            assert_eq!(next.as_mut().now_or_never(), Some(Some(waiting)));
        }
        sender.send_replace(Standing::Standby);
        assert_eq!(next_standing(&mut standing).await, Some(Standing::Standby));
        drop(sender);
        assert_eq!(next_standing(&mut standing).await, None);
    }
}

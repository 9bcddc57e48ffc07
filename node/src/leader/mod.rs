//! The leader of the fleet: once per period it reads the measurements of all nodes, commits their average, and delivers
//! it to the API and to the outputs.
//!
//! # Control flow
//!
//! The election calls `Leader::lead` when this node becomes the leader, and drops the future when it may not be the
//! leader any more. `Leader::lead` repeats two steps:
//!
//! 1. `take_over` acquires the fence, which begins a new epoch. If this leader wrote the fence last, it only reloads it
//!    and continues its epoch.
//! 2. `run_epoch` runs the cycles, and the delivery beside them. It returns when the fence must be reloaded.
//!
//! # Errors
//!
//! A cycle fails in one of these ways:
//!
//! - The own election znode is gone (`CommitError::Fenced`): another node is the leader. The future waits until the
//!   election drops it.
//! - One write was rejected, and the leader can remove the cause (another program changed the counter, the barrier or
//!   the outbox): the same cycle is repeated at once (`CycleOutcome::Retry`).
//! - Anything else, in particular a commit with an unknown outcome: `run_epoch` returns, and `take_over` reloads the
//!   fence. If the fence has this leader's epoch, it tells whether the cycle was committed, and the epoch continues;
//!   otherwise a new epoch begins.
//!
//! # Cancellation safety
//!
//! The election may drop the future at any await. State that must survive this, for example a lost connection, is in
//! `State`; state that must survive the process is in ZooKeeper, see `fenced_store`.

mod acl_check;
pub mod aggregate;
mod barrier;
pub(crate) mod config;
mod cycle;
pub(crate) mod delivery;
pub mod evaluation;
mod fenced_multi;
pub(crate) mod fenced_store;
mod findings_log;
mod groups;
pub mod members;
pub(crate) mod outbox_store;
pub mod read_fleet;
mod schedule;
pub mod statistics;
mod status_push;
mod status_text;
mod task_status;
#[cfg(test)]
pub(crate) mod test_support;
mod write_counter;

use std::collections::BTreeSet;
use std::convert::Infallible;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Backoff, Leadership, WrongZnodeReporter, children_watch};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

use crate::model::fence::Fence;
use crate::model::leader_state::LeaderState;
use crate::zk::bulk_read::SizeCache;
use crate::zk::server_clock::{Millis, ServerClock};
pub(crate) use acl_check::AclCheck;
pub(crate) use config::{LeaderConfig, LeaderHandles};
#[cfg(feature = "demo")]
pub(crate) use cycle::AVERAGES_TARGET;
use cycle::{CycleRunner, zookeeper_timeout};
use delivery::outbox_reader::{OutboxReader, outranked};
use delivery::shared_outbox::SharedOutbox;
use delivery::worker::DeliveryWorker;
use fenced_multi::CommitError;
use fenced_store::{FencedStore, Takeover};
use findings_log::FindingsLog;
use groups::{GroupReader, Groups};
use members::Members;
use outbox_store::OutboxPaths;
use status_push::StatusPusher;
use write_counter::CounterReader;

/// A node's leader, which is active while the node is elected.
#[derive(Debug)]
pub(crate) struct Leader {
    handles: LeaderHandles,
    state: Mutex<State>,
}

/// State of a leader that survives an interruption.
#[derive(Debug, Default)]
struct State {
    /// `None` before the first takeover.
    store: Option<FencedStore>,
    /// Number of the connection of the last takeover.
    connection: u64,
    /// Start of the epoch.
    since: Timestamp,
    clock: ServerClock,
    members: Members,
    /// That of the API, then those of the outputs; none before the first takeover.
    outboxes: Vec<SharedOutbox>,
    /// Backoff after errors of ZooKeeper since the last committed cycle.
    backoff: Backoff,
    /// True while the cycles of this epoch have no average.
    without_average: bool,
    findings_log: FindingsLog,
    /// Epoch of a collector above which the next takeover must be.
    min_epoch: Option<i64>,
    /// Time of the last takeover because of such an epoch.
    outranked_at: Option<BootInstant>,
}

/// Withdraws the leader's state and metrics when the node stops leading, however it stops.
struct LeadingGuard<'a>(&'a LeaderHandles);

impl Drop for LeadingGuard<'_> {
    fn drop(&mut self) {
        self.0.state.send_replace(None);
        self.0.metrics.leadership_ended();
    }
}

impl Leader {
    pub(crate) fn new(handles: LeaderHandles) -> Leader {
        Leader { handles, state: Mutex::default() }
    }

    /// Leads the fleet until the future is dropped.
    pub(crate) async fn lead(&self, leadership: Leadership) -> Infallible {
        let mut state = self.state.lock().await;
        state.backoff.reconnected();
        let _guard = LeadingGuard(&self.handles);
        self.handles.metrics.leadership_started(zookeeper_timeout(leadership.connection()));
        // Names of the measurement znodes; `None` before the first listing.
        let (names, mut member_names) = watch::channel(None);
        let session = leadership.connection().session().clone();
        let listing = children_watch::follow(&session, &self.handles.measurements, |list| {
            names.send_replace(Some(list));
        });
        let leading = Box::pin(async {
            loop {
                let last_cycle = self.take_over(&leadership, &mut state).await;
                self.run_epoch(&leadership, &mut state, last_cycle, &mut member_names).await;
            }
        });
        let acl_check = self.handles.acl_check.run(leadership.connection(), self.handles.state.subscribe());
        tokio::select! {
            ((), ()) = futures_util::future::join(listing, acl_check) => {}
            never = leading => never,
        }
        std::future::pending().await
    }

    /// Acquires or reloads the fence and synchronizes the outbox, with retries. Returns the time of the last cycle, if
    /// known.
    async fn take_over(&self, leadership: &Leadership, state: &mut State) -> Option<Millis> {
        loop {
            match self.try_take_over(leadership, state).await {
                Ok(last_cycle) => return last_cycle,
                Err(error) => {
                    let error = error.unless_fenced().await;
                    state.backoff.pause(leadership.connection().session(), &error).await;
                }
            }
        }
    }

    async fn try_take_over(
        &self,
        leadership: &Leadership,
        state: &mut State,
    ) -> Result<Option<Millis>, CommitError> {
        let previous_connection = std::mem::replace(&mut state.connection, leadership.connection().number());
        let reloadable = state
            .store
            .as_mut()
            .filter(|store| store.fencing_token == leadership.fencing_token() && state.min_epoch.is_none());
        let paths: Vec<&OutboxPaths> = state.outboxes.iter().map(|outbox| &outbox.paths).collect();
        if let Some(store) = reloadable
            && let Some(listed) = store.reload(leadership, &paths).await?
        {
            if previous_connection != state.connection {
                info!("leading again: the session is back and no other node has led");
            }
            let fence = store.fence;
            for (outbox, listed) in state.outboxes.iter().zip(&listed) {
                let rejected = outbox.update(|outbox| outbox.reject_above(fence.cycle)).await;
                if rejected > 0 {
                    warn!(
                        reports = rejected,
                        "reports of cycles that the fleet has not reached are rejected"
                    );
                }
                let known = outbox.lock().await.cycles();
                let reader = OutboxReader { outbox, leadership, handles: &self.handles };
                reader.take_over(&known, listed, fence).await?;
            }
            // The schedule continues: this period's cycle may be committed already.
            return Ok(state.clock.now(BootInstant::now()));
        }
        let last_own = state.store.map(|store| store.fence);
        let outboxes = SharedOutbox::all(&self.handles);
        let paths: Vec<&OutboxPaths> = outboxes.iter().map(|outbox| &outbox.paths).collect();
        let Takeover { store, listed, last_cycle } =
            FencedStore::acquire(leadership, &mut state.clock, last_own, state.min_epoch, &paths).await?;
        let fence = store.fence;
        state.min_epoch = None;
        (state.store, state.since) = (Some(store), Timestamp::now());
        state.without_average = false;
        state.outboxes = outboxes;
        self.handles.metrics.epoch_started(state.clock.now(BootInstant::now()));
        let undelivered: usize = listed.iter().map(BTreeSet::len).sum();
        info!(epoch = fence.epoch, cycle = fence.cycle, undelivered, "leading");
        for (outbox, listed) in state.outboxes.iter().zip(&listed) {
            outbox.update(|outbox| outbox.fence = Some(fence)).await;
            let reader = OutboxReader { outbox, leadership, handles: &self.handles };
            reader.take_over(&BTreeSet::new(), listed, fence).await?;
        }
        Ok(last_cycle)
    }

    /// Runs the cycles of an epoch, and everything that happens beside them, until the fence must be reloaded.
    async fn run_epoch(
        &self,
        leadership: &Leadership,
        state: &mut State,
        last_cycle: Option<Millis>,
        member_names: &mut watch::Receiver<Option<Vec<String>>>,
    ) {
        let State {
            store: Some(store),
            since,
            clock,
            members,
            outboxes,
            backoff,
            without_average,
            findings_log,
            ..
        } = state
        else {
            return;
        };
        let (handles, outboxes) = (&self.handles, &outboxes[..]);
        let Fence { epoch, cycle, .. } = store.fence;
        let mut leading = LeaderState::new(epoch, cycle, *since);
        SharedOutbox::describe_all(outboxes, &mut leading).await;
        handles.state.send_replace(Some(leading));
        let (snapshot, snapshots) = watch::channel(None);
        let outranked = outranked(handles, *clock, epoch, state.outranked_at);
        let (names, node_info_sizes) = (member_names.clone(), SizeCache::default());
        let pusher = StatusPusher { handles, leadership, member_names: names, snapshots, node_info_sizes };
        let (groups, known_groups) = watch::channel(Groups::default());
        let group_reader = GroupReader { handles, leadership, member_names: member_names.clone(), groups };
        // They run until they are dropped. Each is polled only when it was woken itself.
        let mut others: FuturesUnordered<LocalBoxFuture<'_, ()>> =
            outboxes.iter().map(|outbox| deliver(handles, leadership, outbox).boxed_local()).collect();
        others.push(pusher.run().boxed_local());
        others.push(group_reader.run().boxed_local());
        let cycles = CycleRunner {
            handles,
            leadership,
            config: handles.config.borrow().clone(),
            store,
            clock,
            members,
            outboxes,
            backoff,
            without_average,
            findings_log,
            groups: known_groups,
            snapshot,
            barrier: None,
            counter: None,
            counter_reader: CounterReader::default(),
            wrong_znodes: WrongZnodeReporter::default(),
        };
        // Only the cycles and `outranked` end: then the fence must be reloaded, or acquired again.
        tokio::select! {
            () = Box::pin(cycles.run(last_cycle, member_names)) => {}
            Some(()) = others.next() => {}
            collector = outranked => {
                state.min_epoch = Some(collector);
                state.outranked_at = Some(BootInstant::now());
            }
        }
    }
}

/// Delivers the reports of an outbox and keeps it equal to ZooKeeper, until it is dropped.
async fn deliver(handles: &LeaderHandles, leadership: &Leadership, outbox: &SharedOutbox) {
    let reader = OutboxReader { outbox, leadership, handles };
    tokio::select! {
        () = send_reports(handles, leadership, outbox) => {}
        () = reader.follow_changes() => {}
        () = reader.load_when_there_is_room() => {}
    }
}

/// Sends the reports of an outbox to the configured receiver.
async fn send_reports(handles: &LeaderHandles, leadership: &Leadership, outbox: &SharedOutbox) {
    let mut configs = handles.config.clone();
    loop {
        let config = configs.borrow_and_update().clone();
        let (receiver, period) = (outbox.receiver(&config), config.period);
        outbox.update(|outbox| outbox.queue.period = period).await;
        let worker = DeliveryWorker { outbox, leadership, receiver: receiver.as_ref() };
        tokio::select! {
            () = worker.run() => {}
            // Requests under way are aborted, and repeated at the new API.
            Ok(_) = configs.wait_for(|new| (outbox.receiver(new), new.period) != (receiver.clone(), period)) => {}
        }
    }
}

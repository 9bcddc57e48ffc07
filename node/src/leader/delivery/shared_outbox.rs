//! The outbox of a leader: the cycle adds reports, the reader loads them, the worker sends and finishes them.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use atalaya_recipes::{Connection, Error};
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard, Notify, watch};

use crate::leader::config::LeaderHandles;
use crate::leader::delivery::outbox::Outbox;
use crate::leader::delivery::outcome::Outcome;
use crate::leader::delivery::queue::{Key, StateChange};
use crate::leader::outbox_store::REJECTED_PATH;
use crate::metrics::LeaderMetrics;
use crate::model::leader_state::{Delivered, LeaderState};

#[derive(Debug, Default)]
pub(crate) struct SharedOutbox {
    outbox: Mutex<Outbox>,
    pub(super) changed: Notify,
    /// Notified when a report has been deleted or replaced in ZooKeeper.
    pub(super) finished: Notify,
    /// State of the leader; `None` while this node is not the leader.
    state: watch::Sender<Option<LeaderState>>,
    /// Errors about reports that cannot be finished, each logged once. They survive an interruption of the delivery.
    pub(super) logged_errors: Mutex<BTreeSet<String>>,
    /// True if it was logged that rejected reports are deleted to make room.
    pub(super) logged_full: AtomicBool,
    pub(super) metrics: LeaderMetrics,
}

impl SharedOutbox {
    /// Returns an empty outbox. The delivery sets its period.
    pub(crate) fn new(handles: &LeaderHandles) -> SharedOutbox {
        let (state, metrics) = (handles.state.clone(), handles.metrics.clone());
        SharedOutbox { state, metrics, ..SharedOutbox::default() }
    }

    /// Locks the outbox, for reads and for changes that neither the metrics nor the worker have to see.
    pub(in crate::leader) async fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().await
    }

    /// Changes the outbox, updates the metrics and the leader's state, and wakes the worker.
    pub(crate) async fn update<T>(&self, change: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut outbox = self.outbox.lock().await;
        let changed = change(&mut outbox);
        self.publish(&outbox);
        self.changed.notify_one();
        changed
    }

    /// Updates the metrics, and the leader's state unless that is of another epoch.
    fn publish(&self, outbox: &Outbox) {
        self.metrics.set_outbox(outbox.waiting(), outbox.oldest());
        self.state.send_if_modified(|state| match state {
            Some(known) if outbox.fence.is_some_and(|fence| fence.epoch == known.epoch) => {
                let (waiting, delivered, outranked) = (outbox.waiting(), outbox.delivered, outbox.outranked);
                let new = LeaderState { waiting, delivered, outranked, ..known.clone() };
                let is_changed = *known != new;
                *known = new;
                is_changed
            }
            _ => false,
        });
    }

    /// Records the outcome of a request. Returns a change of the API's state, and the number of waiting cycles.
    pub(super) async fn on_outcome(&self, key: Key, outcome: Outcome) -> (Option<StateChange>, usize) {
        let (is_accepted, is_stale) = (outcome == Outcome::Accepted, matches!(outcome, Outcome::Stale(_)));
        let mut outbox = self.outbox.lock().await;
        let change = outbox.on_outcome(key, outcome);
        if is_stale && outbox.outranked.is_some() {
            self.metrics.record(|metrics| metrics.outranked.inc());
        }
        if is_accepted {
            outbox.delivered = Some(Delivered { cycle: key.0, time: Timestamp::now() });
        }
        self.publish(&outbox);
        (change, outbox.waiting())
    }

    /// Counts the rejected reports in ZooKeeper, for the metrics.
    pub(super) async fn count_rejected(&self, connection: &Connection) -> Result<(), Error> {
        if self.metrics.is_enabled() {
            let count = connection.stat(REJECTED_PATH).await?.map_or(0, |stat| stat.num_children);
            self.metrics.update(|stats| stats.rejected_reports = Some(count));
        }
        Ok(())
    }

    pub(super) async fn on_finished(&self, cycle: u64) {
        self.outbox.lock().await.on_finished(cycle);
        self.finished.notify_one();
    }
}

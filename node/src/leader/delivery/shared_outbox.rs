//! An outbox of a leader, for the API or for an output: the cycle adds reports, the reader loads them, the worker sends
//! and finishes them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Connection, Error};
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard, Notify, watch};

use crate::leader::config::{LeaderConfig, LeaderHandles};
use crate::leader::delivery::outbox::Outbox;
use crate::leader::delivery::outcome::Outcome;
use crate::leader::delivery::queue::{Key, StateChange};
use crate::leader::delivery::receiver::Receiver;
use crate::leader::outbox_store::OutboxPaths;
use crate::metrics::DeliveryMetrics;
use crate::model::leader_state::{Delivered, LeaderState, OutputState};
use crate::outputs::Output;

/// Minimum time between two log lines about problems of an output, while it accepts no reports.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct SharedOutbox {
    pub(in crate::leader) paths: OutboxPaths,
    /// Output that receives the reports; `None`: the API does.
    pub(super) output: Option<Arc<Output>>,
    outbox: Mutex<Outbox>,
    pub(super) changed: Notify,
    /// Notified when a report has been deleted or replaced in ZooKeeper, or reports must be read for another reason.
    pub(super) finished: Notify,
    /// State of the leader; `None` while this node is not the leader.
    state: watch::Sender<Option<LeaderState>>,
    /// Errors about reports that cannot be finished, each logged once. They survive an interruption of the delivery.
    pub(super) logged_errors: Mutex<BTreeSet<String>>,
    /// Children of the outbox that are not reports and were logged.
    logged_foreign: Mutex<BTreeSet<String>>,
    /// Times at which it was logged that the output fails, and that it rejects reports; `None` since it accepts reports.
    problems_logged: Mutex<[Option<BootInstant>; 2]>,
    /// True if it was logged that rejected reports are deleted to make room.
    pub(super) logged_full: AtomicBool,
    pub(in crate::leader) metrics: DeliveryMetrics,
}

impl SharedOutbox {
    /// Returns an empty outbox for the API. The delivery sets its period.
    pub(crate) fn new(handles: &LeaderHandles) -> SharedOutbox {
        let metrics = DeliveryMetrics::new(handles.metrics.clone(), None);
        SharedOutbox { state: handles.state.clone(), metrics, ..SharedOutbox::default() }
    }

    fn of_output(handles: &LeaderHandles, output: &Arc<Output>) -> SharedOutbox {
        let name = output.config.name.clone();
        SharedOutbox {
            paths: OutboxPaths::of_output(&name),
            output: Some(output.clone()),
            outbox: Mutex::new(Outbox::of_output(output.needs_order())),
            metrics: DeliveryMetrics::new(handles.metrics.clone(), Some(name)),
            ..SharedOutbox::new(handles)
        }
    }

    /// Returns empty outboxes: that of the API, and one for each output that sends averages.
    pub(in crate::leader) fn all(handles: &LeaderHandles) -> Vec<SharedOutbox> {
        let outputs = handles.outputs.iter().filter(|output| output.config.send.has_averages());
        let outputs = outputs.map(|output| SharedOutbox::of_output(handles, output));
        std::iter::once(SharedOutbox::new(handles)).chain(outputs).collect()
    }

    /// Returns the receiver of the reports; `None` if no API is configured.
    pub(in crate::leader) fn receiver(&self, config: &LeaderConfig) -> Option<Receiver> {
        match &self.output {
            Some(output) => Some(Receiver::Output(output.clone())),
            None => config.api.clone().map(|api| Receiver::Api(Box::new(api))),
        }
    }

    pub(in crate::leader) fn is_of_api(&self) -> bool {
        self.output.is_none()
    }

    /// Returns true if a report is sent only after the one before is accepted or rejected, and finished in ZooKeeper.
    pub(super) fn is_strict(&self) -> bool {
        self.output.as_ref().is_some_and(|output| output.needs_order())
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
        let is_failing = outbox.queue.problem().is_some();
        self.metrics.set_outbox(outbox.waiting(), outbox.oldest(), is_failing);
        self.state.send_if_modified(|state| match state {
            Some(known) if outbox.fence.is_some_and(|fence| fence.epoch == known.epoch) => {
                let mut new = known.clone();
                self.describe(outbox, &mut new);
                let is_changed = *known != new;
                *known = new;
                is_changed
            }
            _ => false,
        });
    }

    /// Writes the state of this outbox to the leader's state.
    fn describe(&self, outbox: &Outbox, state: &mut LeaderState) {
        let Some(output) = &self.output else {
            (state.waiting, state.delivered) = (outbox.waiting(), outbox.delivered);
            state.outranked = outbox.outranked;
            return;
        };
        let new = OutputState {
            name: output.config.name.clone(),
            waiting: outbox.waiting(),
            oldest: outbox.oldest(),
            delivered: outbox.delivered,
            problem: outbox.queue.problem().map(str::to_owned),
        };
        match state.outputs.iter_mut().find(|known| known.name == new.name) {
            Some(known) => *known = new,
            None => state.outputs.push(new),
        }
    }

    /// Writes the state of all outboxes to that of a leader which begins an epoch.
    pub(in crate::leader) async fn describe_all(outboxes: &[SharedOutbox], state: &mut LeaderState) {
        for outbox in outboxes {
            outbox.describe(&*outbox.lock().await, state);
        }
    }

    /// Records the outcome of a request. Returns a change of the receiver's state, and the number of waiting cycles.
    pub(super) async fn on_outcome(&self, key: Key, outcome: Outcome) -> (Option<StateChange>, usize) {
        let (is_accepted, is_stale) = (outcome == Outcome::Accepted, matches!(outcome, Outcome::Stale(_)));
        let mut outbox = self.outbox.lock().await;
        let change = outbox.on_outcome(key, outcome);
        if is_stale && outbox.outranked.is_some() {
            self.metrics.report_outranked();
        }
        if is_accepted {
            outbox.delivered = Some(Delivered { cycle: key.0, time: Timestamp::now() });
        }
        self.publish(&outbox);
        (change, outbox.waiting())
    }

    /// Returns true if a change of the receiver's state is logged. Reasons of an output may have the receiver's own words,
    /// which may differ in each response: they are logged once in a while.
    pub(super) async fn should_log(&self, change: &StateChange) -> bool {
        let mut logged = self.problems_logged.lock().await;
        let [failing, rejecting] = &mut *logged;
        let last = match change {
            _ if self.is_of_api() => return true,
            StateChange::Accepting { .. } => {
                *logged = [None; 2];
                return true;
            }
            StateChange::Failing(_) => failing,
            StateChange::Rejecting(_) | StateChange::Invalid(_) => rejecting,
        };
        let now = BootInstant::now();
        let is_due = last.is_none_or(|last| now.since(last) >= LOG_INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }

    /// Counts the rejected reports in ZooKeeper, for the metrics.
    pub(super) async fn count_rejected(&self, connection: &Connection) -> Result<(), Error> {
        if self.metrics.is_enabled() {
            let count = connection.stat(&self.paths.rejected).await?.map_or(0, |stat| stat.num_children);
            self.metrics.set_rejected_reports(count);
        }
        Ok(())
    }

    /// Returns some children of the outbox that are not reports and have no log line yet, and records that they have one.
    /// `names` must be sorted.
    pub(super) async fn unlogged_foreign_children(&self, names: &[String]) -> Vec<String> {
        const MAX_NAMES: usize = 3;
        let mut logged = self.logged_foreign.lock().await;
        logged.retain(|name| names.binary_search(name).is_ok());
        let new: Vec<String> =
            names.iter().filter(|name| !logged.contains(*name)).take(MAX_NAMES).cloned().collect();
        logged.extend(new.iter().cloned());
        new
    }

    pub(super) async fn on_finished(&self, cycle: u64) {
        self.outbox.lock().await.on_finished(cycle);
        self.finished.notify_one();
    }
}

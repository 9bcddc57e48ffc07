//! Delivers the reports of the outbox to the API, and finishes those that are delivered or rejected. Runs concurrently
//! with the cycles, and never delays them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Error, Leadership};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tracing::{debug, info, warn};

use crate::fail_points;
use crate::leader::delivery::api_client::Api;
use crate::leader::delivery::outbox::{Disposition, NextRequest};
use crate::leader::delivery::outcome::Outcome;
use crate::leader::delivery::queue::{Key, StateChange};
use crate::leader::delivery::shared_outbox::SharedOutbox;
use crate::leader::fenced_multi::CommitError;
use crate::leader::outbox_store::{self, MAX_REJECTED};
use crate::model::report::Report;

const CONCURRENT_FINISHES: usize = 8;
/// Initial delay before a report that could not be finished is tried again. It doubles with each failure.
const MIN_FINISH_BACKOFF: Duration = Duration::from_millis(500);
const MAX_FINISH_BACKOFF: Duration = Duration::from_secs(5);

/// Maximum number of errors that are remembered, so that each is logged once.
const MAX_LOGGED_ERRORS: usize = 8;

/// End of a concurrent task of the worker.
enum Event {
    Responded(Key, Outcome),
    /// A report is finished in ZooKeeper, or not. The number is that of rejected reports that were deleted for it.
    Finished(u64, Result<usize, CommitError>),
}

type Task<'a> = Pin<Box<dyn Future<Output = Event> + Send + 'a>>;

/// Cycles whose reports are being finished, with the number of failed attempts of each.
#[derive(Debug, Default)]
struct Finishing(BTreeMap<u64, u32>);

impl Finishing {
    /// Takes the next of the `unfinished` cycles. Only cycles without a failure count for the limit.
    fn take(&mut self, unfinished: impl Iterator<Item = u64>) -> Vec<u64> {
        let active = self.0.values().filter(|failures| **failures == 0).count();
        let idle = unfinished.filter(|cycle| !self.0.contains_key(cycle));
        let taken: Vec<u64> = idle.take(CONCURRENT_FINISHES.saturating_sub(active)).collect();
        self.0.extend(taken.iter().map(|cycle| (*cycle, 0)));
        taken
    }

    /// Records a failure. Returns the delay before the next attempt.
    fn on_failed(&mut self, cycle: u64) -> Duration {
        let failures = self.0.entry(cycle).or_default();
        *failures = failures.saturating_add(1);
        MIN_FINISH_BACKOFF.saturating_mul(1 << (*failures - 1).min(8)).min(MAX_FINISH_BACKOFF)
    }

    /// Records a success. Returns true if it ends the last failure.
    fn on_finished(&mut self, cycle: u64) -> bool {
        self.0.remove(&cycle) > Some(0) && self.0.values().all(|failures| *failures == 0)
    }
}

/// Delivery of the outbox's reports by one leader. Without an API it only finishes reports.
#[derive(Debug)]
pub(crate) struct DeliveryWorker<'a> {
    pub(in crate::leader) outbox: &'a SharedOutbox,
    pub(in crate::leader) leadership: &'a Leadership,
    pub(in crate::leader) api: Option<&'a Api>,
}

impl DeliveryWorker<'_> {
    /// Delivers while the leadership is certain, then waits to be dropped.
    ///
    /// # Cancellation safety
    /// If the future is dropped, requests under way are aborted. Their reports are still in the outbox and in
    /// ZooKeeper, and the next call sends them again with the same `Idempotency-Key`.
    pub(crate) async fn run(self) {
        let mut tasks: FuturesUnordered<Task<'_>> = FuturesUnordered::new();
        let mut finishing = Finishing::default();
        self.outbox.metrics.delivery_started();
        self.outbox.lock().await.queue.on_interrupted();
        loop {
            for cycle in finishing.take(self.outbox.lock().await.unfinished()) {
                tasks.push(Box::pin(self.finish(cycle, Duration::ZERO)));
            }
            let next = match self.api {
                Some(_) => self.outbox.lock().await.next_request(BootInstant::now()),
                None => NextRequest::Idle,
            };
            let delay = match (next, self.api) {
                // The last check before other programs can see the effect.
                (NextRequest::Send { .. }, _) if !self.leadership.holds() => {
                    return std::future::pending().await;
                }
                (NextRequest::Send { key, report, timeout, is_retry }, Some(api)) => {
                    self.outbox.metrics.request_sent(is_retry);
                    tasks.push(Box::pin(self.send(api, key, report, timeout)));
                    continue;
                }
                (NextRequest::WaitUntil(time), _) => time.since(BootInstant::now()),
                _ => Duration::MAX,
            };
            tokio::select! {
                Some(event) = tasks.next() => {
                    tasks.extend(self.on_event(event, &mut finishing).await);
                }
                () = self.outbox.changed.notified() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    async fn send(&self, api: &Api, key: Key, report: Report, timeout: Duration) -> Event {
        let started = BootInstant::now();
        let outcome = fail_points::during("sending", api.send(&report, timeout)).await;
        self.outbox.metrics.request_ended(outcome.label(), BootInstant::now().since(started));
        fail_points::point("answered");
        Event::Responded(key, outcome)
    }

    /// Finishes a report in ZooKeeper, after `delay`.
    async fn finish(&self, cycle: u64, delay: Duration) -> Event {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let Some(disposition) = self.outbox.lock().await.disposition(cycle).cloned() else {
            return Event::Finished(cycle, Ok(0));
        };
        let result = outbox_store::finish(self.leadership, cycle, &disposition).await;
        if result.is_ok() && matches!(disposition, Disposition::Rejected(_) | Disposition::Undeliverable(_)) {
            self.outbox.metrics.record(|metrics| metrics.rejected.inc());
            // If it fails, the next one counts again.
            let _ = self.outbox.count_rejected(self.leadership.connection()).await;
        }
        Event::Finished(cycle, result)
    }

    /// Handles the end of a task. Returns a new task, if one must follow.
    async fn on_event(&self, event: Event, finishing: &mut Finishing) -> Option<Task<'_>> {
        match event {
            Event::Responded(key, outcome) => {
                let (change, waiting) = self.outbox.on_outcome(key, outcome).await;
                if let (Some(change), Some(api)) = (change, self.api) {
                    log_change(&change, api, waiting);
                }
            }
            Event::Finished(cycle, Ok(dropped)) => {
                if dropped > 0 && !self.outbox.logged_full.swap(true, Ordering::Relaxed) {
                    warn!(
                        "there are {MAX_REJECTED} rejected reports: from now on the oldest are deleted to make room"
                    );
                }
                if finishing.on_finished(cycle) {
                    // All reports that could not be finished are finished now.
                    self.outbox.logged_errors.lock().await.clear();
                }
                self.outbox.on_finished(cycle).await;
            }
            Event::Finished(cycle, Err(error)) => {
                let error = error.unless_fenced().await;
                self.log_unfinished(cycle, &error).await;
                return Some(Box::pin(self.finish(cycle, finishing.on_failed(cycle))));
            }
        }
        None
    }

    async fn log_unfinished(&self, cycle: u64, error: &Error) {
        let mut logged = self.outbox.logged_errors.lock().await;
        if error.is_connection_loss() {
            debug!(cycle, %error, "a report is not removed from the outbox yet");
        } else if logged.len() < MAX_LOGGED_ERRORS && logged.insert(error.to_string()) {
            warn!(cycle, %error, "a report cannot be removed from the outbox; retrying every {MAX_FINISH_BACKOFF:?}");
        }
    }
}

fn log_change(change: &StateChange, api: &Api, waiting: usize) {
    let url = api.display_url();
    match change {
        StateChange::Failing(reason) => {
            warn!(url, waiting, "the API does not accept reports: {reason}; retrying");
        }
        StateChange::Rejecting(reason) => {
            warn!(url, "the API rejects reports: {reason}; they are kept: see atalaya reports list");
        }
        StateChange::Invalid(reason) => {
            warn!(url, "the API can never accept a report: {reason}; it is kept: see atalaya reports list");
        }
        StateChange::Accepting { dropped: 0 } => info!(url, waiting, "the API accepts reports again"),
        StateChange::Accepting { dropped } => {
            warn!(url, waiting, dropped, "the API accepts reports again; the oldest were dropped");
        }
    }
}

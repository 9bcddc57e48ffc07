//! Delivers the reports of an outbox to the API or to an output, and finishes those that are delivered or rejected. Runs
//! concurrently with the cycles and with the other outboxes, and never delays them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Error, Leadership};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tracing::{debug, warn};

use crate::fail_points;
use crate::leader::delivery::outbox::{Disposition, NextRequest};
use crate::leader::delivery::outcome::Outcome;
use crate::leader::delivery::queue::Key;
use crate::leader::delivery::receiver::Receiver;
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

/// Decides which reports are finished next. At most [`CONCURRENT_FINISHES`] are, first attempts and retries together.
#[derive(Debug, Default)]
struct Finishing {
    /// Cycles whose reports are being finished.
    active: BTreeSet<u64>,
    failed: BTreeMap<u64, FailedFinish>,
}

#[derive(Debug)]
struct FailedFinish {
    attempts: u32,
    retry_at: BootInstant,
}

impl Finishing {
    /// Takes the next cycles: first those of `unfinished` without a failed attempt, so that they do not wait behind
    /// others, then due retries.
    fn take(&mut self, unfinished: impl Iterator<Item = u64>, now: BootInstant) -> Vec<u64> {
        let free = CONCURRENT_FINISHES.saturating_sub(self.active.len());
        let is_idle = |cycle: &u64| !self.active.contains(cycle);
        let new = unfinished.filter(|cycle| is_idle(cycle) && !self.failed.contains_key(cycle));
        let due = self.failed.iter().filter(|(cycle, failed)| is_idle(cycle) && failed.retry_at <= now);
        let taken: Vec<u64> = new.chain(due.map(|(cycle, _)| *cycle)).take(free).collect();
        self.active.extend(&taken);
        taken
    }

    /// Returns the time of the next retry. `None` if the end of an attempt comes first in any case.
    fn next_retry(&self) -> Option<BootInstant> {
        let idle = self.failed.iter().filter(|(cycle, _)| !self.active.contains(cycle));
        idle.map(|(_, failed)| failed.retry_at).min().filter(|_| self.active.len() < CONCURRENT_FINISHES)
    }

    /// Returns true if a report is being finished for the first time.
    fn has_first_attempts(&self) -> bool {
        self.active.iter().any(|cycle| !self.failed.contains_key(cycle))
    }

    fn on_failed(&mut self, cycle: u64, now: BootInstant) {
        self.active.remove(&cycle);
        let failed = self.failed.entry(cycle).or_insert(FailedFinish { attempts: 0, retry_at: now });
        failed.attempts = failed.attempts.saturating_add(1);
        let backoff = MIN_FINISH_BACKOFF.saturating_mul(1 << (failed.attempts - 1).min(8));
        failed.retry_at = now + backoff.min(MAX_FINISH_BACKOFF);
    }

    /// Records a success. Returns true if it ends the last failure.
    fn on_finished(&mut self, cycle: u64) -> bool {
        self.active.remove(&cycle);
        self.failed.remove(&cycle).is_some() && self.failed.is_empty()
    }
}

/// Delivery of an outbox's reports by one leader. Without a receiver it only finishes reports.
#[derive(Debug)]
pub(crate) struct DeliveryWorker<'a> {
    pub(in crate::leader) outbox: &'a SharedOutbox,
    pub(in crate::leader) leadership: &'a Leadership,
    pub(in crate::leader) receiver: Option<&'a Receiver>,
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
            for cycle in finishing.take(self.outbox.lock().await.unfinished(), BootInstant::now()) {
                tasks.push(Box::pin(self.finish(cycle)));
            }
            // A report that is sent again after a change of leaders must be the newest one that the receiver has.
            let waits = self.outbox.is_strict() && finishing.has_first_attempts();
            let next = match self.receiver {
                Some(_) if !waits => self.outbox.lock().await.next_request(BootInstant::now()),
                _ => NextRequest::Idle,
            };
            let next_request = match (next, self.receiver) {
                // The last check before other programs can see the effect.
                (NextRequest::Send { .. }, _) if !self.leadership.holds() => {
                    return std::future::pending().await;
                }
                (NextRequest::Send { key, report, timeout, is_retry }, Some(receiver)) => {
                    self.outbox.metrics.request_sent(is_retry);
                    tasks.push(Box::pin(self.send(receiver, key, report, timeout)));
                    continue;
                }
                (NextRequest::WaitUntil(time), _) => Some(time),
                _ => None,
            };
            let next_time = next_request.into_iter().chain(finishing.next_retry()).min();
            let delay = next_time.map_or(Duration::MAX, |time| time.since(BootInstant::now()));
            tokio::select! {
                Some(event) = tasks.next() => self.on_event(event, &mut finishing).await,
                () = self.outbox.changed.notified() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    async fn send(&self, receiver: &Receiver, key: Key, report: Report, timeout: Duration) -> Event {
        let started = BootInstant::now();
        let outcome = fail_points::during("sending", receiver.send(&report, timeout)).await;
        self.outbox.metrics.request_ended(outcome.label(), BootInstant::now().since(started));
        fail_points::point("answered");
        Event::Responded(key, outcome)
    }

    /// Finishes a report in ZooKeeper.
    async fn finish(&self, cycle: u64) -> Event {
        let Some(disposition) = self.outbox.lock().await.disposition(cycle).cloned() else {
            return Event::Finished(cycle, Ok(0));
        };
        let result = outbox_store::finish(self.leadership, &self.outbox.paths, cycle, &disposition).await;
        if result.is_ok() && matches!(disposition, Disposition::Rejected(_) | Disposition::Undeliverable(_)) {
            self.outbox.metrics.report_rejected();
            // If it fails, the next one counts again.
            let _ = self.outbox.count_rejected(self.leadership.connection()).await;
        }
        Event::Finished(cycle, result)
    }

    /// Handles the end of a task.
    async fn on_event(&self, event: Event, finishing: &mut Finishing) {
        match event {
            Event::Responded(key, outcome) => {
                let (change, waiting) = self.outbox.on_outcome(key, outcome).await;
                if let (Some(change), Some(receiver)) = (change, self.receiver)
                    && self.outbox.should_log(&change).await
                {
                    receiver.log_change(&change, waiting);
                }
            }
            Event::Finished(cycle, Ok(dropped)) => {
                if dropped > 0 && !self.outbox.logged_full.swap(true, Ordering::Relaxed) {
                    let path = &self.outbox.paths.rejected;
                    warn!(
                        path,
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
                finishing.on_failed(cycle, BootInstant::now());
            }
        }
    }

    /// Returns the error's text without the cycle, so that reports that fail for the same reason share one log line. A znode
    /// of the wrong type keeps the cycle, because each one must be repaired.
    fn reason_without_cycle(&self, cycle: u64, error: &Error) -> String {
        if error.wrong_znode().is_some() {
            return error.to_string();
        }
        let paths = &self.outbox.paths;
        (error.to_string())
            .replace(&paths.report(cycle), &paths.reports)
            .replace(&paths.rejected_report(cycle), &paths.rejected)
    }

    async fn log_unfinished(&self, cycle: u64, error: &Error) {
        let mut logged = self.outbox.logged_errors.lock().await;
        if error.is_connection_loss() {
            debug!(cycle, %error, "a report is not removed from the outbox yet");
        } else if logged.len() < MAX_LOGGED_ERRORS && logged.insert(self.reason_without_cycle(cycle, error)) {
            warn!(
                cycle,
                %error,
                "a report cannot be removed from the outbox; retrying every {MAX_FINISH_BACKOFF:?}; \
                 others with the same error are not logged"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn first_attempts_and_retries_share_one_limit() {
        let now = BootInstant::now();
        let mut finishing = Finishing::default();
        assert_eq!(finishing.take(1..=20, now), (1..=8).collect::<Vec<u64>>());
        assert!(finishing.take(1..=20, now).is_empty());
        (1..=8).for_each(|cycle| finishing.on_failed(cycle, now));
        // Cycles without a failure go first, also when the retries are due.
        let later = now + seconds(60);
        assert_eq!(finishing.take(1..=20, later), (9..=16).collect::<Vec<u64>>());
        assert_eq!(finishing.next_retry(), None);
        (9..=14).for_each(|cycle| assert!(!finishing.on_finished(cycle)));
        assert_eq!(finishing.take((1..=8).chain(15..=20), later), [17, 18, 19, 20, 1, 2]);
        assert_eq!(finishing.active.len(), CONCURRENT_FINISHES);
    }

    #[test]
    fn retries_wait_twice_as_long_after_each_failure() {
        let mut now = BootInstant::now();
        let mut finishing = Finishing::default();
        assert_eq!(finishing.take(1..=1, now), [1]);
        for backoff in [500, 1_000, 2_000, 4_000, 5_000, 5_000].map(Duration::from_millis) {
            finishing.on_failed(1, now);
            assert_eq!(finishing.next_retry(), Some(now + backoff));
            assert!(finishing.take(1..=1, now).is_empty());
            now = now + backoff;
            assert_eq!(finishing.take(1..=1, now), [1]);
        }
        assert!(!finishing.has_first_attempts(), "it is a retry");
        assert!(finishing.on_finished(1));
        assert_eq!(finishing.next_retry(), None);
        assert_eq!(finishing.take(2..=2, now), [2]);
        assert!(finishing.has_first_attempts());
    }

    #[test]
    fn success_ends_the_last_failure_once_no_other_report_has_failed() {
        let now = BootInstant::now();
        let mut finishing = Finishing::default();
        finishing.take(1..=3, now);
        finishing.on_failed(1, now);
        finishing.on_failed(2, now);
        assert_eq!([1, 3, 2].map(|cycle| finishing.on_finished(cycle)), [false, false, true]);
    }
}

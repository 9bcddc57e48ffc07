//! Queue of the reports to deliver: decides which report is sent next, and when. No I/O; driven by
//! [`crate::leader::delivery::worker`].
//!
//! Reports are sent in order, and each waits for the response to the previous one. Requests of different epochs are
//! never under way at the same time. Only if the API responds more slowly than reports arrive, several are sent at
//! once, started in order, so that the API may take six periods for a response and still keep up. While the API fails,
//! requests are repeated with a backoff that grows to two thirds of a period at most.
//!
//! An API that hangs accepts requests and never responds. When it works again, reports must resume within a period and
//! not only when those requests time out. So concurrent requests are started at a pace at which the oldest has timed
//! out before the last slot is taken.
//!
//! Some responses say that the API will never accept the report (4xx). The report is tried a few times, since such
//! responses may come from a proxy that is being set up, and is then rejected. While the API continues so, each
//! following report is tried once.
//!
//! Other responses do not say whether only this report or every report is refused (401, 403, 5xx). After some of these,
//! the reports behind it are tried as well. If one of them is accepted and the first one is refused again, the first
//! one is rejected; if none is accepted, all wait. So one bad report never blocks those behind it, and a wrong token
//! rejects no report.
//!
//! The queue of an output works in the same way. If the order of the reports matters to the output, they are sent
//! strictly one after the other, and no response of this kind changes their order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::leader::delivery::outcome::{Doubt, Outcome, Stale};

/// Maximum number of concurrent requests: one more than the pauses between them that a timeout contains.
const MAX_IN_FLIGHT: usize = 8;
/// Minimum time between the starts of two requests, so that a node that catches up leaves capacity for others.
const MIN_INTERVAL: Duration = Duration::from_millis(5);
/// Number of attempts for a report that the API rejects, if it accepted the previous one.
const MAX_TRIES: u32 = 3;
const TIMEOUT_PERIODS: u32 = 6;
const MIN_TIMEOUT: Duration = Duration::from_millis(500);
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Identifies a report by its cycle and its index among the averages of that cycle. Reports are sent in this order.
pub(crate) type Key = (u64, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send this report, and pass the outcome to [`DeliveryQueue::on_outcome`].
    Send(Key),
    /// Wait until this time, or until a request ends or a report is added.
    WaitUntil(BootInstant),
    /// Wait until a request ends or a report is added.
    Idle,
}

/// A change of the API's state that is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateChange {
    /// The API fails, or fails in another way.
    Failing(String),
    Rejecting(String),
    /// This report, or several for the same reason, can never be accepted.
    Invalid(String),
    /// The API accepts reports again.
    Accepting {
        /// Number of reports that were dropped in between because the outbox was full.
        dropped: u64,
    },
}

/// State of the API, as the outcomes of the requests show it.
#[derive(Debug, Default)]
enum ApiState {
    #[default]
    Accepting,
    Failing {
        reason: String,
        backoff: ExponentialBackoff,
        retry_at: BootInstant,
        /// Latest start of a request that failed.
        last_sent: BootInstant,
    },
    Rejecting(String),
}

/// Final outcome of a report: the API has recorded it, or will never accept it, for this reason.
pub(crate) type FinalOutcome = Result<(), String>;

#[derive(Debug, Default)]
struct QueuedReport {
    epoch: i64,
    /// Start of the request, if one is under way.
    sent: Option<BootInstant>,
    tries: u32,
    rejections: u32,
    doubts: u32,
    /// Number of doubtful responses since which another report was sent and accepted before this one was refused again.
    proofs: u32,
    /// Only a request that started later and is accepted shows that the API refuses this report alone.
    proof_after: BootInstant,
    /// Reports with a lower number are sent first.
    demotion: u32,
}

#[derive(Debug, Default)]
pub(crate) struct DeliveryQueue {
    /// All reports: those that wait and those under way.
    reports: BTreeMap<Key, QueuedReport>,
    /// Waiting reports, in the order in which they are sent. A lower epoch comes first: once a collector has a report
    /// of a later epoch, it may refuse those of an earlier one.
    order: BTreeSet<(u32, i64, Key)>,
    /// Reports under way, with their epochs.
    in_flight: BTreeMap<Key, i64>,
    last_invalid: Option<String>,
    last_sent: BootInstant,
    /// Latest start of a request that was accepted.
    last_accepted_sent: BootInstant,
    /// Number of cycles whose reports were dropped because the outbox was full, for the next [`StateChange::Accepting`].
    pub(super) dropped: u64,
    /// Time between two reports.
    pub(in crate::leader) period: Duration,
    /// True if a report is sent only after all earlier ones have their final outcome.
    pub(super) is_strict: bool,
    state: ApiState,
}

impl DeliveryQueue {
    #[cfg(test)]
    pub(crate) fn new(period: Duration) -> DeliveryQueue {
        DeliveryQueue { period, ..DeliveryQueue::default() }
    }

    pub(crate) fn timeout(&self) -> Duration {
        (self.period * TIMEOUT_PERIODS).clamp(MIN_TIMEOUT, MAX_TIMEOUT)
    }

    pub(crate) fn push(&mut self, key: Key, epoch: i64) {
        self.remove(key);
        self.reports.insert(key, QueuedReport { epoch, ..QueuedReport::default() });
        self.order.insert((0, epoch, key));
    }

    /// Removes a report. If a request with it is under way, its outcome is ignored.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(report) = self.reports.remove(&key) {
            self.in_flight.remove(&key);
            self.order.remove(&(report.demotion, report.epoch, key));
        }
    }

    pub(crate) fn is_in_flight(&self, key: Key) -> bool {
        self.reports.get(&key).is_some_and(|report| report.sent.is_some())
    }

    pub(crate) fn is_retry(&self, key: Key) -> bool {
        self.reports.get(&key).is_some_and(|report| report.tries > 1)
    }

    /// Returns the reason why the API accepts no reports; `None` if it does.
    pub(super) fn problem(&self) -> Option<&str> {
        match &self.state {
            ApiState::Accepting => None,
            ApiState::Failing { reason, .. } | ApiState::Rejecting(reason) => Some(reason),
        }
    }

    /// Returns the reports under way to the queue: their requests were aborted, and their outcomes are unknown.
    pub(crate) fn on_interrupted(&mut self) {
        for (key, epoch) in std::mem::take(&mut self.in_flight) {
            let Some(report) = self.reports.get_mut(&key) else { continue };
            report.sent = None;
            self.order.insert((report.demotion, epoch, key));
        }
    }

    /// Returns the next step at `now`. A report that it returns counts as sent.
    pub(crate) fn next(&mut self, now: BootInstant) -> Next {
        let in_flight = self.in_flight.len();
        if in_flight >= if self.is_strict { 1 } else { MAX_IN_FLIGHT } {
            return Next::Idle;
        }
        let paced = self.last_sent + self.timeout() / (MAX_IN_FLIGHT as u32 - 1);
        let Some(first @ (_, epoch, key)) = self.order.first().copied() else { return Next::Idle };
        if self.in_flight.values().next().is_some_and(|in_flight| *in_flight != epoch) {
            return Next::Idle;
        }
        let not_before = match &self.state {
            ApiState::Failing { retry_at, .. } if in_flight > 0 => paced.max(*retry_at),
            ApiState::Failing { retry_at, .. } => *retry_at,
            _ if in_flight > 0 => paced,
            _ => self.last_sent + MIN_INTERVAL,
        };
        if now < not_before {
            return Next::WaitUntil(not_before);
        }
        if let ApiState::Failing { backoff, retry_at, .. } = &mut self.state {
            *retry_at = now + backoff.next().unwrap_or(MAX_BACKOFF);
        }
        self.order.remove(&first);
        let Some(report) = self.reports.get_mut(&key) else { return Next::Idle };
        report.sent = Some(now);
        report.tries = report.tries.saturating_add(1);
        self.in_flight.insert(key, epoch);
        self.last_sent = now;
        Next::Send(key)
    }

    /// Records the outcome of a request. Returns the final outcome of the report, if it has one now, and a change of
    /// the API's state, if there is one.
    pub(crate) fn on_outcome(
        &mut self,
        key: Key,
        outcome: Outcome,
    ) -> (Option<FinalOutcome>, Option<StateChange>) {
        let Some(report) = self.reports.get_mut(&key) else { return (None, None) };
        let Some(sent) = report.sent.take() else { return (None, None) };
        self.in_flight.remove(&key);
        let (final_outcome, change) = match outcome {
            Outcome::Accepted => (Some(Ok(())), self.on_accepted(sent)),
            Outcome::Rejected(reason) => {
                report.rejections += 1;
                if report.rejections < MAX_TRIES && !matches!(self.state, ApiState::Rejecting(_)) {
                    (None, self.on_failed(reason, sent))
                } else {
                    self.on_rejected(reason)
                }
            }
            Outcome::Doubtful(Doubt { reason, tries, proofs }) => {
                report.doubts = report.doubts.saturating_add(1);
                let is_proof = report.doubts > 1 && self.last_accepted_sent > report.proof_after;
                report.proofs = report.proofs.saturating_add(u32::from(is_proof));
                // Neither requests that were accepted before this response count, nor earlier ones that are accepted late.
                report.proof_after = sent.max(self.last_accepted_sent);
                if report.doubts < tries {
                    (None, self.on_failed(reason, sent))
                } else if report.proofs < proofs {
                    report.demotion = report.doubts;
                    (None, self.on_failed(reason, sent))
                } else {
                    self.on_rejected(reason)
                }
            }
            Outcome::Invalid(reason) => {
                let is_new = self.last_invalid.replace(reason.clone()).as_ref() != Some(&reason);
                let change = is_new.then(|| StateChange::Invalid(reason.clone()));
                (Some(Err(reason)), change)
            }
            // The request hung while the API did, which has accepted later requests since: the API works now.
            Outcome::Failed(_)
                if matches!(self.state, ApiState::Accepting) && sent < self.last_accepted_sent =>
            {
                (None, None)
            }
            Outcome::Failed(reason) => (None, self.on_failed(reason, sent)),
            Outcome::Stale(Stale { epoch, .. }) => {
                (None, self.on_failed(format!("it has reports of the later epoch {epoch}"), sent))
            }
        };
        if final_outcome.is_some() {
            self.reports.remove(&key);
        } else if let Some(report) = self.reports.get(&key) {
            self.order.insert((report.demotion, report.epoch, key));
        }
        if final_outcome == Some(Ok(())) {
            self.promote_all();
        }
        (final_outcome, change)
    }

    /// Restores the order after an accepted report: the API works, so demoted reports are next.
    fn promote_all(&mut self) {
        let demoted: Vec<_> = self.order.range((1, i64::MIN, (0, 0))..).copied().collect();
        for entry @ (_, epoch, key) in demoted {
            self.order.remove(&entry);
            self.order.insert((0, epoch, key));
            if let Some(report) = self.reports.get_mut(&key) {
                report.demotion = 0;
            }
        }
    }

    fn on_accepted(&mut self, sent: BootInstant) -> Option<StateChange> {
        self.last_accepted_sent = self.last_accepted_sent.max(sent);
        if let ApiState::Failing { last_sent, .. } = &self.state
            && sent < *last_sent
        {
            // A late answer: a request that started after this one has failed, so the API still fails.
            return None;
        }
        match std::mem::replace(&mut self.state, ApiState::Accepting) {
            ApiState::Accepting => None,
            _ => Some(StateChange::Accepting { dropped: std::mem::take(&mut self.dropped) }),
        }
    }

    fn on_rejected(&mut self, reason: String) -> (Option<FinalOutcome>, Option<StateChange>) {
        let is_known = matches!(&self.state, ApiState::Rejecting(known) if *known == reason);
        self.state = ApiState::Rejecting(reason.clone());
        let change = (!is_known).then(|| StateChange::Rejecting(reason.clone()));
        (Some(Err(reason)), change)
    }

    fn on_failed(&mut self, reason: String, sent: BootInstant) -> Option<StateChange> {
        if let ApiState::Failing { reason: known, last_sent, .. } = &mut self.state {
            let change = (*known != reason).then(|| StateChange::Failing(reason.clone()));
            *known = reason;
            *last_sent = sent.max(*last_sent);
            return change;
        }
        // Jitter doubles the delay at most.
        let max_delay = (self.period / 3).clamp(MIN_BACKOFF / 2, MAX_BACKOFF);
        let mut backoff = ExponentialBuilder::new()
            .with_min_delay(MIN_BACKOFF.min(max_delay))
            .with_max_delay(max_delay)
            .without_max_times()
            .with_jitter()
            .build();
        // Counted from the start of the request: a request that timed out has waited long enough.
        let retry_at = sent + backoff.next().unwrap_or(max_delay);
        self.state = ApiState::Failing { reason: reason.clone(), backoff, retry_at, last_sent: sent };
        Some(StateChange::Failing(reason))
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

//! Which report is sent when: in order, one after the other, with back-off. Pure; driven by [`crate::leader::delivery::worker`].
//!
//! Each waits until the one before has been answered; nothing of one epoch is under way beside something of another. Only
//! an API that is slower than the reports come is sent several at once, begun in their order, so that it may take six
//! periods for an answer and still keep up. While it fails, it is tried at intervals that grow to two thirds of a period at most.
//!
//! An API that hangs takes requests and never answers them; when it is back, reports must resume within a period, and
//! not when those requests time out. So requests are sent beside others only at a pace at which the oldest has timed out
//! before the last place is taken.
//!
//! What the API will never take (4xx) is tried a few times, since such answers may come from something in between that is
//! just being set up, and then set aside; what comes after that, once, for as long as it goes on so.
//!
//! Some answers do not say whether this report or every report is refused (401, 403, 5xx). After some of these the
//! reports behind it are tried as well. If one of them is accepted, and the first one is refused again, it is set
//! aside; if none is accepted, all wait. So one bad report never blocks those behind it, and a wrong token rejects
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Requests under way at most: one more than the pauses between them that a timeout has.
const AT_ONCE: usize = 8;
/// The shortest time between the beginnings of two requests: who catches up after an outage leaves room for others.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// How often a report is tried that the API rejects, if it took the one before.
const TRIES: u32 = 3;
/// How many periods a request may take.
const PATIENCE: u32 = 6;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const SLOWEST_RETRY: Duration = Duration::from_secs(5);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(500);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The API has it.
    Accepted,
    /// The API will never take it; trying again would not help.
    Rejected(String),
    /// Not this time: no connection, no answer, or too many requests.
    CommitError(String),
    /// An answer that may be about this report or about all of them.
    Doubtful(Doubt),
    /// This report can never be sent or accepted, and that says nothing of the others.
    Invalid(String),
    /// A collector has reports of a later epoch; see [`crate::leader::delivery::outbox`].
    Stale(Stale),
}

/// An answer that may be about one report or about all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Answer of the API.
    pub reason: String,
    /// Tries of a report before those behind it are tried as well.
    pub tries: u32,
    /// Refusals, each after another report was accepted, that make it one about this report.
    pub proofs: u32,
}

/// A collector's reason to refuse a report: a later leader has reported its cycle, or one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Epoch of the later leader.
    pub epoch: i64,
    /// Lowest cycle that the later leader reported.
    pub first_cycle: u64,
}

/// Which report: its cycle, and its place among those of that cycle. They are sent in this order.
pub type Key = (u64, usize);

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next<R> {
    /// Send this report, and tell [`DeliveryQueue::done`] what became of it.
    Send(Key, R),
    /// Nothing before this moment, unless a request ends or a report comes.
    Wait(BootInstant),
    /// Nothing, unless a request ends or a report comes.
    Idle,
}

/// A change worth a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The API began to fail, or fails in another way.
    Failing(String),
    /// It rejects reports, which are set aside.
    Rejecting(String),
    /// This report, or several for the same reason, can never be accepted.
    Invalid(String),
    /// It accepts reports again; so many were dropped meanwhile.
    Accepting {
        /// Reports that the queue had no room for.
        dropped: u64,
    },
}

#[derive(Debug)]
enum Mood {
    Accepting,
    Failing { reason: String, retries: ExponentialBackoff, retry_at: BootInstant },
    Rejecting(String),
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The API has it.
    Accepted,
    /// The API will never take it, for this reason.
    Rejected(String),
}

/// One report.
#[derive(Debug)]
struct Item<R> {
    report: R,
    epoch: i64,
    /// When it was sent, if it is under way.
    sent: Option<BootInstant>,
    /// How often it was sent.
    tries: u32,
    /// How often it was rejected.
    rejected: u32,
    /// Doubtful answers.
    doubts: u32,
    /// Doubtful answers after another report was accepted.
    proofs: u32,
    /// Count of acceptances at its last doubtful answer.
    doubted_at: u64,
    /// Reports with a lower number are sent before it.
    demoted: u32,
}

/// The reports on their way.
#[derive(Debug)]
pub struct DeliveryQueue<R> {
    /// Those that wait, and those under way.
    queue: BTreeMap<Key, Item<R>>,
    /// Those that wait, in the order in which they are sent. An epoch comes after all that are lower: once a
    /// collector has a report of a later epoch, it may refuse those of an earlier one.
    order: BTreeSet<(u32, i64, Key)>,
    /// Those under way, with their epochs.
    sent: BTreeMap<Key, i64>,
    /// Reports that were accepted.
    acceptances: u64,
    /// Reason of the last report that was invalid.
    invalid: Option<String>,
    /// When the last request was sent.
    last_sent: BootInstant,
    /// When the newest of the accepted requests was sent.
    accepted_since: BootInstant,
    dropped: u64,
    period: Duration,
    mood: Mood,
}

impl<R: Clone> DeliveryQueue<R> {
    /// An empty one, for reports that come once a `period`.
    pub fn new(period: Duration) -> DeliveryQueue<R> {
        let long_ago = BootInstant::at(Duration::ZERO);
        DeliveryQueue {
            queue: BTreeMap::new(),
            order: BTreeSet::new(),
            sent: BTreeMap::new(),
            acceptances: 0,
            invalid: None,
            last_sent: long_ago,
            accepted_since: long_ago,
            dropped: 0,
            period,
            mood: Mood::Accepting,
        }
    }

    /// Reports come once a `period` from now on.
    pub fn set_period(&mut self, period: Duration) {
        self.period = period;
    }

    /// How long to wait for an answer.
    pub fn timeout(&self) -> Duration {
        (self.period * PATIENCE).clamp(SHORTEST_TIMEOUT, LONGEST_TIMEOUT)
    }

    /// Reports that have not been settled.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// A new report, of that epoch.
    pub fn push(&mut self, key: Key, epoch: i64, report: R) {
        self.forget(key, false);
        let item = Item {
            report,
            epoch,
            sent: None,
            tries: 0,
            rejected: 0,
            doubts: 0,
            proofs: 0,
            doubted_at: 0,
            demoted: 0,
        };
        self.queue.insert(key, item);
        self.order.insert((0, epoch, key));
    }

    /// A report is not to be sent any more; if it is under way, its outcome tells nothing. `dropped`: for want of room.
    pub fn forget(&mut self, key: Key, dropped: bool) {
        if let Some(item) = self.queue.remove(&key) {
            self.dropped += u64::from(dropped);
            self.sent.remove(&key);
            self.order.remove(&(item.demoted, item.epoch, key));
        }
    }

    /// A report that was never here is given up for want of room.
    pub fn lose(&mut self) {
        self.dropped += 1;
    }

    /// Whether this report is under way.
    pub fn is_under_way(&self, key: Key) -> bool {
        self.queue.get(&key).is_some_and(|item| item.sent.is_some())
    }

    /// Whether it has been sent more than once.
    pub fn is_retry(&self, key: Key) -> bool {
        self.queue.get(&key).is_some_and(|item| item.tries > 1)
    }

    /// Requests that were under way have been cut off, their outcome unknown: they are sent again.
    pub fn interrupted(&mut self) {
        for (key, epoch) in std::mem::take(&mut self.sent) {
            let Some(item) = self.queue.get_mut(&key) else { continue };
            item.sent = None;
            self.order.insert((item.demoted, epoch, key));
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: BootInstant) -> Next<R> {
        let in_flight = self.sent.len();
        if in_flight >= AT_ONCE {
            return Next::Idle;
        }
        let paced = self.last_sent + self.timeout() / (AT_ONCE as u32 - 1);
        let Some(first @ (_, epoch, key)) = self.order.first().copied() else { return Next::Idle };
        if self.sent.values().next().is_some_and(|under_way| *under_way != epoch) {
            return Next::Idle;
        }
        let not_before = match &self.mood {
            Mood::Failing { retry_at, .. } if in_flight > 0 => paced.max(*retry_at),
            Mood::Failing { retry_at, .. } => *retry_at,
            _ if in_flight > 0 => paced,
            _ => self.last_sent + SHORTEST_PAUSE,
        };
        if now < not_before {
            return Next::Wait(not_before);
        }
        if let Mood::Failing { retries, retry_at, .. } = &mut self.mood {
            *retry_at = now + retries.next().unwrap_or(SLOWEST_RETRY);
        }
        self.order.remove(&first);
        let Some(item) = self.queue.get_mut(&key) else { return Next::Idle };
        item.sent = Some(now);
        item.tries = item.tries.saturating_add(1);
        self.sent.insert(key, epoch);
        self.last_sent = now;
        Next::Send(key, item.report.clone())
    }

    /// A request has ended. What became of its report, if that is settled now, and whether it is worth a log line.
    pub fn done(&mut self, key: Key, outcome: Outcome) -> (Option<Settled>, Option<News>) {
        let Some(item) = self.queue.get_mut(&key) else { return (None, None) };
        let Some(sent) = item.sent.take() else { return (None, None) };
        self.sent.remove(&key);
        let settled = match outcome {
            Outcome::Accepted => {
                self.accepted_since = self.accepted_since.max(sent);
                self.acceptances += 1;
                let before = std::mem::replace(&mut self.mood, Mood::Accepting);
                let news = match before {
                    Mood::Accepting => None,
                    _ => Some(News::Accepting { dropped: std::mem::take(&mut self.dropped) }),
                };
                (Some(Settled::Accepted), news)
            }
            Outcome::Rejected(reason) => {
                item.rejected += 1;
                if item.rejected < TRIES && !matches!(self.mood, Mood::Rejecting(_)) {
                    (None, self.failing(reason, sent))
                } else {
                    self.rejecting(reason)
                }
            }
            Outcome::Doubtful(Doubt { reason, tries, proofs }) => {
                item.doubts = item.doubts.saturating_add(1);
                let alone = self.acceptances > item.doubted_at && item.doubts > 1;
                item.proofs = item.proofs.saturating_add(u32::from(alone));
                item.doubted_at = self.acceptances;
                if item.doubts < tries {
                    (None, self.failing(reason, sent))
                } else if item.proofs < proofs {
                    item.demoted = item.doubts;
                    (None, self.failing(reason, sent))
                } else {
                    self.rejecting(reason)
                }
            }
            Outcome::Invalid(reason) => {
                let is_new = self.invalid.replace(reason.clone()).as_ref() != Some(&reason);
                let news = is_new.then(|| News::Invalid(reason.clone()));
                (Some(Settled::Rejected(reason)), news)
            }
            Outcome::CommitError(_) if matches!(self.mood, Mood::Accepting) && sent < self.accepted_since => {
                // It hung while the API did, and says nothing of it now.
                (None, None)
            }
            Outcome::CommitError(reason) => (None, self.failing(reason, sent)),
            Outcome::Stale(Stale { epoch, .. }) => {
                (None, self.failing(format!("it has reports of the later epoch {epoch}"), sent))
            }
        };
        match &settled.0 {
            None => self.wait_again(key),
            Some(_) => drop(self.queue.remove(&key)),
        }
        if settled.0 == Some(Settled::Accepted) {
            self.promote_all();
        }
        settled
    }

    /// Puts a report that was under way among those that wait.
    fn wait_again(&mut self, key: Key) {
        if let Some(item) = self.queue.get(&key) {
            self.order.insert((item.demoted, item.epoch, key));
        }
    }

    /// Restores the order after an acceptance: the API works, so those that were passed over are next.
    fn promote_all(&mut self) {
        let demoted: Vec<_> = self.order.range((1, i64::MIN, (0, 0))..).copied().collect();
        for place @ (_, epoch, key) in demoted {
            self.order.remove(&place);
            self.order.insert((0, epoch, key));
            if let Some(item) = self.queue.get_mut(&key) {
                item.demoted = 0;
            }
        }
    }

    /// The API will never take this report.
    fn rejecting(&mut self, reason: String) -> (Option<Settled>, Option<News>) {
        let known = matches!(&self.mood, Mood::Rejecting(known) if *known == reason);
        self.mood = Mood::Rejecting(reason.clone());
        let news = (!known).then(|| News::Rejecting(reason.clone()));
        (Some(Settled::Rejected(reason)), news)
    }

    /// The API has failed with a request that was `sent` then.
    fn failing(&mut self, reason: String, sent: BootInstant) -> Option<News> {
        if let Mood::Failing { reason: known, .. } = &mut self.mood {
            let news = (*known != reason).then(|| News::Failing(reason.clone()));
            *known = reason;
            return news;
        }
        // Jitter doubles it at most.
        let slowest = (self.period / 3).clamp(FIRST_RETRY / 2, SLOWEST_RETRY);
        let mut retries = ExponentialBuilder::new()
            .with_min_delay(FIRST_RETRY.min(slowest))
            .with_max_delay(slowest)
            .without_max_times()
            .with_jitter()
            .build();
        // From when it was sent: who has waited for an answer in vain has waited enough.
        let retry_at = sent + retries.next().unwrap_or(slowest);
        self.mood = Mood::Failing { reason: reason.clone(), retries, retry_at };
        Some(News::Failing(reason))
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

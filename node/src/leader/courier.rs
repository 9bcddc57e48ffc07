//! Which report is sent when: in order, one after the other, with back-off. Pure; driven by [`super::deliver`].
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

use std::collections::BTreeMap;
use std::time::Duration;

use atalaya_recipes::clock::Moment;
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
    /// Not this time: refused, no answer, or an error on its side.
    Failed(String),
}

/// Which report: its cycle, and its place among those of that cycle. They are sent in this order.
pub type Key = (u64, usize);

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next<R> {
    /// Send this report, and tell [`Courier::done`] what became of it.
    Send(Key, R),
    /// Nothing before this moment, unless a request ends or a report comes.
    Wait(Moment),
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
    /// It accepts reports again; so many were dropped meanwhile.
    Accepting {
        /// Reports that the queue had no room for.
        dropped: u64,
    },
}

#[derive(Debug)]
enum Mood {
    Accepting,
    Failing { reason: String, retries: ExponentialBackoff, retry_at: Moment },
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
    sent: Option<Moment>,
    /// How often it was sent.
    tries: u32,
    /// How often it was rejected.
    rejected: u32,
}

/// The reports on their way.
#[derive(Debug)]
pub struct Courier<R> {
    /// Those that wait, and those under way.
    queue: BTreeMap<Key, Item<R>>,
    in_flight: usize,
    /// When the last request was sent.
    last_sent: Moment,
    /// When the newest of the accepted requests was sent.
    accepted_since: Moment,
    dropped: u64,
    period: Duration,
    mood: Mood,
}

impl<R: Clone> Courier<R> {
    /// An empty one, for reports that come once a `period`.
    pub fn new(period: Duration) -> Courier<R> {
        let long_ago = Moment::at(Duration::ZERO);
        Courier {
            queue: BTreeMap::new(),
            in_flight: 0,
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
        self.queue.insert(key, Item { report, epoch, sent: None, tries: 0, rejected: 0 });
    }

    /// A report is not to be sent any more; if it is under way, its outcome tells nothing. `dropped`: for want of room.
    pub fn forget(&mut self, key: Key, dropped: bool) {
        if let Some(item) = self.queue.remove(&key) {
            self.dropped += u64::from(dropped);
            self.in_flight -= usize::from(item.sent.is_some());
        }
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
        self.in_flight = 0;
        for item in self.queue.values_mut() {
            item.sent = None;
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Moment) -> Next<R> {
        if self.in_flight >= AT_ONCE {
            return Next::Idle;
        }
        let under_way = self.queue.values().find(|item| item.sent.is_some()).map(|item| item.epoch);
        let paced = self.last_sent + self.timeout() / (AT_ONCE as u32 - 1);
        let Some((key, item)) = self.queue.iter_mut().find(|(_, item)| item.sent.is_none()) else {
            return Next::Idle;
        };
        if under_way.is_some_and(|epoch| epoch != item.epoch) {
            return Next::Idle;
        }
        let not_before = match &self.mood {
            Mood::Failing { retry_at, .. } if self.in_flight > 0 => paced.max(*retry_at),
            Mood::Failing { retry_at, .. } => *retry_at,
            _ if self.in_flight > 0 => paced,
            _ => self.last_sent + SHORTEST_PAUSE,
        };
        if now < not_before {
            return Next::Wait(not_before);
        }
        if let Mood::Failing { retries, retry_at, .. } = &mut self.mood {
            *retry_at = now + retries.next().unwrap_or(SLOWEST_RETRY);
        }
        item.sent = Some(now);
        item.tries = item.tries.saturating_add(1);
        self.in_flight += 1;
        self.last_sent = now;
        Next::Send(*key, item.report.clone())
    }

    /// A request has ended. What became of its report, if that is settled now, and whether it is worth a log line.
    pub fn done(&mut self, key: Key, outcome: Outcome) -> (Option<Settled>, Option<News>) {
        let Some(item) = self.queue.get_mut(&key) else { return (None, None) };
        let Some(sent) = item.sent.take() else { return (None, None) };
        self.in_flight -= 1;
        match outcome {
            Outcome::Accepted => {
                self.queue.remove(&key);
                self.accepted_since = self.accepted_since.max(sent);
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
                    return (None, self.failing(reason, sent));
                }
                self.queue.remove(&key);
                let known = matches!(&self.mood, Mood::Rejecting(known) if *known == reason);
                self.mood = Mood::Rejecting(reason.clone());
                let news = (!known).then(|| News::Rejecting(reason.clone()));
                (Some(Settled::Rejected(reason)), news)
            }
            Outcome::Failed(_) if matches!(self.mood, Mood::Accepting) && sent < self.accepted_since => {
                // It hung while the API did, and says nothing of it now.
                (None, None)
            }
            Outcome::Failed(reason) => (None, self.failing(reason, sent)),
        }
    }

    /// The API has failed with a request that was `sent` then.
    fn failing(&mut self, reason: String, sent: Moment) -> Option<News> {
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
#[path = "courier_tests.rs"]
mod tests;

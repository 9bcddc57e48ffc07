//! Which report is sent when: a bounded queue, a few requests at once, back-off. Pure; driven by [`super::deliver`].
//!
//! A slow API is sent several reports at once, so that it may take six periods for an answer and still keep up. While it
//! fails, it is tried at intervals that grow to half a period.
//!
//! An API that hangs takes requests and never answers them; when it is back, reports must resume within a period, and
//! not when those requests time out. So requests that may hang never take all places: beyond a first few, and beside
//! others while it fails, requests are sent at a pace at which the oldest has timed out before the last place is taken.

use std::collections::BTreeMap;
use std::time::Duration;

use atalaya_recipes::clock::Moment;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Reports kept while the API is away; the oldest go first.
pub const LARGEST_QUEUE: usize = 10_000;
/// Requests that are sent at once, as soon as there are reports, while the API works.
const BURST: usize = 8;
/// Requests at a pace that are under way at most: one more than the pauses between them that a timeout has.
const PACED: usize = 8;
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

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next<R> {
    /// Send this report, and tell [`Courier::done`] what became of it.
    Send(u64, R),
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
    /// It rejects reports.
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

/// The reports on their way.
#[derive(Debug)]
pub struct Courier<R> {
    /// By number: those that wait, and those under way, with the moment when they were sent.
    queue: BTreeMap<u64, (R, Option<Moment>)>,
    next: u64,
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
            next: 0,
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

    /// Reports that have not been accepted.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// A new report. If the queue is full, the oldest that is not being sent makes room.
    pub fn push(&mut self, report: R) {
        if self.queue.len() >= LARGEST_QUEUE
            && let Some(oldest) =
                self.queue.iter().find(|(_, (_, sent))| sent.is_none()).map(|(number, _)| *number)
        {
            self.queue.remove(&oldest);
            self.dropped += 1;
        }
        self.queue.insert(self.next, (report, None));
        self.next += 1;
    }

    /// Requests that were under way have been cut off, their outcome unknown: they are sent again.
    pub fn interrupted(&mut self) {
        self.in_flight = 0;
        for (_, sent) in self.queue.values_mut() {
            *sent = None;
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Moment) -> Next<R> {
        if self.in_flight >= BURST + PACED {
            return Next::Idle;
        }
        let paced = self.last_sent + self.timeout() / (PACED as u32 - 1);
        let Some((number, (report, sent))) = self.queue.iter_mut().find(|(_, (_, sent))| sent.is_none())
        else {
            return Next::Idle;
        };
        let not_before = match &self.mood {
            Mood::Failing { retry_at, .. } if self.in_flight > 0 => paced.max(*retry_at),
            Mood::Failing { retry_at, .. } => *retry_at,
            Mood::Accepting | Mood::Rejecting(_) if self.in_flight < BURST => now,
            Mood::Accepting | Mood::Rejecting(_) => paced,
        };
        if now < not_before {
            return Next::Wait(not_before);
        }
        if let Mood::Failing { retries, retry_at, .. } = &mut self.mood {
            *retry_at = now + retries.next().unwrap_or(SLOWEST_RETRY);
        }
        *sent = Some(now);
        self.in_flight += 1;
        self.last_sent = now;
        Next::Send(*number, report.clone())
    }

    /// A request has ended.
    pub fn done(&mut self, number: u64, outcome: Outcome, now: Moment) -> Option<News> {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Accepted => {
                let sent = self.queue.remove(&number).and_then(|(_, sent)| sent);
                self.accepted_since = self.accepted_since.max(sent.unwrap_or(now));
                if matches!(self.mood, Mood::Accepting) {
                    return None;
                }
                self.mood = Mood::Accepting;
                Some(News::Accepting { dropped: std::mem::take(&mut self.dropped) })
            }
            Outcome::Rejected(reason) => {
                self.queue.remove(&number);
                if matches!(&self.mood, Mood::Rejecting(known) if *known == reason) {
                    return None;
                }
                self.mood = Mood::Rejecting(reason.clone());
                Some(News::Rejecting(reason))
            }
            Outcome::Failed(reason) => {
                let sent = self.queue.get_mut(&number).and_then(|(_, sent)| sent.take()).unwrap_or(now);
                if matches!(self.mood, Mood::Accepting) && sent < self.accepted_since {
                    // It hung while the API did, and says nothing of it now.
                    return None;
                }
                if let Mood::Failing { reason: known, .. } = &mut self.mood {
                    let news = (*known != reason).then(|| News::Failing(reason.clone()));
                    *known = reason;
                    return news;
                }
                let slowest = (self.period / 2).clamp(FIRST_RETRY, SLOWEST_RETRY);
                let mut retries = ExponentialBuilder::new()
                    .with_min_delay(FIRST_RETRY.min(slowest))
                    .with_max_delay(slowest)
                    .without_max_times()
                    .build();
                // From when it was sent: who has waited for an answer in vain has waited enough.
                let retry_at = sent + retries.next().unwrap_or(slowest);
                self.mood = Mood::Failing { reason: reason.clone(), retries, retry_at };
                Some(News::Failing(reason))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    fn failed() -> Outcome {
        Outcome::Failed("refused".into())
    }

    #[test]
    fn a_failed_report_is_sent_again_before_newer_ones() {
        let mut courier = Courier::new(PERIOD);
        courier.push('a');
        assert_eq!(courier.next(ms(0)), Next::Send(0, 'a'));
        assert_eq!(courier.next(ms(0)), Next::Idle);
        assert_eq!(courier.done(0, failed(), ms(10)), Some(News::Failing("refused".into())));
        courier.push('b');
        assert_eq!(courier.next(ms(10)), Next::Wait(ms(100)));
        assert_eq!(courier.next(ms(100)), Next::Send(0, 'a'));
        assert_eq!(courier.done(0, failed(), ms(120)), None, "known already");
        assert!(matches!(courier.next(ms(120)), Next::Wait(_)));
        assert_eq!(courier.next(ms(700)), Next::Send(0, 'a'));
        assert_eq!(courier.done(0, Outcome::Accepted, ms(701)), Some(News::Accepting { dropped: 0 }));
        assert_eq!(courier.next(ms(701)), Next::Send(1, 'b'));
        assert_eq!(courier.done(1, Outcome::Accepted, ms(702)), None);
        assert_eq!(courier.waiting(), 0);
    }

    #[test]
    fn an_old_request_that_times_out_says_nothing_of_an_api_that_has_accepted_since() {
        let mut courier = Courier::new(PERIOD);
        for (report, at) in [('a', 0), ('b', 1_000), ('c', 2_000)] {
            courier.push(report);
            assert!(matches!(courier.next(ms(at)), Next::Send(..)));
        }
        assert_eq!(courier.done(2, Outcome::Accepted, ms(2_100)), None);
        assert_eq!(courier.done(0, failed(), ms(6_000)), None, "sent before the API was back");
        assert_eq!(courier.next(ms(6_000)), Next::Send(0, 'a'), "at once: the API works");
        assert_eq!(courier.done(0, failed(), ms(6_010)), Some(News::Failing("refused".into())));
        assert_eq!(courier.done(1, failed(), ms(7_000)), None, "known already");
    }

    #[test]
    fn a_rejected_report_is_not_sent_again() {
        let mut courier = Courier::new(PERIOD);
        for report in ['a', 'b'] {
            courier.push(report);
            let Next::Send(number, sent) = courier.next(ms(0)) else { panic!("nothing to send") };
            assert_eq!(sent, report);
            let news = courier.done(number, Outcome::Rejected("404".into()), ms(1));
            assert_eq!(news.is_some(), report == 'a', "said once");
        }
        assert_eq!(courier.next(ms(2)), Next::Idle);
    }

    #[test]
    fn the_queue_is_bounded_and_says_what_it_dropped() {
        let mut courier = Courier::new(PERIOD);
        courier.push(0);
        assert!(matches!(courier.next(ms(0)), Next::Send(0, 0)));
        courier.done(0, failed(), ms(0));
        for report in 1..=LARGEST_QUEUE as u64 + 4 {
            courier.push(report);
        }
        assert_eq!(courier.waiting(), LARGEST_QUEUE);
        let Next::Send(number, report) = courier.next(ms(60_000)) else { panic!("nothing to send") };
        assert_eq!(report, 5, "the oldest five had to go");
        assert_eq!(courier.done(number, Outcome::Accepted, ms(60_000)), Some(News::Accepting { dropped: 5 }));
    }

    #[test]
    fn what_was_cut_off_is_sent_again() {
        let mut courier = Courier::new(PERIOD);
        courier.push('a');
        assert_eq!(courier.next(ms(0)), Next::Send(0, 'a'));
        courier.interrupted();
        assert_eq!(courier.next(ms(0)), Next::Send(0, 'a'));
    }

    #[derive(Clone, Copy, Debug)]
    enum Api {
        Works,
        Refuses,
        Hangs,
    }

    /// Plays an API through `phases`, each so many milliseconds long, after which it works; gives when it began to work
    /// and when the first report got through after that.
    fn play(period: Duration, phases: &[(Api, u64)]) -> (u64, u64) {
        let mut courier = Courier::new(period);
        let (timeout, period) = (courier.timeout().as_millis() as u64, period.as_millis() as u64);
        let back: u64 = phases.iter().map(|(_, length)| length).sum();
        let mut hanging: Vec<(u64, u64)> = Vec::new();
        for now in 0..back + 60_000 {
            if now % period == 0 {
                courier.push(now);
            }
            let (over, rest): (Vec<_>, Vec<_>) =
                hanging.into_iter().partition(|(sent, _)| now >= sent + timeout);
            hanging = rest;
            for (_, number) in over {
                courier.done(number, Outcome::Failed("no answer".into()), ms(now));
            }
            let mut until = 0;
            let phase = phases.iter().find(|(_, length)| {
                until += length;
                now < until
            });
            while let Next::Send(number, _) = courier.next(ms(now)) {
                match phase.map(|(api, _)| *api) {
                    None => return (back, now),
                    Some(Api::Works) => drop(courier.done(number, Outcome::Accepted, ms(now))),
                    Some(Api::Refuses) => drop(courier.done(number, failed(), ms(now))),
                    Some(Api::Hangs) => hanging.push((now, number)),
                }
            }
        }
        (back, u64::MAX)
    }

    #[test]
    fn reports_resume_in_time_when_a_retry_falls_on_a_timeout() {
        for (period, hangs) in [(1_167, 26_842), (1_307, 6_536), (1_007, 5_036)] {
            let (back, first) = play(Duration::from_millis(period), &[(Api::Hangs, hangs)]);
            assert!(first <= back + period, "{} ms after the return, at a period of {period}", first - back);
        }
    }

    fn phase() -> impl Strategy<Value = (Api, u64)> {
        (prop_oneof![Just(Api::Works), Just(Api::Refuses), Just(Api::Hangs)], 1u64..30_000)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn reports_resume_within_a_period_of_the_apis_return(period in 100u64..6_000, phases in prop::collection::vec(phase(), 1..6)) {
            let (back, first) = play(Duration::from_millis(period), &phases);
            prop_assert!(first <= back + period + 1, "{} ms after the return", first - back);
        }

        /// Whatever the outcomes, each report is accepted or rejected once, or still waits, and sending never ends.
        #[test]
        fn nothing_is_lost_and_nothing_stuck(outcomes in prop::collection::vec(0u8..3, 0..200)) {
            let mut courier = Courier::new(PERIOD);
            let (mut now, mut settled) = (0, Vec::new());
            for (report, outcome) in outcomes.iter().enumerate() {
                courier.push(report);
                now += 1_000;
                while let Next::Send(number, report) = courier.next(ms(now)) {
                    let outcome = match outcome { 0 => Outcome::Accepted, 1 => Outcome::Rejected("no".into()), _ => failed() };
                    if !matches!(outcome, Outcome::Failed(_)) { settled.push(report); }
                    courier.done(number, outcome, ms(now));
                }
            }
            for _ in 0..2 * outcomes.len() + 2 {
                now += 5_000;
                while let Next::Send(number, report) = courier.next(ms(now)) {
                    settled.push(report);
                    courier.done(number, Outcome::Accepted, ms(now));
                }
            }
            settled.sort_unstable();
            prop_assert_eq!(settled, (0..outcomes.len()).collect::<Vec<_>>());
            prop_assert_eq!(courier.waiting(), 0);
        }
    }
}

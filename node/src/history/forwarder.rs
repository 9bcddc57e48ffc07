//! Decides how many samples the next request has, when it is sent, and what its outcome means for them. No I/O; driven by
//! [`super::sender`].
//!
//! Batches are sent one after the other, so samples arrive in order. While there is a backlog, the pause after each
//! request is as long as the request was: half of the time and of the receiver is left for reports and other nodes.
//! Without a backlog, there is at most one request per second.
//!
//! A batch that the receiver refuses as a whole is halved, down to one sample. If that one is refused several times, it
//! is dropped. A receiver that refuses everything therefore costs one sample per backoff, not all of them.

use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::model::sample_request::Refused;

/// Maximum number of samples in a request.
pub(super) const MAX_BATCH: usize = 1_000;
/// Minimum time between the starts of two requests without a backlog.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum pause between two requests.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// Number of times that a single sample must be refused.
const MAX_TRIES: u32 = 3;
const MIN_BACKOFF: Duration = Duration::from_millis(250);
/// Jitter doubles it at most.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The consumer has stored the samples, except those that it can never accept.
    Answered,
    /// It refuses the whole request.
    Refused(String),
    /// It has not stored the samples, or that is not known.
    Failed(String),
}

/// Samples of a batch that a consumer can never accept. Not all of them may be `listed`.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) count: u64,
    pub(super) listed: Vec<Refused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Delete the samples: the consumer has them.
    Delete,
    /// Delete the only sample of the batch: it can never be delivered.
    Drop,
    /// Keep the samples: they are sent again.
    Keep,
}

#[derive(Debug)]
pub(super) struct Forwarder {
    /// Maximum number of samples of the next request.
    max_batch: usize,
    /// Number of times that the oldest sample was refused alone.
    tries: u32,
    /// `None`: the last request was answered.
    backoff: Option<ExponentialBackoff>,
    not_before: BootInstant,
}

impl Default for Forwarder {
    fn default() -> Forwarder {
        Forwarder { max_batch: MAX_BATCH, tries: 0, backoff: None, not_before: BootInstant::default() }
    }
}

impl Forwarder {
    /// Returns the maximum number of samples of a request that is sent now, or the time to wait.
    pub(super) fn next(&self, now: BootInstant) -> Result<usize, Duration> {
        let wait = self.not_before.since(now);
        if wait.is_zero() { Ok(self.max_batch) } else { Err(wait) }
    }

    /// Records the outcome of a request with `samples` samples that was sent at `sent`. `has_more`: there are others.
    pub(super) fn on_outcome(
        &mut self,
        outcome: &Outcome,
        (samples, has_more): (usize, bool),
        sent: BootInstant,
        now: BootInstant,
    ) -> Decision {
        match outcome {
            Outcome::Answered => {
                *self = Forwarder { max_batch: (self.max_batch * 2).min(MAX_BATCH), ..Forwarder::default() };
                let paced = now + now.since(sent).max(MIN_PAUSE);
                self.not_before = if has_more { paced } else { sent + MIN_INTERVAL };
                Decision::Delete
            }
            Outcome::Refused(_) if samples > 1 => {
                self.max_batch = samples / 2;
                self.not_before = now + MIN_PAUSE;
                Decision::Keep
            }
            Outcome::Refused(_) => {
                self.tries += 1;
                self.back_off(now);
                if self.tries < MAX_TRIES {
                    return Decision::Keep;
                }
                self.tries = 0;
                Decision::Drop
            }
            Outcome::Failed(_) => {
                self.back_off(now);
                Decision::Keep
            }
        }
    }

    fn back_off(&mut self, now: BootInstant) {
        let backoff = self.backoff.get_or_insert_with(|| {
            ExponentialBuilder::new()
                .with_min_delay(MIN_BACKOFF)
                .with_max_delay(MAX_BACKOFF)
                .without_max_times()
                .with_jitter()
                .build()
        });
        self.not_before = now + backoff.next().unwrap_or(MAX_BACKOFF);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const LATENCY: Duration = Duration::from_millis(20);

    fn refused() -> Outcome {
        Outcome::Refused("400".to_owned())
    }

    fn failed() -> Outcome {
        Outcome::Failed("503".to_owned())
    }

    /// A ring, a collector, and the time. Numbers are samples; the collector refuses each request with a bad one.
    struct Model {
        forwarder: Forwarder,
        now: BootInstant,
        ring: VecDeque<u32>,
        delivered: Vec<u32>,
        dropped: Vec<u32>,
        requests: usize,
    }

    impl Model {
        fn new(samples: u32) -> Model {
            Model {
                forwarder: Forwarder::default(),
                now: BootInstant::default(),
                ring: (0..samples).collect(),
                delivered: Vec::new(),
                dropped: Vec::new(),
                requests: 0,
            }
        }

        /// Waits until a request may be sent, and sends it.
        fn step(&mut self, is_bad: impl Fn(u32) -> bool, is_down: bool) {
            let max = loop {
                match self.forwarder.next(self.now) {
                    Ok(max) => break max,
                    Err(wait) => self.now = self.now + wait,
                }
            };
            assert!((1..=MAX_BATCH).contains(&max));
            let batch: Vec<u32> = self.ring.iter().take(max).copied().collect();
            let has_more = self.ring.len() > batch.len();
            let outcome = match batch.iter().any(|sample| is_bad(*sample)) {
                _ if is_down => failed(),
                true => refused(),
                false => Outcome::Answered,
            };
            let (sent, end) = (self.now, self.now + LATENCY);
            let decision = self.forwarder.on_outcome(&outcome, (batch.len(), has_more), sent, end);
            (self.now, self.requests) = (end, self.requests + 1);
            match decision {
                Decision::Keep => assert_ne!(outcome, Outcome::Answered),
                Decision::Delete => {
                    assert_eq!(outcome, Outcome::Answered);
                    self.delivered.extend(batch.iter());
                    self.ring.drain(..batch.len());
                }
                Decision::Drop => {
                    assert_eq!((batch.len(), &outcome), (1, &refused()));
                    self.dropped.extend(self.ring.pop_front());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn forwarder_delivers_all_good_samples_in_order_and_drops_only_bad_ones(
            samples in 1_u32..3_000,
            bad in prop::collection::btree_set(0_u32..3_000, 0..4),
            down in prop::collection::vec(any::<bool>(), 0..30),
        ) {
            let mut model = Model::new(samples);
            let mut down = down.into_iter();
            while !model.ring.is_empty() {
                model.step(|sample| bad.contains(&sample), down.next().unwrap_or(false));
                prop_assert!(model.requests < 200, "too many requests");
            }
            let (dropped, delivered): (Vec<u32>, Vec<u32>) = (0..samples).partition(|sample| bad.contains(sample));
            prop_assert_eq!(model.delivered, delivered);
            prop_assert_eq!(model.dropped, dropped);
        }
    }

    #[test]
    fn backlog_is_paced_and_a_single_sample_waits_for_its_second() {
        let mut model = Model::new(10_000);
        (0..10).for_each(|_| model.step(|_| false, false));
        assert!(model.ring.is_empty());
        // Ten requests of 20 ms with nine pauses of 50 ms.
        assert_eq!(model.now.since(BootInstant::default()), 10 * LATENCY + 9 * MIN_PAUSE);
        assert_eq!(model.forwarder.next(model.now), Err(MIN_INTERVAL - LATENCY));
        // A slow collector gets a pause as long as its answer took.
        let mut forwarder = Forwarder::default();
        let (sent, slow) = (BootInstant::default(), Duration::from_secs(8));
        forwarder.on_outcome(&Outcome::Answered, (MAX_BATCH, true), sent, sent + slow);
        assert_eq!(forwarder.next(sent + slow), Err(slow));
    }

    #[test]
    fn backoff_grows_to_its_maximum_and_an_answer_resets_it() {
        let (mut forwarder, now) = (Forwarder::default(), BootInstant::default());
        let wait = |forwarder: &mut Forwarder| {
            assert_eq!(forwarder.on_outcome(&failed(), (5, false), now, now), Decision::Keep);
            forwarder.next(now).unwrap_err()
        };
        assert!((MIN_BACKOFF..=2 * MIN_BACKOFF).contains(&wait(&mut forwarder)));
        (0..20).for_each(|_| assert!(wait(&mut forwarder) <= 2 * MAX_BACKOFF));
        assert!(wait(&mut forwarder) >= MAX_BACKOFF);
        forwarder.on_outcome(&Outcome::Answered, (5, false), now, now);
        assert!(wait(&mut forwarder) <= 2 * MIN_BACKOFF);
    }

    #[test]
    fn receiver_that_refuses_everything_costs_one_sample_per_backoff() {
        let mut model = Model::new(5_000);
        let begin = model.now;
        while model.now.since(begin) < Duration::from_secs(3_600) {
            model.step(|_| true, false);
        }
        assert!(model.dropped.len() <= 3_600 / 15 + 5, "{} dropped in an hour", model.dropped.len());
    }
}

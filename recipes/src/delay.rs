//! Delays between retries: exponential backoff with jitter, and a bound on repeated log lines.

use std::collections::BTreeSet;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Maximum number of reasons that one [`ReasonLog`] accepts.
pub(crate) const MAX_REASONS: usize = 8;

/// Delays that double from `min` to `max`. A random part of up to the delay itself is added to each, so that clients
/// that failed together do not retry together.
#[derive(Debug)]
pub(crate) struct Delays {
    min: Duration,
    max: Duration,
    backoff: Option<ExponentialBackoff>,
}

impl Delays {
    pub(crate) const fn new(min: Duration, max: Duration) -> Delays {
        Delays { min, max, backoff: None }
    }

    /// Starts again with the shortest delay.
    pub(crate) fn reset(&mut self) {
        self.backoff = None;
    }

    pub(crate) fn next_delay(&mut self) -> Duration {
        let (min, max) = (self.min, self.max);
        let backoff = self.backoff.get_or_insert_with(|| {
            let delays = ExponentialBuilder::new().with_min_delay(min).with_max_delay(max);
            delays.without_max_times().with_jitter().build()
        });
        backoff.next().unwrap_or(max)
    }
}

/// Reasons of failures that were logged, so that each is logged once.
#[derive(Debug, Default)]
pub(crate) struct ReasonLog(BTreeSet<String>);

impl ReasonLog {
    /// Returns true if `reason` should be logged: it is new, and at most [`MAX_REASONS`] were accepted.
    pub(crate) fn accepts(&mut self, reason: String) -> bool {
        self.0.len() < MAX_REASONS && self.0.insert(reason)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

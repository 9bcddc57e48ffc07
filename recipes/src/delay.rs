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
    max: Duration,
    backoff: ExponentialBackoff,
}

impl Delays {
    pub(crate) fn new(min: Duration, max: Duration) -> Delays {
        let delays = ExponentialBuilder::new().with_min_delay(min).with_max_delay(max).without_max_times();
        Delays { max, backoff: delays.with_jitter().build() }
    }

    pub(crate) fn next_delay(&mut self) -> Duration {
        self.backoff.next().unwrap_or(self.max)
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

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

//! Rate limit of the log lines about refused requests. Pure: time is passed in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Refused;

/// Interval between two log lines about the same kind of refusal.
const INTERVAL: Duration = Duration::from_secs(10);

/// Time of the last log line of each kind, and number of refusals since then.
#[derive(Default)]
pub(crate) struct RefusalLog {
    logged: Mutex<HashMap<Refused, (Instant, u64)>>,
}

impl RefusalLog {
    /// Returns the number of refusals of this kind since the last log line, or `None` if this one must not be logged.
    pub(crate) fn due(&self, refused: Refused, now: Instant) -> Option<u64> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        match logged.get_mut(&refused) {
            Some((last, unlogged)) if now.saturating_duration_since(*last) < INTERVAL => {
                *unlogged += 1;
                None
            }
            Some((last, unlogged)) => {
                *last = now;
                Some(std::mem::take(unlogged))
            }
            None => {
                logged.insert(refused, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_logged_once_per_interval_with_the_number_of_suppressed_ones() {
        let (refusals, start) = (RefusalLog::default(), Instant::now());
        assert_eq!(refusals.due(Refused::host, start), Some(0));
        for _ in 0..5 {
            assert_eq!(refusals.due(Refused::host, start + Duration::from_secs(1)), None);
        }
        assert_eq!(refusals.due(Refused::token_unknown, start), Some(0), "each kind has its own interval");
        assert_eq!(refusals.due(Refused::host, start + INTERVAL), Some(5));
        assert_eq!(refusals.due(Refused::host, start + INTERVAL + INTERVAL), Some(0));
    }
}

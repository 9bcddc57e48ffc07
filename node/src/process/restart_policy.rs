//! Restart policy of `atalaya run --supervised`. No I/O.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

const MIN_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);
/// Uptime after which a process counts as healthy and the backoff starts again at [`MIN_DELAY`].
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Exit codes that a restart cannot change: success, wrong usage, id in use, wrong configuration.
const FINAL_EXIT_CODES: [i32; 4] = [0, 64, 73, 78];

/// Returns true if a node that ended with `exit_code` should be restarted. `None` means that a signal killed it.
pub(crate) fn should_restart(exit_code: Option<i32>) -> bool {
    exit_code.is_none_or(|code| !FINAL_EXIT_CODES.contains(&code))
}

#[derive(Debug, Default)]
pub(crate) struct RestartBackoff(Option<ExponentialBackoff>);

impl RestartBackoff {
    /// Returns the delay before the next start of a process that ran for `uptime`.
    pub(crate) fn next_delay(&mut self, uptime: Duration) -> Duration {
        if uptime >= HEALTHY_AFTER {
            self.0 = None;
        }
        let delays = ExponentialBuilder::new().with_min_delay(MIN_DELAY).with_max_delay(MAX_DELAY);
        let delays = self.0.get_or_insert_with(|| delays.without_max_times().build());
        // Rounded to milliseconds, because the delay is logged and the exponential factor is a float.
        delays.next().map_or(MAX_DELAY, |delay| Duration::from_millis(delay.as_millis() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policy_does_not_restart_after_final_exit_codes() {
        for code in [0, 64, 73, 78] {
            assert!(!should_restart(Some(code)), "{code}");
        }
        for code in [None, Some(1), Some(69), Some(70), Some(101), Some(137)] {
            assert!(should_restart(code), "{code:?}");
        }
    }

    #[test]
    fn restart_delays_grow_to_the_maximum_and_reset_after_a_healthy_run() {
        let mut backoff = RestartBackoff::default();
        assert_eq!(backoff.next_delay(Duration::ZERO), MIN_DELAY);
        let mut last = MIN_DELAY;
        for _ in 0..100 {
            let delay = backoff.next_delay(HEALTHY_AFTER / 2);
            assert!(delay >= last && delay <= MAX_DELAY, "{delay:?} after {last:?}");
            last = delay;
        }
        assert_eq!(last, MAX_DELAY);
        assert_eq!(backoff.next_delay(HEALTHY_AFTER), MIN_DELAY);
    }
}

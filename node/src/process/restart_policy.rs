//! When a node that has ended is started again. Pure; used by `atalaya run --supervised`.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first pause. A kill now and then costs no more.
const FIRST: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST: Duration = Duration::from_secs(10);
/// Whoever has lived for so long is as good as new.
const STEADY: Duration = Duration::from_secs(10);

/// The exit codes that another try would give again: done, and the command line, the id or the configuration are wrong.
const FINAL: [i32; 4] = [0, 64, 73, 78];

/// Whether a node that has ended with this exit code (`None`: by a signal) is to be started again.
pub fn is_worth_it(code: Option<i32>) -> bool {
    code.is_none_or(|code| !FINAL.contains(&code))
}

/// The pauses before one restart after the other.
#[derive(Debug)]
pub struct Restarts {
    pauses: ExponentialBackoff,
}

impl Default for Restarts {
    fn default() -> Restarts {
        Restarts { pauses: pauses() }
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new().with_min_delay(FIRST).with_max_delay(LONGEST).without_max_times().build()
}

impl Restarts {
    /// How long to wait before the next start, after a process that has lived for `lived`.
    pub fn pause(&mut self, lived: Duration) -> Duration {
        if lived >= STEADY {
            self.pauses = pauses();
        }
        // Factors are floating-point numbers, and people read this.
        self.pauses.next().map_or(LONGEST, |pause| Duration::from_millis(pause.as_millis() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_try_cannot_mend_is_final() {
        for code in [0, 64, 73, 78] {
            assert!(!is_worth_it(Some(code)), "{code}");
        }
        for code in [None, Some(1), Some(69), Some(70), Some(101), Some(137)] {
            assert!(is_worth_it(code), "{code:?}");
        }
    }

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_steady_life() {
        let mut restarts = Restarts::default();
        assert_eq!(restarts.pause(Duration::ZERO), FIRST);
        let mut last = FIRST;
        for _ in 0..100 {
            let pause = restarts.pause(STEADY / 2);
            assert!(pause >= last && pause <= LONGEST, "{pause:?} after {last:?}");
            last = pause;
        }
        assert_eq!(last, LONGEST);
        assert_eq!(restarts.pause(STEADY), FIRST);
    }
}

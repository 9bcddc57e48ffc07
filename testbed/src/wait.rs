//! Waits for a condition instead of a fixed time.

use std::thread;
use std::time::{Duration, Instant};

/// Calls `probe` until it returns `Some`, with pauses that grow from 2 ms to 50 ms, and returns the value.
///
/// The probe is always called once more after the deadline has passed, so that a slow machine does not turn a condition
/// that holds into a failure.
///
/// # Panics
///
/// At the deadline. The message contains `what`, the awaited condition.
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        let last = start.elapsed() >= deadline;
        if let Some(found) = probe() {
            return found;
        }
        assert!(!last, "{what}: not within {deadline:?}");
        thread::sleep(pause.min(deadline.saturating_sub(start.elapsed())));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_the_probe_finds() {
        let mut asked = 0;
        let found = eventually("the third answer", Duration::from_secs(5), || {
            asked += 1;
            (asked == 3).then_some("here")
        });
        assert_eq!(found, "here");
        assert_eq!(asked, 3);
    }

    #[test]
    #[should_panic(expected = "the moon: not within 20ms")]
    fn names_what_did_not_come() {
        eventually("the moon", Duration::from_millis(20), || None::<()>);
    }

    #[test]
    fn asks_at_least_once_however_short_the_deadline() {
        assert_eq!(eventually("anything", Duration::ZERO, || Some(7)), 7);
    }
}

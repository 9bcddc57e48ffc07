//! Waits for a condition instead of a fixed time.

use std::thread;
use std::time::{Duration, Instant};

const MAX_PAUSE: Duration = Duration::from_millis(50);

/// Pauses between the probes of a condition, from 2 ms to 50 ms. Ends at the deadline: the condition is always probed
/// once more after it, so that a slow machine does not turn a condition that holds into a failure. For async code,
/// which cannot use [`eventually`].
#[derive(Debug)]
pub struct Pauses {
    start: Instant,
    deadline: Duration,
    next: Duration,
    is_over: bool,
}

impl Pauses {
    pub fn until(deadline: Duration) -> Pauses {
        let is_over = deadline.is_zero();
        Pauses { start: Instant::now(), deadline, next: Duration::from_millis(2), is_over }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let left = self.deadline.saturating_sub(self.start.elapsed());
        let is_over = std::mem::replace(&mut self.is_over, left <= self.next);
        let pause = self.next.min(left);
        self.next = (self.next * 2).min(MAX_PAUSE);
        (!is_over).then_some(pause)
    }
}

/// Calls `probe` until it returns `Some`, with [`Pauses`], and returns the value.
///
/// # Panics
///
/// At the deadline. The message contains `what`, the awaited condition.
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let mut pauses = Pauses::until(deadline);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        let Some(pause) = pauses.next() else { panic!("{what}: not within {deadline:?}") };
        thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the moon: not within 20ms")]
    fn names_what_did_not_come() {
        eventually("the moon", Duration::from_millis(20), || None::<()>);
    }
}

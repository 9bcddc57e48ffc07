//! The part of the interface of the crate `async-io` that `zookeeper-client` uses, with Tokio's timers.
//!
//! `Cargo.toml` of the workspace replaces `async-io` by this crate. The original has a thread of its own that waits for
//! timers and sockets, and wakes the thread of the runtime: each response of ZooKeeper woke two threads. See
//! `async-net` for the sockets.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

/// Timer that fires once, in an interval, or never. Must be polled within a Tokio runtime with timers.
#[derive(Debug)]
pub struct Timer {
    /// Time at which the timer fires next; `None`: never.
    when: Option<Instant>,
    /// Time between two firings; `None`: it fires once.
    period: Option<Duration>,
    /// Created when the timer is polled before `when`.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn new(when: Option<Instant>, period: Option<Duration>) -> Timer {
        Timer { when, period, sleep: None }
    }

    /// Returns a timer that never fires.
    pub fn never() -> Timer {
        Timer::new(None, None)
    }

    /// Returns a timer that fires after `duration`.
    pub fn after(duration: Duration) -> Timer {
        Timer::new(Instant::now().checked_add(duration), None)
    }

    /// Returns a timer that fires at `instant`.
    pub fn at(instant: Instant) -> Timer {
        Timer::new(Some(instant), None)
    }

    /// Returns a timer that fires after each `period`.
    pub fn interval(period: Duration) -> Timer {
        Timer::new(Instant::now().checked_add(period), Some(period))
    }
}

/// Completes each time that the timer fires, with the time at which it was due.
impl Future for Timer {
    type Output = Instant;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        let Some(when) = self.when else { return Poll::Pending };
        if Instant::now() < when {
            let deadline = when.into();
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if sleep.deadline() != deadline {
                sleep.as_mut().reset(deadline);
            }
            ready!(sleep.as_mut().poll(cx));
        }
        self.when = self.period.and_then(|period| when.checked_add(period));
        Poll::Ready(when)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maximum time of a test on a busy machine.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn interval_fires_once_per_period_and_catches_up() {
        let start = Instant::now();
        let period = Duration::from_millis(10);
        let mut timer = Timer::interval(period);
        let first = (&mut timer).await;
        assert!(first >= start + period && Instant::now() >= first);
        std::thread::sleep(period * 3);
        for number in 1..=3 {
            assert_eq!((&mut timer).await, first + period * number);
        }
    }

    #[tokio::test]
    async fn timer_fires_once() {
        let when = Instant::now() + Duration::from_millis(1);
        let mut timer = Timer::at(when);
        assert_eq!((&mut timer).await, when);
        tokio::select! {
            _ = &mut timer => panic!("fired again"),
            _ = Timer::never() => panic!("never fires"),
            _ = Timer::after(LONG) => panic!("fires later"),
            _ = Timer::after(Duration::from_millis(20)) => {}
        }
    }
}

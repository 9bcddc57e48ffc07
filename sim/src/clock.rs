//! The clock of a simulated board. The node uses real time; tests use a manual clock and therefore never wait: a
//! driver's delay advances the clock instead. Used by [`crate::SimBus`], by the models' conversion times and by faults.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use embedded_hal::delay::DelayNs;

/// A clock; clones show the same time. It implements embedded-hal's [`DelayNs`], and so is the delay that drivers get.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real(Instant),
    Manual(Arc<Mutex<Duration>>),
}

impl Clock {
    /// Creates a clock that follows real time and starts now.
    pub fn real() -> Clock {
        Clock(Kind::Real(Instant::now()))
    }

    /// Creates a clock that advances only with a sleep, a transfer of bytes on a bus, or [`Clock::advance`].
    pub fn manual() -> Clock {
        Clock(Kind::Manual(Arc::default()))
    }

    /// Returns the time since the start of this clock.
    pub fn now(&self) -> Duration {
        match &self.0 {
            Kind::Real(started) => started.elapsed(),
            Kind::Manual(now) => *now.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Advances a manual clock. Has no effect on a real one.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(now) = &self.0 {
            let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
            *now = now.saturating_add(by);
        }
    }

    /// Waits for `by`: blocks the thread on a real clock, advances a manual one.
    pub fn sleep(&self, by: Duration) {
        match &self.0 {
            Kind::Real(_) => thread::sleep(by),
            Kind::Manual(_) => self.advance(by),
        }
    }
}

impl DelayNs for Clock {
    fn delay_ns(&mut self, ns: u32) {
        self.sleep(Duration::from_nanos(u64::from(ns)));
    }

    fn delay_us(&mut self, us: u32) {
        self.sleep(Duration::from_micros(u64::from(us)));
    }

    fn delay_ms(&mut self, ms: u32) {
        self.sleep(Duration::from_millis(u64::from(ms)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_by_what_is_slept_and_for_all_its_clones() {
        let clock = Clock::manual();
        let mut delay = clock.clone();
        delay.delay_ms(15);
        delay.delay_us(3);
        delay.delay_ns(7);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Duration::new(1, 15_003_007));
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Duration::MAX);
    }

    #[test]
    fn the_real_clock_moves_by_itself_and_cannot_be_moved() {
        let clock = Clock::real();
        let before = clock.now();
        clock.advance(Duration::from_secs(3600));
        clock.sleep(Duration::from_micros(10));
        let passed = clock.now() - before;
        assert!(passed >= Duration::from_micros(10) && passed < Duration::from_secs(3600), "{passed:?}");
    }
}

//! The clock that leases are measured with: one that goes on while the machine is asleep.
//!
//! `std::time::Instant` stands still while a laptop's lid is closed (CLOCK_MONOTONIC), and a leader that wakes up would
//! believe its lease fresh. On Linux a [`BootInstant`] is CLOCK_BOOTTIME (clock_gettime(2)); elsewhere it is the nearest
//! thing that the standard library has.

use std::ops::Add;
use std::time::Duration;

/// A point in time since the machine started, sleep included. Only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The moment that is `since_boot` after the start of the machine: for tests and simulations, which bring their
    /// own time.
    pub const fn at(since_boot: Duration) -> BootInstant {
        BootInstant(since_boot)
    }

    /// Now.
    #[cfg(target_os = "linux")]
    pub fn now() -> BootInstant {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Neither field is negative for this clock; a kernel that says otherwise gets a moment at boot, and no lease.
        BootInstant(Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0)))
    }

    /// Now.
    #[cfg(not(target_os = "linux"))]
    pub fn now() -> BootInstant {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        BootInstant(START.get_or_init(Instant::now).elapsed())
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub fn since(self, earlier: BootInstant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootInstant {
    type Output = BootInstant;

    fn add(self, later: Duration) -> BootInstant {
        BootInstant(self.0.saturating_add(later))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back() {
        let first = BootInstant::now();
        let second = BootInstant::now();
        assert!(second >= first);
        assert_eq!(first.since(second + Duration::from_secs(1)), Duration::ZERO);
    }
}

//! The clock of local leases. It includes the time for which the machine is suspended.
//!
//! On Linux, `std::time::Instant` (CLOCK_MONOTONIC) does not advance while a machine is suspended, so a leader would
//! still trust its lease after it wakes up. A [`BootInstant`] reads CLOCK_BOOTTIME there (clock_gettime(2)), and
//! `std::time::Instant` on other systems.

use std::ops::Add;
use std::time::Duration;

/// A point in time, as the time since the machine was started, including suspended time. Only differences are
/// meaningful.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Returns the instant `since_boot` after the start of the machine. For tests and simulations, which provide their
    /// own time.
    pub const fn at(since_boot: Duration) -> BootInstant {
        BootInstant(since_boot)
    }

    /// Returns the current instant.
    #[cfg(target_os = "linux")]
    pub fn now() -> BootInstant {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Neither field of this clock is negative. If one were, 0 is the safe value: the lease has expired.
        BootInstant(Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0)))
    }

    /// Returns the current instant.
    #[cfg(not(target_os = "linux"))]
    pub fn now() -> BootInstant {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        BootInstant(START.get_or_init(Instant::now).elapsed())
    }

    /// Returns the time that has elapsed since `earlier`, or zero if `earlier` is later.
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
    fn boot_clock_does_not_go_back() {
        let first = BootInstant::now();
        let second = BootInstant::now();
        assert!(second >= first);
        assert_eq!(first.since(second + Duration::from_secs(1)), Duration::ZERO);
    }
}

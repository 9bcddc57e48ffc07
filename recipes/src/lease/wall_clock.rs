//! Wall clock, with which the ends of leases are compared.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::BootInstant;
use crate::lease::record::ClockReading;

/// Converts a duration since 1970 to a `SystemTime`.
pub(super) fn since_epoch(duration: Duration) -> SystemTime {
    UNIX_EPOCH.checked_add(duration).unwrap_or(UNIX_EPOCH)
}

#[derive(Clone)]
pub(super) struct WallClock(pub(super) Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl WallClock {
    pub(super) fn now(&self) -> ClockReading {
        // The order matters; see `ClockReading`.
        let boot = BootInstant::now();
        ClockReading { boot, wall: (self.0)().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

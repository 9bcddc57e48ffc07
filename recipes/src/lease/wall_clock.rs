//! The wall clock that ends are compared with.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::BootInstant;
use crate::lease::record::Now;

/// A time as a wall clock shows it.
pub(super) fn time(since_1970: Duration) -> SystemTime {
    UNIX_EPOCH.checked_add(since_1970).unwrap_or(UNIX_EPOCH)
}

/// A wall clock.
#[derive(Clone)]
pub(super) struct Clock(pub(super) Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    pub(super) fn now(&self) -> Now {
        let moment = BootInstant::now();
        Now { moment, wall: (self.0)().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

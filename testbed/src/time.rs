//! Times in milliseconds since 1970, and processor time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the processor time of this thread, which shows how much work something is, whatever else the machine does.
#[cfg(unix)]
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

pub(crate) fn millis(time: SystemTime) -> i64 {
    whole_millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Parses a time in UTC in the format of the reports (RFC 3339). Returns milliseconds since 1970.
pub(crate) fn millis_of(time: &str) -> Option<i64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    i64::try_from((time.as_nanosecond() + 500_000).div_euclid(1_000_000)).ok()
}

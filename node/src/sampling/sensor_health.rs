//! Health of a sensor, and the decision when to read it again. No I/O; results and times are passed in.
//!
//! A transient fault is retried at once, within the same sample. A sensor that fails in several consecutive samples
//! is probed with exponential backoff of up to a minute, so that a dead sensor does not slow down the others on its
//! bus, and one that is plugged in later is found. The backoff after a panic of a driver starts with the first panic
//! and is longer.

use std::time::{Duration, Instant};

use atalaya_hal::{Cause, ReadError};
use jiff::Timestamp;

use crate::model::health_status::{HealthStatus, SensorState};
use crate::model::text::is_unsafe;

/// Consecutive failed samples after which the backoff starts.
const FAILURES_BEFORE_BACKOFF: u32 = 3;
/// Maximum interval between two probes of a failing sensor, unless the sampling period is longer.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(60);
/// Minimum backoff after the first panic of a driver. Two sampling periods if those are longer.
const PANIC_BACKOFF: Duration = Duration::from_secs(1);
/// Delays before the retries of a transient fault, within one sample.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(60)];
/// Maximum length of an error, in characters. It is stored in a znode and in logs.
const MAX_ERROR_CHARS: usize = 300;

/// Kind of a fault; decides whether and when the sensor is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Noise on the wire, a late answer or a wrong checksum: a retry may succeed.
    Transient,
    /// No chip answers at the address, or the device or file does not exist.
    Absent,
    /// An immediate retry would not help.
    Permanent,
    Panic,
    /// A read has not returned yet. No sample waits for it, so backoff would not make anything faster.
    NoAnswer,
}

/// Reason why a sensor has no reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// One line of at most [`MAX_ERROR_CHARS`] characters, for users.
    pub(crate) text: String,
}

impl Fault {
    /// Returns a fault with `text` as one line, shortened if necessary.
    pub(crate) fn new(kind: FaultKind, text: &str) -> Fault {
        let safe = |c: char| if is_unsafe(c) { ' ' } else { c };
        Fault { kind, text: text.chars().take(MAX_ERROR_CHARS).map(safe).collect() }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Fault {
        let kind = match error.cause() {
            Cause::Bus | Cause::Timeout | Cause::Checksum => FaultKind::Transient,
            Cause::NotPresent => FaultKind::Absent,
            _ => FaultKind::Permanent,
        };
        Fault::new(kind, &error.to_string())
    }
}

/// Returns the delay before the next retry within the same sample, after `tries` reads. `None` means no retry.
pub(crate) fn retry_delay(fault: &Fault, tries: usize) -> Option<Duration> {
    let delay = RETRY_DELAYS.get(tries.checked_sub(1)?)?;
    (fault.kind == FaultKind::Transient).then_some(*delay)
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// The health as it is published.
    pub(crate) status: HealthStatus,
    /// Consecutive failed samples.
    failures: u32,
    /// Panics since the last reading.
    panics: u32,
    /// Earliest time of the next probe; `None` means no restriction.
    not_before: Option<Instant>,
}

impl Health {
    /// Returns true if a sample that starts at `now` should read the sensor.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|time| now >= time)
    }

    /// Returns true if transient faults may be retried within a sample. A sensor in backoff is read only once.
    pub(crate) fn retry_allowed(&self) -> bool {
        self.failures < FAILURES_BEFORE_BACKOFF
    }

    /// Records a successful read at `time`. Returns true if the sensor could not be read before.
    pub(crate) fn on_read(&mut self, time: Timestamp) -> bool {
        let old = std::mem::take(self).status;
        let since = if old.state == SensorState::Ok { old.since } else { Some(time) };
        self.status = HealthStatus { state: SensorState::Ok, since, ..HealthStatus::default() };
        matches!(old.state, SensorState::Failing | SensorState::Absent)
    }

    /// Records that a task uses the bus, so that the sensor was not read. The state and the backoff stay; the error shows
    /// the reason until the next read.
    pub(crate) fn on_bus_in_use(&mut self, error: &str) {
        self.status.error = Some(error.to_owned());
    }

    /// Records a failed read in a sample that started at `start`, and at `time` by the wall clock. Samples are taken
    /// every `period`. Returns true if the sensor could be read before, or failed with another error.
    pub(crate) fn on_failed(
        &mut self,
        fault: &Fault,
        start: Instant,
        period: Duration,
        time: Timestamp,
    ) -> bool {
        if fault.kind != FaultKind::NoAnswer {
            self.failures = self.failures.saturating_add(1);
            self.panics = self.panics.saturating_add(u32::from(fault.kind == FaultKind::Panic));
            let backoff = backoff(self.failures, self.panics, period);
            // Half a period earlier, because samples do not start at exact multiples of the period.
            self.not_before = start.checked_add(backoff.saturating_sub(period / 2));
        }
        let old = &self.status;
        let was_failing = matches!(old.state, SensorState::Failing | SensorState::Absent);
        let is_new = !was_failing || old.error.as_deref() != Some(&fault.text);
        self.status = HealthStatus {
            state: if fault.kind == FaultKind::Absent { SensorState::Absent } else { SensorState::Failing },
            since: if was_failing { old.since } else { Some(time) },
            error: Some(fault.text.clone()),
            count: if was_failing { old.count.saturating_add(1) } else { 1 },
        };
        is_new
    }
}

/// Returns the time until the next probe.
fn backoff(failures: u32, panics: u32, period: Duration) -> Duration {
    let doubled = |first: Duration, times: u32| first.saturating_mul(2u32.saturating_pow(times));
    let after_failures =
        failures.checked_sub(FAILURES_BEFORE_BACKOFF).map_or(Duration::ZERO, |times| doubled(period, times));
    let first = PANIC_BACKOFF.max(period.saturating_mul(2));
    let after_panics = panics.checked_sub(1).map_or(Duration::ZERO, |times| doubled(first, times));
    after_failures.max(after_panics).min(MAX_PROBE_INTERVAL)
}

#[cfg(test)]
#[path = "sensor_health_tests.rs"]
mod tests;

//! A sample of one sensor, and a batch of samples.

use serde::Serialize;

/// Trust in the time of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClockState {
    Synchronised = 0,
    /// Taken before the clock was set.
    Unsynchronised = 1,
    /// Taken before the clock was set, and corrected since.
    Corrected = 2,
}

impl From<i64> for ClockState {
    fn from(number: i64) -> ClockState {
        match number {
            0 => ClockState::Synchronised,
            2 => ClockState::Corrected,
            _ => ClockState::Unsynchronised,
        }
    }
}

/// One value of one quantity of one sensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct StoredSample {
    pub(crate) seq: i64,
    pub(crate) sensor: String,
    pub(crate) quantity: String,
    pub(crate) unit: String,
    pub(crate) value: f64,
    /// Unix time.
    pub(crate) time_ms: i64,
    /// Time since the start of the machine, to correct the time.
    #[serde(skip)]
    pub(crate) since_boot_ms: i64,
    pub(crate) clock: ClockState,
}

impl StoredSample {
    /// Corrects the time, if it was taken before the clock was set. `offset_ms` is the Unix time of the machine's start.
    pub(crate) fn correct(&mut self, offset_ms: i64) {
        if self.clock == ClockState::Unsynchronised {
            self.time_ms = self.since_boot_ms + offset_ms;
            self.clock = ClockState::Corrected;
        }
    }
}

/// Consecutive samples of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch {
    pub(crate) boot: String,
    pub(crate) samples: Vec<StoredSample>,
    /// True if there are further samples, also of other runs.
    pub(crate) has_more: bool,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a temperature.
    pub(crate) fn sample(seq: i64, sensor: &str, time_ms: i64, value: f64) -> StoredSample {
        StoredSample {
            seq,
            sensor: sensor.to_owned(),
            quantity: "temperature".to_owned(),
            unit: "Cel".to_owned(),
            value,
            time_ms,
            since_boot_ms: time_ms,
            clock: ClockState::Synchronised,
        }
    }
}

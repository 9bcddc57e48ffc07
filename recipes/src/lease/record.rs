//! Data of a lease's znode, the decision whether a lease can be acquired, and its local expiry. No I/O; driven by
//! [`crate::lease::Lease`].

use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::{self, DateTime};
use serde_json::Value;

use crate::clock::BootInstant;
use crate::error::excerpt;

/// Version of Kazoo's format.
const FORMAT_VERSION: f64 = 1.0;
const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S";
const EPOCH: DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);
/// Last second that the format can represent: the end of the year 9999.
const MAX_END: u64 = 253_402_300_799;
/// Maximum size of data that is parsed.
pub(crate) const MAX_DATA_LEN: usize = 64 * 1024;
/// Maximum length of a holder's name. Even if every byte is escaped, the data stays below [`MAX_DATA_LEN`].
pub(crate) const MAX_HOLDER_LEN: usize = 4096;

/// Data of the znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) holder: String,
    /// Seconds since 1970, UTC.
    pub(crate) end: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ParseError {
    UnsupportedVersion(String),
    NotALease,
}

impl Record {
    /// Creates the record to write at `wall`, a time since 1970.
    pub(crate) fn new(holder: &str, duration: Duration, wall: Duration) -> Record {
        let end = wall.saturating_add(duration).as_secs().min(MAX_END);
        Record { holder: holder.to_owned(), end }
    }

    pub(crate) fn parse(data: &[u8]) -> Result<Record, ParseError> {
        if data.len() > MAX_DATA_LEN {
            return Err(ParseError::NotALease);
        }
        let object: Value = serde_json::from_slice(data).map_err(|_| ParseError::NotALease)?;
        let version = object.get("version").ok_or(ParseError::NotALease)?;
        if version.as_f64() != Some(FORMAT_VERSION) {
            return Err(ParseError::UnsupportedVersion(excerpt(version.to_string().as_bytes())));
        }
        let text = |name: &str| object.get(name).and_then(Value::as_str).ok_or(ParseError::NotALease);
        let end = DateTime::strptime(TIME_FORMAT, text("end")?).map_err(|_| ParseError::NotALease)?;
        // An end before 1970 has passed, like an end in 1970.
        let end = end.duration_since(EPOCH).as_secs().try_into().unwrap_or(0);
        Ok(Record { holder: text("holder")?.to_owned(), end })
    }

    /// Serializes the record in the layout of Python's `json.dumps`.
    pub(crate) fn to_json(&self) -> String {
        let holder = Value::from(self.holder.as_str());
        let seconds = i64::try_from(self.end).map_or(SignedDuration::MAX, SignedDuration::from_secs);
        let end = EPOCH.saturating_add(seconds).strftime(TIME_FORMAT);
        format!(r#"{{"version": 1, "holder": {holder}, "end": "{end}"}}"#)
    }

    /// Returns true if the lease, extended by `grace`, has ended at `wall`. It has at the very end.
    pub(crate) fn has_ended(&self, wall: Duration, grace: Duration) -> bool {
        wall >= Duration::from_secs(self.end).saturating_add(grace)
    }

    /// Returns true if `holder` cannot acquire the lease at `wall`, because another holder has it.
    pub(crate) fn blocks(&self, holder: &str, wall: Duration, grace: Duration) -> bool {
        self.holder != holder && !self.has_ended(wall, grace)
    }
}

/// Simultaneous reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockReading {
    /// Read first: if the process is suspended between the two readings, the computed lease is shorter, not longer.
    pub(crate) boot: BootInstant,
    /// Time since 1970.
    pub(crate) wall: Duration,
}

/// Local end of a lease: the end in the record, by the wall clock, and the time that remained when it was written, by a
/// clock that cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalExpiry {
    /// End by the wall clock, as time since 1970.
    pub(crate) end: Duration,
    until: BootInstant,
}

impl LocalExpiry {
    /// Computes the local end of a record that is about to be written.
    pub(crate) fn new(record: &Record, now: ClockReading) -> LocalExpiry {
        let end = Duration::from_secs(record.end);
        LocalExpiry { end, until: now.boot + end.saturating_sub(now.wall) }
    }

    /// Returns the earlier end, by each clock.
    pub(crate) fn min(self, other: LocalExpiry) -> LocalExpiry {
        LocalExpiry { end: self.end.min(other.end), until: self.until.min(other.until) }
    }

    pub(crate) fn remaining(&self, now: ClockReading) -> Duration {
        self.until.since(now.boot).min(self.end.saturating_sub(now.wall))
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

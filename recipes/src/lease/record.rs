//! What stands in a lease's znode, who may have the lease, and how long its holder may believe in it. Pure; driven by
//! [`crate::lease::Lease`].

use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::{self, DateTime};
use serde_json::Value;

use crate::clock::BootInstant;

/// Kazoo's number of this format.
const VERSION: f64 = 1.0;
const FORMAT: &str = "%Y-%m-%dT%H:%M:%S";
const EPOCH: DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);
/// The last second that the format can say.
const LATEST: u64 = 253_402_300_799;
/// What is longer is not looked into.
pub(crate) const LONGEST: usize = 64 * 1024;
/// So that what is written can be read again, escaped as it may be.
pub(crate) const LONGEST_NAME: usize = 4096;

/// What stands in the znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) holder: String,
    /// In whole seconds since 1970, UTC.
    pub(crate) end: u64,
}

/// Why it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is in the format of this version.
    OtherVersion(String),
    /// It is something else.
    NotALease,
}

impl Record {
    pub(crate) fn read(data: &[u8]) -> Result<Record, Unreadable> {
        if data.len() > LONGEST {
            return Err(Unreadable::NotALease);
        }
        let Ok(Value::Object(found)) = serde_json::from_slice::<Value>(data) else {
            return Err(Unreadable::NotALease);
        };
        match found.get("version") {
            Some(version) if version.as_f64() == Some(VERSION) => {}
            Some(version) => return Err(Unreadable::OtherVersion(excerpt(version.to_string().as_bytes()))),
            None => return Err(Unreadable::NotALease),
        }
        let text = |name: &str| found.get(name).and_then(Value::as_str).ok_or(Unreadable::NotALease);
        let end = DateTime::strptime(FORMAT, text("end")?).map_err(|_| Unreadable::NotALease)?;
        // An end before 1970 is as over as one in 1970.
        let end = end.duration_since(EPOCH).as_secs().try_into().unwrap_or(0);
        Ok(Record { holder: text("holder")?.to_owned(), end })
    }

    /// As Python's `json.dumps` lays it out.
    pub(crate) fn text(&self) -> String {
        let holder = Value::from(self.holder.as_str());
        let seconds = i64::try_from(self.end).map_or(SignedDuration::MAX, SignedDuration::from_secs);
        let end = EPOCH.saturating_add(seconds).strftime(FORMAT);
        format!(r#"{{"version": 1, "holder": {holder}, "end": "{end}"}}"#)
    }
}

/// The beginning of what was found, for an error.
pub(crate) fn excerpt(data: &[u8]) -> String {
    const SHOWN: usize = 80;
    // A character has four bytes at the most.
    let head = &data[..data.len().min(SHOWN * 4)];
    String::from_utf8_lossy(head).chars().take(SHOWN).collect()
}

/// Who asks for a lease, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) holder: &'a str,
    pub(crate) length: Duration,
    /// For so long after its end somebody else's lease is respected all the same.
    pub(crate) grace: Duration,
}

impl Ask<'_> {
    /// Whether what stands there is somebody else's still, at a time since 1970.
    pub(crate) fn must_respect(&self, found: &Record, wall: Duration) -> bool {
        found.holder != self.holder && !found.is_over(wall, self.grace)
    }

    /// What to write when nothing is in the way, at a time since 1970.
    pub(crate) fn record(&self, wall: Duration) -> Record {
        let end = wall.saturating_add(self.length).as_secs().min(LATEST);
        Record { holder: self.holder.to_owned(), end }
    }
}

impl Record {
    /// At its very end it is over.
    pub(crate) fn is_over(&self, wall: Duration, grace: Duration) -> bool {
        wall >= Duration::from_secs(self.end).saturating_add(grace)
    }
}

/// What the clocks show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Read first: a process that stands still between the two believes in less, not in more.
    pub(crate) moment: BootInstant,
    /// Since 1970.
    pub(crate) wall: Duration,
}

/// How long a holder may believe in its lease: until the end that stands there, by the wall clock, and for as long as was
/// left of it when it was written, by a clock that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalExpiry {
    end: Duration,
    until: BootInstant,
}

impl LocalExpiry {
    /// In a lease until `end` that is about to be written.
    pub(crate) fn new(record: &Record, now: Now) -> LocalExpiry {
        let end = Duration::from_secs(record.end);
        LocalExpiry { end, until: now.moment + end.saturating_sub(now.wall) }
    }

    /// In no more than both say.
    pub(crate) fn and(self, other: LocalExpiry) -> LocalExpiry {
        LocalExpiry { end: self.end.min(other.end), until: self.until.min(other.until) }
    }

    /// The end by the wall clock, since 1970.
    pub(crate) fn end(&self) -> Duration {
        self.end
    }

    pub(crate) fn remaining(&self, now: Now) -> Duration {
        self.until.since(now.moment).min(self.end.saturating_sub(now.wall))
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

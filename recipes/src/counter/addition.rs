//! State machine of one addition to a counter: when to read, what to write, and whether a write whose reply was lost
//! has counted. No I/O; driven by [`super::Counter`].
//!
//! A write requires the counter's version that was read, so of several writes at one version at most one takes effect.
//! What remains to be found out is whether a write with an unknown outcome was that one. With a dedup record, which is
//! written together with the counter, this can always be read. Without one it is known only as long as no other
//! client's write can be mistaken for ours.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZnodeVersion {
    /// Identifies the znode, which may be deleted and created again.
    pub(crate) czxid: i64,
    pub(crate) version: i32,
}

/// State of our dedup record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdditionRecord {
    /// The counter uses no dedup record.
    Unused,
    Missing,
    /// The record has this version, and is not of this addition.
    Other(i32),
    /// The record is of this addition: it has counted, and the counter became this value.
    Own(i64),
}

/// A write of the counter that is due, or was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SumWrite {
    pub(crate) sum: i64,
    /// Required version of the counter.
    pub(crate) at: ZnodeVersion,
    /// Required version of the dedup record, or `None` if the counter uses none.
    pub(crate) record_version: Option<i32>,
}

impl SumWrite {
    /// Returns what a read shows after this write has taken effect and changed the counter's version to `version`,
    /// unless another client writes.
    pub(crate) fn expected_read(self, version: i32) -> Event {
        let record = self
            .record_version
            .map_or(AdditionRecord::Unused, |version| AdditionRecord::Other(version.wrapping_add(1)));
        Event::Read { value: self.sum, at: ZnodeVersion { version, ..self.at }, record }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read the counter and the dedup record. If the addition [has an unknown outcome](Addition::has_unknown_outcome),
    /// the read must show all earlier writes.
    Read,
    CreateRecord,
    /// Write the counter and the dedup record.
    Write(SumWrite),
    /// None: the addition has counted, and the counter became this value.
    Counted(i64),
    /// None: the addition has not counted, because the sum of this value and the amount overflows.
    Overflow(i64),
    /// None: it can no longer be found out whether the addition has counted.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Read {
        value: i64,
        at: ZnodeVersion,
        record: AdditionRecord,
    },
    RecordCreated,
    Written,
    /// The write failed: a znode had another version, or did not exist.
    Stale,
    /// The write failed, and may have taken effect.
    OutcomeUnknown,
}

#[derive(Debug)]
pub(crate) struct Addition {
    amount: i64,
    step: Step,
    /// Write that may have taken effect, or may still take effect.
    unknown: Option<SumWrite>,
}

impl Addition {
    pub(crate) fn new(amount: i64) -> Addition {
        Addition { amount, step: Step::Read, unknown: None }
    }

    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// Returns true if a write was sent whose outcome is not known yet.
    pub(crate) fn has_unknown_outcome(&self) -> bool {
        self.unknown.is_some()
    }

    pub(crate) fn on(&mut self, event: Event) {
        self.step = match (event, self.step) {
            (_, ended @ (Step::Counted(_) | Step::Overflow(_) | Step::Unknown)) => ended,
            (Event::Read { value, at, record }, _) => self.on_read(value, at, record),
            (Event::Written, Step::Write(write)) => Step::Counted(write.sum),
            (Event::OutcomeUnknown, Step::Write(write)) => {
                self.unknown = Some(write);
                Step::Read
            }
            (Event::Written | Event::OutcomeUnknown | Event::Stale | Event::RecordCreated, _) => Step::Read,
        };
    }

    fn on_read(&mut self, value: i64, at: ZnodeVersion, record: AdditionRecord) -> Step {
        let record_version = match record {
            AdditionRecord::Own(value) => return Step::Counted(value),
            // The outcome was stored only in the record, which was deleted.
            AdditionRecord::Missing if self.unknown.is_some() => return Step::Unknown,
            AdditionRecord::Missing => return Step::CreateRecord,
            AdditionRecord::Other(version) => Some(version),
            AdditionRecord::Unused => None,
        };
        if let Some(unknown) = self.unknown {
            // The counter was deleted and created again: its history is lost.
            if unknown.at.czxid != at.czxid {
                return Step::Unknown;
            }
            let changed = at.version != unknown.at.version;
            let single_foreign_write =
                at.version == unknown.at.version.wrapping_add(1) && value != unknown.sum;
            match record_version {
                // The write has not taken effect and never will: it required a version that has changed.
                Some(version) if changed || Some(version) != unknown.record_version => self.unknown = None,
                None if single_foreign_write => self.unknown = None,
                // One of the writes since may be ours.
                None if changed => return Step::Unknown,
                // Not yet. If the write is repeated at the same version, at most one of the two takes effect.
                _ => {}
            }
        }
        match value.checked_add(self.amount) {
            Some(sum) => Step::Write(SumWrite { sum, at, record_version }),
            None => Step::Overflow(value),
        }
    }
}

#[cfg(test)]
#[path = "addition_tests.rs"]
mod tests;

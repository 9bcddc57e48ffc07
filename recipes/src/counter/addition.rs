//! One addition to a counter: when to look, what to write, and whether a write whose reply was lost has counted. Pure;
//! driven by [`super::Counter`].
//!
//! A write is tied to the version of the counter that was seen, so of several writes made at one version one counts at
//! the most. What is left to find out is whether a lost one did. With a marker of ours, written together with the
//! counter, that can always be seen; without, only as long as nobody else's write can be mistaken for it.

/// One state of the counter's znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    /// Which znode, should it have been deleted and made again.
    pub(crate) czxid: i64,
    /// Its version.
    pub(crate) version: i32,
}

/// Our marker, as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// We keep none.
    Unused,
    /// It is not there.
    Absent,
    /// It is at this version, and does not tell of this addition.
    Other(i32),
    /// It tells of this addition: it has counted, and made the counter this.
    Ours(i64),
}

/// A write that may be made, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    /// The counter afterwards.
    pub(crate) to: i64,
    /// What the counter must be at.
    pub(crate) at: At,
    /// What the marker must be at; `None` if there is none to write.
    pub(crate) marker: Option<i32>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read the counter, and the marker; what was written before must be seen if a write was lost.
    Look,
    /// Create the marker.
    Mark,
    /// Write the counter, and the marker with it.
    Write(Sum),
    /// It has counted, and made the counter this.
    Counted(i64),
    /// It has not counted, for the sum is more than there is room for: the value that was found.
    Overflow(i64),
    /// Whether it has counted cannot be found out any more.
    Unknown,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The counter and the marker as they are.
    Seen {
        /// The value.
        value: i64,
        /// The znode's state.
        at: At,
        /// The marker.
        mark: Mark,
    },
    /// The marker is made.
    Marked,
    /// Written.
    Written,
    /// Not written: something was at another version, or not there.
    Stale,
    /// Perhaps written.
    Lost,
}

/// One addition.
#[derive(Debug)]
pub(crate) struct Addition {
    amount: i64,
    step: Step,
    /// A write that may have counted, or may yet.
    risk: Option<Sum>,
}

impl Addition {
    pub(crate) fn new(amount: i64) -> Addition {
        Addition { amount, step: Step::Look, risk: None }
    }

    /// What to do next.
    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// A write was lost, and it is not known yet what came of it.
    pub(crate) fn is_at_risk(&self) -> bool {
        self.risk.is_some()
    }

    /// Takes note of what happened.
    pub(crate) fn on(&mut self, event: Event) {
        self.step = match (event, self.step) {
            (_, ended @ (Step::Counted(_) | Step::Overflow(_) | Step::Unknown)) => ended,
            (Event::Seen { value, at, mark }, _) => self.seen(value, at, mark),
            (Event::Written, Step::Write(sum)) => Step::Counted(sum.to),
            (Event::Lost, Step::Write(sum)) => {
                self.risk = Some(sum);
                Step::Look
            }
            (Event::Written | Event::Lost | Event::Stale | Event::Marked, _) => Step::Look,
        };
    }

    fn seen(&mut self, value: i64, at: At, mark: Mark) -> Step {
        let marker = match mark {
            Mark::Ours(value) => return Step::Counted(value),
            // A marker that is gone took with it what it told.
            Mark::Absent if self.risk.is_some() => return Step::Unknown,
            Mark::Absent => return Step::Mark,
            Mark::Other(version) => Some(version),
            Mark::Unused => None,
        };
        if let Some(risk) = self.risk {
            // What a counter told that is gone, nobody knows.
            if risk.at.czxid != at.czxid {
                return Step::Unknown;
            }
            let moved = at.version != risk.at.version;
            let another = at.version == risk.at.version.wrapping_add(1) && value != risk.to;
            match marker {
                // It did not count, and never will: what it was tied to has moved.
                Some(version) if moved || Some(version) != risk.marker => self.risk = None,
                None if another => self.risk = None,
                // Among the writes since may be ours.
                None if moved => return Step::Unknown,
                // It did not count yet; made once more at the same version, one of the two will, at the most.
                _ => {}
            }
        }
        match value.checked_add(self.amount) {
            Some(to) => Step::Write(Sum { to, at, marker }),
            None => Step::Overflow(value),
        }
    }
}

#[cfg(test)]
#[path = "addition_tests.rs"]
mod tests;

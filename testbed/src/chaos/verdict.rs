//! What the judge says.

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Cycle numbers have a gap, or a cycle has no report, or a report no cycle.
    Cycle,
    /// An epoch did not go up by one, or the fence is gone.
    Epoch,
    /// Somebody wrote what only the leader writes.
    NotTheLeader,
    /// The leader wrote without checking its own znode in the line.
    Unfenced,
    /// An average is not the average of what was published.
    WrongMean,
    /// A report was committed, and never kept by the API.
    Lost,
    /// A report was sent that was never committed.
    NotCommitted,
    /// A report was sent with another value than the committed one.
    Altered,
    /// A collector holds a report twice.
    Twice,
    /// A collector holds a later cycle, and not this one.
    Gap,
    /// A report was sent before it was committed.
    Early,
    /// A report of a leader that was deposed before it could know.
    Deposed,
    /// A request without a key, or with one that is none.
    Unkeyed,
    /// A report was taken from the outbox before it had arrived.
    TooSoon,
    /// Something is left in the outbox, or was set aside.
    Left,
    /// A measurement was published and not counted with it.
    NotCounted,
    /// A measurement was counted twice, or something else was.
    Miscounted,
    /// Somebody measured more often than there were generations.
    MeasuredTwice,
    /// A cycle without a new generation, or a generation without a cycle.
    Generation,
    /// The barrier was open between two cycles.
    Open,
    /// A report that no leader wrote was deleted and not set aside, or stayed in the outbox unreported.
    Poison,
    /// A znode of the wrong type was not reported, or a node wrote it, or a node led although it was first in line.
    Squatter,
    /// A node stopped publishing because nothing read its standard error.
    Stderr,
    /// A process logged too many warnings.
    LogVolume,
    /// Nothing a promise is about, and yet it must not be: a node that panics, a fleet that does not come back.
    Other,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Of what kind.
    pub kind: Kind,
    /// What, where and when.
    pub text: String,
}

/// What there was to judge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Leaders that wrote their epoch.
    pub epochs: u64,
    /// Reports that were committed.
    pub reports: u64,
    /// Different measurements that were published.
    pub measurements: u64,
    /// Requests to the API.
    pub requests: u64,
    /// Requests that it kept although it had their key.
    pub repeats: u64,
    /// Requests that it did not keep.
    pub turned_away: u64,
    /// Requests that a collector refused as those of a deposed leader, as far as somebody saw its figures before it was killed.
    pub refused: u64,
    /// Reports that arrived after a later one.
    pub out_of_order: u64,
    /// The longest time from commit to arrival, in milliseconds.
    pub longest_delay: i64,
    /// Requests of somebody who had already been succeeded: harmless by their keys, but late.
    pub late: u64,
    /// Averages that nobody could look through, because there were too many possibilities.
    pub undecided: u64,
    /// In lock-step, averages without a measurement that had come a little before.
    pub missed: u64,
    /// In lock-step, measurements that a process published when it had published one in the same generation: it has just
    /// started, or the one before came late.
    pub again: u64,
    /// Reports of other clients in the outbox.
    pub poisoned: u64,
    /// Of those, how many were set aside.
    pub set_aside: u64,
    /// Maximum number of warnings of one process within the window of `log_checks`.
    pub warnings: usize,
    /// Longest time from the end of the faults until all nodes published and all was delivered, in milliseconds.
    pub recovery: i64,
}

impl Figures {
    /// Takes those of another fleet in.
    pub fn add(&mut self, other: &Figures) {
        self.epochs += other.epochs;
        self.reports += other.reports;
        self.measurements += other.measurements;
        self.requests += other.requests;
        self.repeats += other.repeats;
        self.turned_away += other.turned_away;
        self.refused += other.refused;
        self.out_of_order += other.out_of_order;
        self.longest_delay = self.longest_delay.max(other.longest_delay);
        self.late += other.late;
        self.undecided += other.undecided;
        self.missed += other.missed;
        self.again += other.again;
        self.poisoned += other.poisoned;
        self.set_aside += other.set_aside;
        self.warnings = self.warnings.max(other.warnings);
        self.recovery = self.recovery.max(other.recovery);
    }
}

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Everything that is wrong.
    pub violations: Vec<Violation>,
    /// What it looked at.
    pub figures: Figures,
    /// What is not wrong, and worth a look.
    pub notes: Vec<String>,
}

impl Verdict {
    /// One more thing that is wrong.
    pub fn add(&mut self, kind: Kind, text: String) {
        self.violations.push(Violation { kind, text });
    }
}

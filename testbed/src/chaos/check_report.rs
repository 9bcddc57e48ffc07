//! Violations and counts that the checker reports.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Violation {
    /// Cycle numbers have a gap, or a cycle has no report, or a report no cycle.
    Cycle,
    /// An epoch did not increase by one, or the fence is missing.
    Epoch,
    /// A session wrote data that only the leader writes.
    NotTheLeader,
    /// The leader wrote without checking its own znode in the election.
    Unfenced,
    /// An average is not the average of the published measurements.
    WrongMean,
    /// A report was committed, but never kept by the API.
    Lost,
    /// A report was sent that was never committed.
    NotCommitted,
    /// A report was sent with a value that differs from the committed one.
    Altered,
    /// A collector holds a report twice.
    Twice,
    /// A collector holds a later cycle, but not this one.
    Gap,
    /// A report was sent before it was committed.
    Early,
    /// A report of a leader that was deposed before this cycle: a later epoch began at or below it.
    Deposed,
    /// A request without a key, or with an invalid one.
    Unkeyed,
    /// A report was deleted from the outbox before it had arrived.
    TooSoon,
    /// A report is left in the outbox, or was rejected.
    Left,
    /// A measurement was published without being counted in the same transaction.
    NotCounted,
    /// A measurement was counted twice, or the counter changed without a measurement.
    Miscounted,
    /// A process measured more often than there were generations.
    MeasuredTwice,
    /// A cycle without a new generation, or a generation without a cycle.
    Generation,
    /// The barrier was open between two cycles.
    Open,
    /// A report that no leader wrote was deleted and not rejected, or stayed in the outbox unreported.
    Poison,
    /// A znode of the wrong type was not reported, or a node wrote to it, or a node led although that znode was
    /// the first contender.
    WrongZnode,
    /// A node stopped publishing because nothing read its standard error.
    Stderr,
    /// A process logged too many warnings.
    LogVolume,
    /// A failure that no promise covers: a node that panics, a fleet that does not recover.
    Other,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub kind: Violation,
    /// Description, with place and time.
    pub text: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Leaders that wrote their epoch.
    pub epochs: u64,
    pub reports: u64,
    /// Number of different measurements that were published.
    pub measurements: u64,
    pub requests: u64,
    /// Requests kept by the API although it had their key.
    pub repeats: u64,
    pub turned_away: u64,
    /// Requests that a collector refused as those of a deposed leader, as far as its metrics were read before it was
    /// killed.
    pub refused: u64,
    /// Reports that arrived after a later one.
    pub out_of_order: u64,
    /// Longest time from commit to arrival, in milliseconds.
    pub longest_delay: i64,
    /// Requests of a leader that already had a successor: harmless because of their keys, but late.
    pub late: u64,
    /// Averages that could not be checked because there were too many possibilities.
    pub undecided: u64,
    /// In lock-step, averages without a measurement that was published shortly before.
    pub missed: u64,
    /// In lock-step, measurements of a process that had already published one in the same generation: it has just
    /// started, or the previous one was late.
    pub again: u64,
    /// Reports of other clients in the outbox.
    pub poisoned: u64,
    /// Number of these that were rejected.
    pub rejected: u64,
    /// Maximum number of warnings of one process within the window of `log_checks`.
    pub warnings: usize,
    /// Longest time from the end of the faults until all nodes published and everything was delivered, in milliseconds.
    pub recovery: i64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
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
        self.rejected += other.rejected;
        self.warnings = self.warnings.max(other.warnings);
        self.recovery = self.recovery.max(other.recovery);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { epochs, reports, measurements, requests, repeats, turned_away, refused, .. } = self;
        let Counts { out_of_order, longest_delay, late, undecided, missed, again, .. } = self;
        let Counts { poisoned, rejected, warnings, recovery, .. } = self;
        write!(
            f,
            "  {epochs} leaders, {measurements} measurements, {reports} reports, {requests} requests to the API\n  \
             {turned_away} requests not kept, {repeats} repeated, {refused} refused as those of a deposed leader, {out_of_order} \
             out of order, {late} after a successor was elected\n  longest delay {longest_delay} ms; {undecided} averages \
             undecided; in lock-step {missed} without an existing measurement, and {again} measurements beside another in \
             their generation\n  {poisoned} reports of other clients in the outbox, {rejected} rejected; at most {warnings} \
             warnings of a process within 10 s; longest recovery {recovery} ms"
        )
    }
}

#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    pub violations: Vec<Finding>,
    pub counts: Counts,
    /// Observations that are not violations, for a person to check.
    pub notes: Vec<String>,
}

impl CheckReport {
    pub fn add(&mut self, kind: Violation, text: String) {
        self.violations.push(Finding { kind, text });
    }
}

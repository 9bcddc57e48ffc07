//! The reports that are written down and not yet accepted: which of them to send next, and what to do with those that are
//! settled. Pure; filled by `loading`, emptied by [`crate::leader::outbox_store`], sent by [`crate::leader::delivery::worker`].
//!
//! Only as many reports are in memory as fit into [`LARGEST_LOADED`]; of the others only the cycles are known until
//! there is room.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use jiff::Timestamp;

use crate::leader::delivery::queue::{DeliveryQueue, Key, News, Next, Outcome, Settled, Stale};
use crate::model::fence::Fence;
use crate::model::report::{CycleReport, Report};

/// The parent of reports that are not delivered yet; their names are their cycles.
pub const PATH: &str = "/atalaya/reports";
/// The parent of reports that the API rejects.
pub const ASIDE: &str = "/atalaya/aside";
/// Reports kept while the API is away; then the oldest makes room.
pub const LARGEST: usize = 10_000;
/// Bytes of memory for reports; one more may be begun. An outbox with 10 000 usual reports takes a quarter of it.
pub const LARGEST_LOADED: usize = 16 * 1024 * 1024;
/// Rejected reports kept; then the oldest makes room.
pub const MOST_ASIDE: usize = 1_000;

/// What is to be done with a report that is settled.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// It was accepted: delete it.
    Delivered,
    /// Some of it was rejected: set this aside, and delete it.
    Aside(CycleReport),
    /// It can never be delivered: set this data aside, unless something is there, and delete it.
    Refused(Vec<u8>),
    /// A collector refused its epoch because of one that this fleet skipped: replace it by this report in the current
    /// epoch, which is then delivered.
    Again(CycleReport),
}

impl Ending {
    /// Returns about how many bytes of memory it takes.
    fn size(&self) -> usize {
        match self {
            Ending::Delivered => 0,
            Ending::Aside(report) | Ending::Again(report) => report.size(),
            Ending::Refused(data) => data.len(),
        }
    }
}

#[derive(Debug)]
struct Open {
    report: CycleReport,
    /// How many of its averages are not settled.
    left: usize,
    /// Those that were rejected, and why.
    rejected: Vec<usize>,
    reason: Option<String>,
    /// Those that are sent again in the current epoch.
    again: Vec<usize>,
}

/// What waits to be delivered.
#[derive(Debug)]
pub struct Outbox {
    courier: DeliveryQueue<()>,
    open: BTreeMap<u64, Open>,
    /// Settled, but perhaps still written down.
    ending: BTreeMap<u64, Ending>,
    /// Cycles whose reports are written down and not in memory.
    unread: BTreeSet<u64>,
    /// Bytes of memory that reports take.
    loaded: usize,
    /// Fence of the leader that delivers; `None`: not known.
    term: Option<Fence>,
    /// Highest epoch above the leader's of which a collector has reports.
    outranked: Option<i64>,
}

impl Outbox {
    /// An empty one, for cycles that come once a `period`.
    pub fn new(period: Duration) -> Outbox {
        Outbox {
            courier: DeliveryQueue::new(period),
            open: BTreeMap::new(),
            ending: BTreeMap::new(),
            unread: BTreeSet::new(),
            loaded: 0,
            term: None,
            outranked: None,
        }
    }

    /// Sets the fence of the leader that delivers.
    pub fn set_term(&mut self, term: Fence) {
        self.term = Some(term);
    }

    /// Returns the highest epoch above the leader's of which a collector has said that it has reports.
    pub fn outranked(&self) -> Option<i64> {
        self.outranked
    }

    /// Cycles come once a `period` from now on.
    pub fn set_period(&mut self, period: Duration) {
        self.courier.set_period(period);
    }

    /// How long to wait for an answer.
    pub fn timeout(&self) -> Duration {
        self.courier.timeout()
    }

    /// How many cycles have not been settled.
    pub fn waiting(&self) -> usize {
        self.open.len() + self.unread.len()
    }

    /// The time of the oldest of them.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.open.first_key_value().map(|(_, open)| open.report.time)
    }

    /// Whether this report, which is under way, has been sent before.
    pub fn is_retry(&self, key: Key) -> bool {
        self.courier.is_retry(key)
    }

    /// Whether it is known already that this cycle's report is written down.
    pub fn knows(&self, cycle: u64) -> bool {
        self.open.contains_key(&cycle) || self.ending.contains_key(&cycle) || self.unread.contains(&cycle)
    }

    /// A report that is written down now. It is kept in memory if there is room and none before it is left out.
    pub fn add(&mut self, report: CycleReport) {
        if self.knows(report.cycle) {
            return;
        }
        if self.unread.is_empty() && self.loaded < LARGEST_LOADED {
            self.open(report);
        } else {
            self.unread.insert(report.cycle);
        }
    }

    fn open(&mut self, report: CycleReport) {
        let left = report.averages.len();
        for index in 0..left {
            self.courier.push((report.cycle, index), report.epoch, ());
        }
        self.loaded += report.size();
        let open = Open { report, left, rejected: Vec::new(), reason: None, again: Vec::new() };
        self.open.insert(open.report.cycle, open);
    }

    fn close(&mut self, cycle: u64) -> Option<Open> {
        let open = self.open.remove(&cycle)?;
        self.loaded = self.loaded.saturating_sub(open.report.size());
        Some(open)
    }

    fn end(&mut self, cycle: u64, ending: Ending) {
        self.loaded += ending.size();
        self.ending.insert(cycle, ending);
    }

    /// Adds listed cycles that are not known yet; their reports are read later.
    pub fn listed(&mut self, cycles: &BTreeSet<u64>) {
        let new: Vec<u64> = cycles.iter().copied().filter(|cycle| !self.knows(*cycle)).collect();
        self.unread.extend(new);
    }

    /// Returns up to `count` cycles whose reports the leader reads next; none while the memory limit is reached.
    pub fn to_read(&self, count: usize) -> Vec<u64> {
        let room = self.loaded < LARGEST_LOADED;
        self.unread.iter().copied().take(if room { count } else { 0 }).collect()
    }

    /// The report of a cycle from [`Outbox::to_read`].
    pub fn read(&mut self, report: CycleReport) {
        if self.unread.remove(&report.cycle) {
            self.open(report);
        }
    }

    /// The report of a cycle from [`Outbox::to_read`] is not there any more.
    pub fn gone(&mut self, cycle: u64) {
        self.unread.remove(&cycle);
    }

    /// The report of a cycle from [`Outbox::to_read`] can never be delivered: this data is set aside.
    pub fn refuse(&mut self, cycle: u64, data: Vec<u8>) {
        if self.unread.remove(&cycle) {
            self.end(cycle, Ending::Refused(data));
        }
    }

    /// Refuses the reports of cycles above `cycle`, the newest that the fleet has written down; gives how many there
    /// were.
    pub fn refuse_above(&mut self, cycle: u64) -> usize {
        let above: Vec<u64> = self.open.range(cycle.saturating_add(1)..).map(|(cycle, _)| *cycle).collect();
        for forged in &above {
            let Some(open) = self.forget(*forged) else { continue };
            let reason = Some(format!("its cycle is above {cycle}, the newest of the fleet"));
            self.end(*forged, Ending::Refused(CycleReport { reason, ..open.report }.data()));
        }
        above.len()
    }

    /// All that are known to be written down.
    pub fn known(&self) -> BTreeSet<u64> {
        self.open.keys().chain(self.ending.keys()).chain(&self.unread).copied().collect()
    }

    /// Of those that were known `before` somebody looked, `listed` are written down. What came meanwhile is not among them, and
    /// stays.
    pub fn keep_only(&mut self, before: &BTreeSet<u64>, listed: &BTreeSet<u64>) {
        for cycle in before.difference(listed) {
            self.forget(*cycle);
            self.unread.remove(cycle);
            self.remove_ending(*cycle);
        }
    }

    /// The report that has to make room for another, if there is no room: the oldest that is not being sent.
    pub fn too_many(&self) -> Option<u64> {
        if self.waiting() < LARGEST {
            return None;
        }
        let idle = |(cycle, open): &(&u64, &Open)| {
            (0..open.report.averages.len()).all(|index| !self.courier.is_under_way((**cycle, index)))
        };
        let idle = self.open.iter().find(idle).map(|(cycle, _)| *cycle);
        idle.into_iter().chain(self.unread.first().copied()).min()
    }

    /// This one had to make room.
    pub fn dropped(&mut self, cycle: u64) {
        if self.unread.remove(&cycle) || self.forget(cycle).is_some() {
            self.courier.lose();
        }
    }

    fn forget(&mut self, cycle: u64) -> Option<Open> {
        let open = self.close(cycle)?;
        for index in 0..open.report.averages.len() {
            self.courier.forget((cycle, index), false);
        }
        Some(open)
    }

    /// Requests that were under way have been cut off, their outcome unknown: they are sent again.
    pub fn interrupted(&mut self) {
        self.courier.interrupted();
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: BootInstant) -> Next<Report> {
        loop {
            return match self.courier.next(now) {
                Next::Wait(until) => Next::Wait(until),
                Next::Idle => Next::Idle,
                Next::Send(key, ()) => {
                    let open = self.open.get(&key.0);
                    match open.and_then(|open| open.report.reports().nth(key.1)) {
                        Some(report) => Next::Send(key, report),
                        None => {
                            self.courier.forget(key, false);
                            continue;
                        }
                    }
                }
            };
        }
    }

    /// A request has ended. Gives the cycle that it settled, if it did: see [`Outbox::ending`].
    pub fn done(&mut self, key: Key, outcome: Outcome) -> (Option<u64>, Option<News>) {
        let (cycle, index) = key;
        let outcome = match outcome {
            Outcome::Stale(stale) => match self.refused_by_epoch(cycle, stale) {
                Some(outcome) => outcome,
                None => {
                    self.courier.forget(key, false);
                    let Some(open) = self.open.get_mut(&cycle) else { return (None, None) };
                    open.again.push(index);
                    open.left -= 1;
                    return (self.settled(cycle), None);
                }
            },
            outcome => outcome,
        };
        let (settled, news) = self.courier.done(key, outcome);
        let (Some(settled), Some(open)) = (settled, self.open.get_mut(&cycle)) else { return (None, news) };
        open.left -= 1;
        if let Settled::Rejected(reason) = settled {
            open.rejected.push(index);
            open.reason = Some(reason);
        }
        (self.settled(cycle), news)
    }

    /// Returns the outcome for a report that a collector refuses because of a later epoch; `None` if the report must
    /// be sent again in the current epoch.
    ///
    /// The collector records no report that it refuses so, and everything that the fleet wrote down is refused by
    /// none of the fleet's own epochs. So the later epoch is from elsewhere, or the report is.
    fn refused_by_epoch(&mut self, cycle: u64, stale: Stale) -> Option<Outcome> {
        let epoch = self.open.get(&cycle)?.report.epoch;
        match self.term {
            Some(own) if stale.epoch > own.epoch => {
                self.outranked = self.outranked.max(Some(stale.epoch));
                Some(Outcome::Stale(stale))
            }
            Some(own) if epoch < own.epoch && own.has_skipped(stale.epoch) => None,
            _ => {
                let Stale { epoch, first_cycle } = stale;
                let reason = format!("it has reports of the later epoch {epoch} from cycle {first_cycle} on");
                Some(Outcome::Invalid(reason))
            }
        }
    }

    /// Ends a cycle when all of its averages are settled; gives the cycle if they are.
    fn settled(&mut self, cycle: u64) -> Option<u64> {
        if self.open.get(&cycle)?.left > 0 {
            return None;
        }
        let Open { mut report, rejected, reason, again, .. } = self.close(cycle)?;
        let kept: BTreeSet<usize> = rejected.into_iter().chain(again.iter().copied()).collect();
        let mut index = 0;
        report.averages.retain(|_| {
            index += 1;
            kept.contains(&(index - 1))
        });
        let ending = match (self.term, reason) {
            // Averages of this cycle that were rejected are tried and rejected again.
            (Some(own), _) if !again.is_empty() => Ending::Again(CycleReport { epoch: own.epoch, ..report }),
            (_, Some(reason)) => Ending::Aside(CycleReport { reason: Some(reason), ..report }),
            _ => Ending::Delivered,
        };
        self.end(cycle, ending);
        Some(cycle)
    }

    /// What is to be done with that report now.
    pub fn ending(&self, cycle: u64) -> Option<&Ending> {
        self.ending.get(&cycle)
    }

    /// All that are to be deleted.
    pub fn endings(&self) -> impl Iterator<Item = u64> {
        self.ending.keys().copied()
    }

    /// Removes a cycle whose ending is written; a report that is replaced waits again.
    pub fn ended(&mut self, cycle: u64) {
        if let Some(Ending::Again(report)) = self.remove_ending(cycle) {
            self.add(report);
        }
    }

    fn remove_ending(&mut self, cycle: u64) -> Option<Ending> {
        let ending = self.ending.remove(&cycle)?;
        self.loaded = self.loaded.saturating_sub(ending.size());
        Some(ending)
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

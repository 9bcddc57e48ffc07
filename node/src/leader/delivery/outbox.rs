//! Reports that are committed and not accepted yet: decides which is sent next, and how each is finished. No I/O;
//! filled by [`crate::leader::delivery::outbox_reader`], sent by [`crate::leader::delivery::worker`], finished by
//! [`crate::leader::outbox_store`].
//!
//! Only as many reports are in memory as fit into a limit, for the API [`MAX_LOADED_BYTES`]. Of the others only the cycles are known until
//! there is room.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use jiff::Timestamp;

use crate::leader::delivery::outcome::{Outcome, Stale};
use crate::leader::delivery::queue::{DeliveryQueue, Key, Next, StateChange};
use crate::model::fence::Fence;
use crate::model::leader_state::Delivered;
use crate::model::report::{CycleReport, Report};

/// Maximum number of reports in the outbox. The oldest makes room for a new one.
pub(crate) const MAX_REPORTS: usize = 10_000;
/// Memory for reports, in bytes. The last report may exceed it. 10,000 usual reports take a quarter of it.
pub(crate) const MAX_LOADED_BYTES: usize = 16 * 1024 * 1024;
/// The same for the outbox of an output, of which there may be many.
const MAX_LOADED_BYTES_OF_OUTPUT: usize = 1024 * 1024;

/// How a report is finished in ZooKeeper.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Disposition {
    /// It was accepted: delete it.
    Delivered,
    /// Some of its averages were rejected: move this rest of it to the rejected reports.
    Rejected(CycleReport),
    /// It can never be delivered: move this data to the rejected reports, unless there is one of the same cycle.
    Undeliverable(Vec<u8>),
    /// A collector refused its epoch because of one that this fleet skipped: replace it by this one, and send that.
    Resend(CycleReport),
}

impl Disposition {
    /// Returns the approximate size in memory, in bytes.
    fn size(&self) -> usize {
        match self {
            Disposition::Delivered => 0,
            Disposition::Rejected(report) | Disposition::Resend(report) => report.size(),
            Disposition::Undeliverable(data) => data.len(),
        }
    }
}

#[derive(Debug)]
struct Loaded {
    report: CycleReport,
    /// Number of averages without a final outcome.
    pending: usize,
    rejected: Vec<usize>,
    reason: Option<String>,
    /// Indexes of the averages that are sent again in the current epoch.
    resend: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    pub(in crate::leader) queue: DeliveryQueue,
    loaded: BTreeMap<u64, Loaded>,
    /// Cycles whose reports have their final outcome, and may still be in ZooKeeper.
    unfinished: BTreeMap<u64, Disposition>,
    /// Cycles whose reports are in ZooKeeper and not in memory.
    pub(super) unread: BTreeSet<u64>,
    loaded_bytes: usize,
    max_loaded_bytes: usize,
    /// Fence of the leader that delivers, if known.
    pub(in crate::leader) fence: Option<Fence>,
    /// Highest epoch above the leader's of which a collector has reports.
    pub(in crate::leader) outranked: Option<i64>,
    /// Newest accepted report.
    pub(in crate::leader) delivered: Option<Delivered>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum NextRequest {
    /// Send this report, and pass the outcome to [`Outbox::on_outcome`].
    Send { key: Key, report: Report, timeout: Duration, is_retry: bool },
    /// Wait until this time, or until a request ends or a report is added.
    WaitUntil(BootInstant),
    /// Wait until a request ends or a report is added.
    Idle,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox {
            queue: DeliveryQueue::default(),
            loaded: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            unread: BTreeSet::new(),
            loaded_bytes: 0,
            max_loaded_bytes: MAX_LOADED_BYTES,
            fence: None,
            outranked: None,
            delivered: None,
        }
    }
}

impl Outbox {
    /// Returns the outbox of an output. `is_strict`: it gets the reports strictly one after the other.
    pub(super) fn of_output(is_strict: bool) -> Outbox {
        let mut outbox = Outbox { max_loaded_bytes: MAX_LOADED_BYTES_OF_OUTPUT, ..Outbox::default() };
        outbox.queue.is_strict = is_strict;
        outbox
    }

    #[cfg(test)]
    pub(crate) fn new(period: Duration) -> Outbox {
        Outbox { queue: DeliveryQueue::new(period), ..Outbox::default() }
    }

    /// Returns the number of cycles whose reports have no final outcome.
    pub(crate) fn waiting(&self) -> usize {
        self.loaded.len() + self.unread.len()
    }

    /// Returns the time of the oldest report in memory without a final outcome.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.loaded.first_key_value().map(|(_, loaded)| loaded.report.time)
    }

    pub(crate) fn contains(&self, cycle: u64) -> bool {
        self.loaded.contains_key(&cycle)
            || self.unfinished.contains_key(&cycle)
            || self.unread.contains(&cycle)
    }

    /// Adds a committed report. It stays in memory if there is room and all earlier ones are in memory.
    pub(crate) fn add(&mut self, report: CycleReport) {
        if self.contains(report.cycle) {
            return;
        }
        if self.unread.is_empty() && self.loaded_bytes < self.max_loaded_bytes {
            self.load(report);
        } else {
            self.unread.insert(report.cycle);
        }
    }

    fn load(&mut self, report: CycleReport) {
        let pending = report.averages.len();
        for index in 0..pending {
            self.queue.push((report.cycle, index), report.epoch);
        }
        self.loaded_bytes += report.size();
        let loaded = Loaded { report, pending, rejected: Vec::new(), reason: None, resend: Vec::new() };
        self.loaded.insert(loaded.report.cycle, loaded);
    }

    fn unload(&mut self, cycle: u64) -> Option<Loaded> {
        let loaded = self.loaded.remove(&cycle)?;
        self.loaded_bytes = self.loaded_bytes.saturating_sub(loaded.report.size());
        for index in 0..loaded.report.averages.len() {
            self.queue.remove((cycle, index));
        }
        Some(loaded)
    }

    fn finish_with(&mut self, cycle: u64, disposition: Disposition) {
        self.loaded_bytes += disposition.size();
        self.unfinished.insert(cycle, disposition);
    }

    /// Returns up to `count` cycles whose reports are read next; none while the memory limit is reached.
    pub(crate) fn to_read(&self, count: usize) -> Vec<u64> {
        let has_room = self.loaded_bytes < self.max_loaded_bytes;
        self.unread.iter().copied().take(if has_room { count } else { 0 }).collect()
    }

    /// Adds the report of a cycle from [`Outbox::to_read`].
    pub(crate) fn on_read(&mut self, report: CycleReport) {
        if self.unread.remove(&report.cycle) {
            self.load(report);
        }
    }

    /// Records that a report from [`Outbox::to_read`] can never be delivered: `data` goes to the rejected reports.
    pub(crate) fn on_undeliverable(&mut self, cycle: u64, data: Vec<u8>) {
        if self.unread.remove(&cycle) {
            self.finish_with(cycle, Disposition::Undeliverable(data));
        }
    }

    /// Rejects the reports of cycles above `cycle`, the newest that the fleet has committed. Returns their number.
    pub(crate) fn reject_above(&mut self, cycle: u64) -> usize {
        let above: Vec<u64> = self.loaded.range(cycle.saturating_add(1)..).map(|(cycle, _)| *cycle).collect();
        for forged in &above {
            let Some(loaded) = self.unload(*forged) else { continue };
            let reason = Some(format!("its cycle is above {cycle}, the newest of the fleet"));
            let data = CycleReport { reason, ..loaded.report }.data();
            self.finish_with(*forged, Disposition::Undeliverable(data));
        }
        above.len()
    }

    pub(crate) fn cycles(&self) -> BTreeSet<u64> {
        self.loaded.keys().chain(self.unfinished.keys()).chain(&self.unread).copied().collect()
    }

    /// Removes the cycles that were in the outbox `before` ZooKeeper was read and are not `listed` there, and adds those
    /// that are; their reports are read later. Cycles that were added in between stay.
    pub(crate) fn set_listed(&mut self, before: &BTreeSet<u64>, listed: &BTreeSet<u64>) {
        for cycle in before.difference(listed) {
            self.unload(*cycle);
            self.unread.remove(cycle);
            self.remove_unfinished(*cycle);
        }
        let new: Vec<u64> = listed.iter().copied().filter(|cycle| !self.contains(*cycle)).collect();
        self.unread.extend(new);
    }

    /// Returns the cycle whose report must make room if the outbox is full: the oldest that is not being sent.
    pub(crate) fn to_drop(&self) -> Option<u64> {
        if self.waiting() < MAX_REPORTS {
            return None;
        }
        let is_idle = |(cycle, loaded): &(&u64, &Loaded)| {
            (0..loaded.report.averages.len()).all(|index| !self.queue.is_in_flight((**cycle, index)))
        };
        let idle = self.loaded.iter().find(is_idle).map(|(cycle, _)| *cycle);
        idle.into_iter().chain(self.unread.first().copied()).min()
    }

    /// Removes a cycle whose report was deleted to make room.
    pub(crate) fn on_dropped(&mut self, cycle: u64) {
        if self.unread.remove(&cycle) || self.unload(cycle).is_some() {
            self.queue.dropped += 1;
        }
    }

    /// Returns the next step at `now`. A report that it returns counts as sent.
    pub(crate) fn next_request(&mut self, now: BootInstant) -> NextRequest {
        loop {
            let key = match self.queue.next(now) {
                Next::WaitUntil(time) => return NextRequest::WaitUntil(time),
                Next::Idle => return NextRequest::Idle,
                Next::Send(key) => key,
            };
            let loaded = self.loaded.get(&key.0);
            if let Some(report) = loaded.and_then(|loaded| loaded.report.reports().nth(key.1)) {
                let (timeout, is_retry) = (self.queue.timeout(), self.queue.is_retry(key));
                return NextRequest::Send { key, report, timeout, is_retry };
            }
            self.queue.remove(key);
        }
    }

    /// Records the outcome of a request. Returns a change of the API's state, if there is one. When the whole report
    /// has its final outcome, it has a [`Outbox::disposition`].
    pub(crate) fn on_outcome(&mut self, key: Key, outcome: Outcome) -> Option<StateChange> {
        let (cycle, index) = key;
        let outcome = match outcome {
            Outcome::Stale(stale) => match self.judge_stale(cycle, stale) {
                Some(outcome) => outcome,
                None => {
                    self.queue.remove(key);
                    let loaded = self.loaded.get_mut(&cycle)?;
                    loaded.resend.push(index);
                    loaded.pending -= 1;
                    self.finish_if_complete(cycle);
                    return None;
                }
            },
            outcome => outcome,
        };
        let (final_outcome, change) = self.queue.on_outcome(key, outcome);
        let (Some(final_outcome), Some(loaded)) = (final_outcome, self.loaded.get_mut(&cycle)) else {
            return change;
        };
        loaded.pending -= 1;
        if let Err(reason) = final_outcome {
            loaded.rejected.push(index);
            loaded.reason = Some(reason);
        }
        self.finish_if_complete(cycle);
        change
    }

    /// Returns the outcome for a report that a collector refuses because of a later epoch; `None` if the report must be
    /// sent again in the current epoch.
    ///
    /// The collector records no report that it refuses so, and the fleet's own later epochs never make a committed
    /// report stale. So the later epoch is from another program, or the report is.
    fn judge_stale(&mut self, cycle: u64, stale: Stale) -> Option<Outcome> {
        let epoch = self.loaded.get(&cycle)?.report.epoch;
        match self.fence {
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

    /// Decides how a cycle is finished, once all of its averages have a final outcome.
    fn finish_if_complete(&mut self, cycle: u64) {
        if self.loaded.get(&cycle).is_none_or(|loaded| loaded.pending > 0) {
            return;
        }
        let Some(Loaded { mut report, rejected, reason, resend, .. }) = self.unload(cycle) else { return };
        let kept: BTreeSet<usize> = rejected.into_iter().chain(resend.iter().copied()).collect();
        let mut indexes = 0..;
        report.averages.retain(|_| indexes.next().is_some_and(|index| kept.contains(&index)));
        let disposition = match (self.fence, reason) {
            // Rejected averages of this cycle are sent again as well, and rejected again.
            (Some(own), _) if !resend.is_empty() => {
                Disposition::Resend(CycleReport { epoch: own.epoch, ..report })
            }
            (_, Some(reason)) => Disposition::Rejected(CycleReport { reason: Some(reason), ..report }),
            _ => Disposition::Delivered,
        };
        self.finish_with(cycle, disposition);
    }

    /// Returns how this cycle's report must be finished in ZooKeeper, if it has its final outcome.
    pub(crate) fn disposition(&self, cycle: u64) -> Option<&Disposition> {
        self.unfinished.get(&cycle)
    }

    pub(crate) fn unfinished(&self) -> impl Iterator<Item = u64> {
        self.unfinished.keys().copied()
    }

    /// Removes a cycle whose report is finished in ZooKeeper. A report that was replaced is delivered again.
    pub(crate) fn on_finished(&mut self, cycle: u64) {
        if let Some(Disposition::Resend(report)) = self.remove_unfinished(cycle) {
            self.add(report);
        }
    }

    fn remove_unfinished(&mut self, cycle: u64) -> Option<Disposition> {
        let disposition = self.unfinished.remove(&cycle)?;
        self.loaded_bytes = self.loaded_bytes.saturating_sub(disposition.size());
        Some(disposition)
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

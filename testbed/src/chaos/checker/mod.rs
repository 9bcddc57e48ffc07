//! The checker: reads what ZooKeeper committed, transaction by transaction, and checks every promise. Pure.

#[cfg(test)]
mod average_tests;
mod averages;
#[cfg(test)]
mod foreign_tests;
#[cfg(test)]
mod history_builder;
mod measurements;
#[cfg(test)]
mod stored_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

use super::check_report::{CheckReport, Counts, Violation};
use super::checks::averages::{Average, Fleet};
use super::checks::delivery::{self, ExpectedReport};
use super::checks::foreign::ForeignChecks;
use super::checks::{logs, store};
use super::history::History;
use super::tree::Tree;
use super::txn_effects::{BARRIER, Fence, MEASUREMENTS, NODE_INFO, REPORTS, TxnEffects};
use crate::journal::{Change, Transaction};

pub fn check(history: &History) -> CheckReport {
    let mut walk = Checker { history: Some(history), ..Checker::default() };
    for transaction in &history.transactions {
        walk.step(transaction);
    }
    walk.end(history)
}

/// Number of averages of a fleet that may miss a measurement published just before the read of the fleet: at this
/// number, and at one in [`TOO_OFTEN`] of all, it is not chance but a violation.
const BAD_LUCK: u64 = 3;
const TOO_OFTEN: u64 = 4;
#[derive(Debug)]
pub(super) struct Committed {
    averages: Vec<(String, Average)>,
    time: Option<i64>,
    committed: i64,
    deleted: Option<i64>,
}

/// State after some of the transactions.
#[derive(Default)]
pub(super) struct Checker<'a> {
    pub(super) history: Option<&'a History>,
    pub(super) findings: CheckReport,
    pub(super) tree: Tree,
    pub(super) fence: Option<Fence>,
    /// Session that wrote the fence last.
    pub(super) writer: i64,
    /// Transaction of the last write of the fence, and of the write before it.
    pub(super) fence_writes: (i64, i64),
    pub(super) reports: BTreeMap<u64, Committed>,
    pub(super) fleet: Fleet,
    /// Time of the first publication of each measurement.
    pub(super) measured: BTreeMap<(String, u64), i64>,
    /// Samples in lock-step: node, number of the generation, session.
    pub(super) turns: Vec<(String, u64, i64)>,
    pub(super) generations: u64,
    /// Process of each session, if it has published that.
    pub(super) processes: BTreeMap<i64, String>,
    pub(super) counter: Option<i64>,
    pub(super) generation: Option<i64>,
    /// Transaction that opened the barrier without closing it again.
    pub(super) opened: Option<i64>,
    /// Elections: time in milliseconds since 1970, and node.
    pub(super) elected: Vec<(i64, String)>,
    /// Values with units, by unit. No node of these fleets publishes any.
    pub(super) units: BTreeMap<String, Fleet>,
    pub(super) foreign: ForeignChecks,
}

impl Checker<'_> {
    pub(super) fn violation(&mut self, kind: Violation, transaction: &Transaction, what: &str) {
        let text = format!("{what} (zxid {:#x}, session {:#x})", transaction.zxid, transaction.session);
        self.findings.add(kind, text);
    }

    fn step(&mut self, transaction: &Transaction) {
        let effects = TxnEffects::of(transaction);
        if let Some(history) = self.history.filter(|history| history.foreign.contains(&transaction.session)) {
            self.foreign.of_other_client(transaction, &self.tree, history, &mut self.findings);
            for (name, data) in &effects.measurements {
                self.publish_foreign(transaction, name, data);
            }
            return self.apply(transaction);
        }
        let may_reject = self.foreign.may_reject(transaction, &effects);
        self.foreign.of_node(transaction, &effects, &self.tree, &mut self.findings);
        let own = self.fence.filter(|_| self.writer == transaction.session);
        if effects.are_a_leaders(own) {
            self.is_the_leaders(transaction, &effects);
        }
        self.count(transaction, &effects);
        for (node, data) in &effects.measurements {
            self.publish(transaction, node, data);
        }
        self.cycle(transaction, &effects);
        for cycle in &effects.deleted {
            if let Some(report) = self.reports.get_mut(cycle) {
                report.deleted = Some(transaction.time);
            }
        }
        for path in effects.rejected.iter().filter(|_| !may_reject) {
            self.violation(Violation::Left, transaction, &format!("{path} was rejected"));
        }
        self.apply(transaction);
    }

    fn is_the_leaders(&mut self, transaction: &Transaction, effects: &TxnEffects<'_>) {
        match self.tree.leader() {
            Some((path, owner, _)) if owner == transaction.session => {
                // No other client depends on the closing of an open barrier, so any node may do it.
                let is_mere_closing = effects.closes && !effects.opens && effects.fence.is_none();
                if !is_mere_closing && !effects.checked.contains(&path.as_str()) {
                    self.violation(
                        Violation::Unfenced,
                        transaction,
                        &format!("{} without a check of {path}", effects.words()),
                    );
                }
            }
            Some((path, owner, node)) => {
                let what = format!(
                    "{}, but {path} of {owner:#x} (node {node}) is the first contender",
                    effects.words()
                );
                self.violation(Violation::NotTheLeader, transaction, &what);
            }
            None => {
                self.violation(
                    Violation::NotTheLeader,
                    transaction,
                    &format!("{}, but there is no contender", effects.words()),
                );
            }
        }
    }

    /// Checks the fence, the report and the barrier.
    fn cycle(&mut self, transaction: &Transaction, effects: &TxnEffects<'_>) {
        let lock_step = self.history.is_some_and(|history| history.lock_step);
        let turns_over = effects.opens && effects.closes;
        let own = self.fence.filter(|_| self.writer == transaction.session);
        let is_cycle = match (self.fence, effects.fence) {
            (before, Some(Some(fence))) => {
                let is_cycle = !effects.created.is_empty() || (before == Some(fence) && turns_over);
                self.fence = Some(fence);
                self.check_fence(transaction, before, fence, effects);
                is_cycle
            }
            (_, Some(None)) => {
                self.violation(
                    Violation::Epoch,
                    transaction,
                    "the fence was deleted, or holds nothing that can be read",
                );
                false
            }
            (_, None) => {
                if !effects.created.is_empty() {
                    let what = format!("the report of cycle {} without the cycle", effects.created[0].0);
                    self.violation(Violation::Cycle, transaction, &what);
                }
                false
            }
        };
        if lock_step {
            if is_cycle {
                if let Some(opened) = self.opened.take() {
                    let what = format!("a cycle, and the barrier had been open since {opened:#x}");
                    self.violation(Violation::Open, transaction, &what);
                }
                let closed_before = self.tree.has(BARRIER);
                if !effects.closes || closed_before != effects.opens {
                    self.violation(Violation::Generation, transaction, "a cycle without a new generation");
                }
            } else if turns_over {
                self.violation(Violation::Generation, transaction, "a new generation without a cycle");
            }
            if effects.opens && !effects.closes {
                self.opened = Some(transaction.zxid);
            }
        }
        if effects.closes {
            self.generation = Some(transaction.zxid);
            self.generations += 1;
        }
        if effects.fence.is_some() && !effects.rewrite(own) {
            self.fence_writes = (transaction.zxid, self.fence_writes.0);
            self.writer = transaction.session;
        }
    }

    fn check_fence(
        &mut self,
        transaction: &Transaction,
        before: Option<Fence>,
        fence: Fence,
        effects: &TxnEffects<'_>,
    ) {
        let Some((cycle, data)) = effects.created.first().copied() else {
            if before == Some(fence) && self.writer == transaction.session {
                if effects.opens || effects.closes {
                    self.empty(transaction);
                }
                return;
            }
            self.findings.counts.epochs += 1;
            self.foreign.epoch(transaction, &self.tree, &mut self.findings);
            if let Some((_, _, node)) = self.tree.leader() {
                self.elected.push((transaction.time, node));
            }
            let Some(before) = before else { return };
            if Some(fence.epoch) != before.epoch.checked_add(1) {
                let what = format!("epoch {} after {}", fence.epoch, before.epoch);
                self.violation(Violation::Epoch, transaction, &what);
            }
            if fence.cycle != before.cycle {
                let what = format!("a new epoch made cycle {} of {}", fence.cycle, before.cycle);
                self.violation(Violation::Cycle, transaction, &what);
            }
            return;
        };
        let before = before.unwrap_or(Fence { epoch: fence.epoch, cycle: fence.cycle.saturating_sub(1) });
        if fence.epoch != before.epoch {
            let what = format!("a cycle of epoch {} in epoch {}", fence.epoch, before.epoch);
            self.violation(Violation::Epoch, transaction, &what);
        }
        // A cycle whose path is occupied by another znode is skipped. Depending on the moment, the znode may or may not
        // exist when the leader commits, so both are accepted.
        let mut next = before.cycle.checked_add(1);
        while let Some(occupied) =
            next.filter(|next| *next != fence.cycle && self.foreign.was_occupied(&format!("{REPORTS}{next}")))
        {
            next = occupied.checked_add(1);
        }
        if Some(fence.cycle) != next || cycle != fence.cycle || effects.created.len() != 1 {
            let what =
                format!("after cycle {} came {}, with the report of {cycle}", before.cycle, fence.cycle);
            self.violation(Violation::Cycle, transaction, &what);
        }
        self.report(transaction, fence, data);
    }

    fn apply(&mut self, transaction: &Transaction) {
        for change in &transaction.changes {
            if let Change::Create { path, data, .. } = change
                && path.starts_with(NODE_INFO)
                && !self.history.is_some_and(|history| history.foreign.contains(&transaction.session))
            {
                let said: Value = serde_json::from_slice(data).unwrap_or_default();
                self.processes.insert(transaction.session, format!("{} {}", said["pid"], said["started"]));
            }
        }
        for path in self.tree.apply(transaction) {
            if let Some(node) = path.strip_prefix(MEASUREMENTS) {
                for fleet in self.units.values_mut().chain([&mut self.fleet]) {
                    fleet.note(node, (transaction.zxid, transaction.time), None);
                }
            }
        }
        self.foreign.after(transaction, &self.tree);
    }

    fn end(mut self, history: &History) -> CheckReport {
        let mut expected = BTreeMap::new();
        for (&cycle, report) in &self.reports {
            let is_young = cycle > history.settled;
            if report.deleted.is_none() && !is_young {
                self.findings.add(Violation::Left, format!("cycle {cycle} is left in the outbox"));
            }
            for (key, average) in &report.averages {
                let Committed { time, committed, deleted, .. } = *report;
                let average = *average;
                expected.insert(
                    key.clone(),
                    ExpectedReport { cycle, average, time, committed, deleted, is_young },
                );
            }
        }
        delivery::check(&history.arrivals, &expected, &mut self.findings);
        if let Some(stored) = &history.stored {
            store::check(stored, &expected, history.posted, history.settled, &mut self.findings);
        }
        let counted = self.counter.unwrap_or(0);
        let measurements = i64::try_from(self.findings.counts.measurements).unwrap_or(i64::MAX);
        if history.counted && counted != measurements {
            let what = format!("the counter says {counted}, and there were {measurements} measurements");
            self.findings.add(Violation::Miscounted, what);
        }
        let Counts { missed, reports, .. } = self.findings.counts;
        if missed >= BAD_LUCK && missed * TOO_OFTEN >= reports {
            let what = format!(
                "{missed} of {reports} averages are without a measurement that was there: see the notes"
            );
            self.findings.add(Violation::WrongMean, what);
        }
        self.turns();
        self.late(history);
        self.foreign.end(history, &mut self.findings);
        logs::check(&history.log, &mut self.findings);
        logs::check_stalls(history, &mut self.findings);
        self.findings
    }

    /// Counts requests that arrived after another node had been elected.
    fn late(&mut self, history: &History) {
        for arrival in &history.arrivals {
            let Some(node) = &arrival.node else { continue };
            let before = self.elected.iter().rev().find(|(time, _)| *time < arrival.time);
            self.findings.counts.late += u64::from(before.is_some_and(|(_, elected)| elected != node));
        }
    }
}

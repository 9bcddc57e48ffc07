//! The judge: reads what ZooKeeper committed, transaction by transaction, and checks every promise. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::deeds::{BARRIER, Deeds, MEASUREMENTS, PRESENCE, REPORTS, Term, millis_of};
use super::evidence::Evidence;
use super::foreign_checks::ForeignChecks;
use super::kept;
use super::log_checks;
use super::mail::{self, Letter};
use super::means::{Average, Fleet, Window};
use super::tree::Tree;
use super::verdict::{Figures, Kind, Verdict};
use crate::journal::{Change, Transaction};

/// Checks every promise.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut walk = Walk { evidence: Some(evidence), ..Walk::default() };
    for transaction in &evidence.transactions {
        walk.step(transaction);
    }
    walk.end(evidence)
}

/// Maximum delay of the server that a leader is connected to, and maximum error of the leader's estimate of the
/// servers' clock, in milliseconds.
const BEHIND: i64 = 300;
/// In lock-step, minimum time in milliseconds between a publication and the read of the fleet for a missing measurement
/// to be a certain violation.
pub(super) const SEEN: i64 = 150;
/// Number of averages of a fleet that may miss a measurement published just before the read of the fleet: at this
/// number, and at one in [`TOO_OFTEN`] of all, it is not chance but a violation.
const BAD_LUCK: u64 = 3;
const TOO_OFTEN: u64 = 4;
/// Maximum time until a leader has read the list of members, in milliseconds.
const LISTED: i64 = 1_000;

#[derive(Debug)]
pub(super) struct Committed {
    averages: Vec<(String, Average)>,
    time: Option<i64>,
    committed: i64,
    deleted: Option<i64>,
}

/// State after some of the transactions.
#[derive(Default)]
pub(super) struct Walk<'a> {
    pub(super) evidence: Option<&'a Evidence>,
    pub(super) verdict: Verdict,
    pub(super) tree: Tree,
    pub(super) term: Option<Term>,
    /// Session that wrote the fence last.
    pub(super) writer: i64,
    /// Transaction of the last write of the fence, and of the write before it.
    pub(super) fenced: (i64, i64),
    pub(super) reports: BTreeMap<u64, Committed>,
    pub(super) fleet: Fleet,
    /// Time of the first publication of each measurement.
    pub(super) measured: BTreeMap<(String, u64), i64>,
    /// Samples in lock-step: node, number of the generation, session.
    pub(super) turns: Vec<(String, u64, i64)>,
    /// Number of generations so far.
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

impl Walk<'_> {
    pub(super) fn wrong(&mut self, kind: Kind, transaction: &Transaction, what: &str) {
        let text = format!("{what} (zxid {:#x}, session {:#x})", transaction.zxid, transaction.session);
        self.verdict.add(kind, text);
    }

    fn step(&mut self, transaction: &Transaction) {
        let deeds = Deeds::of(transaction);
        if let Some(evidence) =
            self.evidence.filter(|evidence| evidence.foreign.contains(&transaction.session))
        {
            self.foreign.of_other_client(transaction, &self.tree, evidence, &mut self.verdict);
            for (name, data) in &deeds.measurements {
                self.publish_foreign(transaction, name, data);
            }
            return self.apply(transaction);
        }
        let may_set_aside = self.foreign.may_set_aside(transaction, &deeds);
        self.foreign.of_node(transaction, &deeds, &self.tree, &mut self.verdict);
        let own = self.term.filter(|_| self.writer == transaction.session);
        if deeds.are_a_leaders(own) {
            self.is_the_leaders(transaction, &deeds);
        }
        self.count(transaction, &deeds);
        for (node, data) in &deeds.measurements {
            self.publish(transaction, node, data);
        }
        self.cycle(transaction, &deeds);
        for cycle in &deeds.deleted {
            if let Some(report) = self.reports.get_mut(cycle) {
                report.deleted = Some(transaction.time);
            }
        }
        for path in deeds.aside.iter().filter(|_| !may_set_aside) {
            self.wrong(Kind::Left, transaction, &format!("{path} was set aside"));
        }
        self.apply(transaction);
    }

    fn is_the_leaders(&mut self, transaction: &Transaction, deeds: &Deeds<'_>) {
        match self.tree.leader() {
            Some((path, owner, _)) if owner == transaction.session => {
                // No other client depends on the closing of an open barrier, so any node may do it.
                let is_mere_closing = deeds.closes && !deeds.opens && deeds.term.is_none();
                if !is_mere_closing && !deeds.checked.contains(&path.as_str()) {
                    self.wrong(
                        Kind::Unfenced,
                        transaction,
                        &format!("{} without a check of {path}", deeds.words()),
                    );
                }
            }
            Some((path, owner, node)) => {
                let what =
                    format!("{}, but {path} of {owner:#x} (node {node}) is first in line", deeds.words());
                self.wrong(Kind::NotTheLeader, transaction, &what);
            }
            None => {
                self.wrong(
                    Kind::NotTheLeader,
                    transaction,
                    &format!("{}, but nobody is in line", deeds.words()),
                );
            }
        }
    }

    /// Checks the fence, the report and the barrier.
    fn cycle(&mut self, transaction: &Transaction, deeds: &Deeds<'_>) {
        let lock_step = self.evidence.is_some_and(|evidence| evidence.lock_step);
        let turns_over = deeds.opens && deeds.closes;
        let own = self.term.filter(|_| self.writer == transaction.session);
        let is_cycle = match (self.term, deeds.term) {
            (before, Some(Some(term))) => {
                let is_cycle = !deeds.created.is_empty() || (before == Some(term) && turns_over);
                self.term = Some(term);
                self.judge_term(transaction, before, term, deeds);
                is_cycle
            }
            (_, Some(None)) => {
                self.wrong(
                    Kind::Epoch,
                    transaction,
                    "the fence was deleted, or holds nothing that can be read",
                );
                false
            }
            (_, None) => {
                if !deeds.created.is_empty() {
                    let what = format!("the report of cycle {} without the cycle", deeds.created[0].0);
                    self.wrong(Kind::Cycle, transaction, &what);
                }
                false
            }
        };
        if lock_step {
            if is_cycle {
                if let Some(opened) = self.opened.take() {
                    let what = format!("a cycle, and the barrier had been open since {opened:#x}");
                    self.wrong(Kind::Open, transaction, &what);
                }
                let closed_before = self.tree.has(BARRIER);
                if !deeds.closes || closed_before != deeds.opens {
                    self.wrong(Kind::Generation, transaction, "a cycle without a new generation");
                }
            } else if turns_over {
                self.wrong(Kind::Generation, transaction, "a new generation without a cycle");
            }
            if deeds.opens && !deeds.closes {
                self.opened = Some(transaction.zxid);
            }
        }
        if deeds.closes {
            self.generation = Some(transaction.zxid);
            self.generations += 1;
        }
        if deeds.term.is_some() && !deeds.rewrite(own) {
            self.fenced = (transaction.zxid, self.fenced.0);
            self.writer = transaction.session;
        }
    }

    fn judge_term(&mut self, transaction: &Transaction, before: Option<Term>, term: Term, deeds: &Deeds<'_>) {
        let Some((cycle, data)) = deeds.created.first().copied() else {
            if before == Some(term) && self.writer == transaction.session {
                if deeds.opens || deeds.closes {
                    self.empty(transaction);
                }
                return;
            }
            self.verdict.figures.epochs += 1;
            self.foreign.epoch(transaction, &self.tree, &mut self.verdict);
            if let Some((_, _, node)) = self.tree.leader() {
                self.elected.push((transaction.time, node));
            }
            let Some(before) = before else { return };
            if Some(term.epoch) != before.epoch.checked_add(1) {
                let what = format!("epoch {} after {}", term.epoch, before.epoch);
                self.wrong(Kind::Epoch, transaction, &what);
            }
            if term.cycle != before.cycle {
                let what = format!("a new epoch made cycle {} of {}", term.cycle, before.cycle);
                self.wrong(Kind::Cycle, transaction, &what);
            }
            return;
        };
        let before = before.unwrap_or(Term { epoch: term.epoch, cycle: term.cycle.saturating_sub(1) });
        if term.epoch != before.epoch {
            let what = format!("a cycle of epoch {} in epoch {}", term.epoch, before.epoch);
            self.wrong(Kind::Epoch, transaction, &what);
        }
        // A cycle whose path is occupied by another znode is skipped. Depending on the moment, the znode may or may not
        // exist when the leader commits, so both are accepted.
        let mut next = before.cycle.checked_add(1);
        while let Some(occupied) =
            next.filter(|next| *next != term.cycle && self.foreign.was_occupied(&format!("{REPORTS}{next}")))
        {
            next = occupied.checked_add(1);
        }
        if Some(term.cycle) != next || cycle != term.cycle || deeds.created.len() != 1 {
            let what =
                format!("after cycle {} came {}, with the report of {cycle}", before.cycle, term.cycle);
            self.wrong(Kind::Cycle, transaction, &what);
        }
        self.report(transaction, term, data);
    }

    /// Checks a lock-step cycle without a report.
    fn empty(&mut self, transaction: &Transaction) {
        let readings = self.fleet.readings(self.window(transaction, transaction.time - BEHIND));
        if readings.iter().any(|(_, readings)| !readings.contains(&None)) {
            let what = format!("a generation ended without an average, and there were {readings:?}");
            self.wrong(Kind::Generation, transaction, &what);
        }
    }

    /// Checks a committed report.
    fn report(&mut self, transaction: &Transaction, term: Term, data: &[u8]) {
        self.verdict.figures.reports += 1;
        let report: Value = serde_json::from_slice(data).unwrap_or_default();
        if Term::parse(data) != Some(term) {
            let what = format!("a report of {:?} in {term:?}", Term::parse(data));
            self.wrong(Kind::Cycle, transaction, &what);
        }
        let time = report["time"].as_str().and_then(millis_of);
        // The time is an estimate of the servers' clock, and may be late.
        let read = time.unwrap_or(i64::MAX).min(transaction.time);
        let mut averages = Vec::new();
        for average in report["averages"].as_array().into_iter().flatten() {
            let number = |name: &str| average[name].as_f64().unwrap_or(f64::NAN);
            let count = average["count"].as_u64().and_then(|count| count.try_into().ok()).unwrap_or(0);
            let unit = average["unit"].as_str();
            let key = match unit {
                None => format!("{}-{}", term.epoch, term.cycle),
                Some(unit) => format!("{}-{}-{unit}", term.epoch, term.cycle),
            };
            let average = Average { mean: number("mean"), min: number("min"), max: number("max"), count };
            averages.push((key, average));
            if [average.mean, average.min, average.max]
                .iter()
                .any(|value| value.to_bits() == (-0.0_f64).to_bits())
            {
                let what = format!("cycle {}: negative zero in {average:?}", term.cycle);
                self.wrong(Kind::WrongMean, transaction, &what);
            }
            match unit {
                None => self.average(transaction, term, average, read),
                Some(unit) => self.average_of_unit(transaction, term, (unit, average), read),
            }
        }
        if averages.is_empty() {
            self.wrong(
                Kind::Cycle,
                transaction,
                &format!("the report of cycle {} has no average", term.cycle),
            );
        }
        let committed = Committed { averages, time, committed: transaction.time, deleted: None };
        self.reports.insert(term.cycle, committed);
    }

    /// Returns the window in which the fleet was read for this transaction; in lock-step, measurements published by
    /// `seen` must be included.
    pub(super) fn window(&self, transaction: &Transaction, seen: i64) -> Window {
        let (lock_step, life) =
            self.evidence.map_or((false, i64::MAX), |evidence| (evidence.lock_step, evidence.life));
        Window {
            after: self.fenced.0,
            before: transaction.zxid,
            listed: self.fenced.1,
            joined: transaction.time - LISTED,
            stale: transaction.time.saturating_sub(life).saturating_add(BEHIND),
            generation: self.generation.filter(|_| lock_step).map(|generation| (generation, seen)),
        }
    }

    /// Applies the transaction to the tree.
    fn apply(&mut self, transaction: &Transaction) {
        for change in &transaction.changes {
            if let Change::Create { path, data, .. } = change
                && path.starts_with(PRESENCE)
                && !self.evidence.is_some_and(|evidence| evidence.foreign.contains(&transaction.session))
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

    fn end(mut self, evidence: &Evidence) -> Verdict {
        let mut letters = BTreeMap::new();
        for (&cycle, report) in &self.reports {
            let is_young = cycle > evidence.settled;
            if report.deleted.is_none() && !is_young {
                self.verdict.add(Kind::Left, format!("cycle {cycle} is left in the outbox"));
            }
            for (key, average) in &report.averages {
                let Committed { time, committed, deleted, .. } = *report;
                let average = *average;
                letters.insert(key.clone(), Letter { cycle, average, time, committed, deleted, is_young });
            }
        }
        mail::look(&evidence.arrivals, &letters, &mut self.verdict);
        if let Some(held) = &evidence.held {
            kept::look(held, &letters, evidence.posted, evidence.settled, &mut self.verdict);
        }
        let counted = self.counter.unwrap_or(0);
        let measurements = i64::try_from(self.verdict.figures.measurements).unwrap_or(i64::MAX);
        if evidence.counted && counted != measurements {
            let what = format!("the counter says {counted}, and there were {measurements} measurements");
            self.verdict.add(Kind::Miscounted, what);
        }
        let Figures { missed, reports, .. } = self.verdict.figures;
        if missed >= BAD_LUCK && missed * TOO_OFTEN >= reports {
            let what = format!(
                "{missed} of {reports} averages are without a measurement that was there: see the notes"
            );
            self.verdict.add(Kind::WrongMean, what);
        }
        self.turns();
        self.late(evidence);
        self.foreign.end(evidence, &mut self.verdict);
        log_checks::check(&evidence.log, &mut self.verdict);
        log_checks::check_stalls(evidence, &mut self.verdict);
        self.verdict
    }

    /// Counts requests that arrived after another node had been elected.
    fn late(&mut self, evidence: &Evidence) {
        for arrival in &evidence.arrivals {
            let Some(node) = &arrival.node else { continue };
            let before = self.elected.iter().rev().find(|(time, _)| *time < arrival.time);
            self.verdict.figures.late += u64::from(before.is_some_and(|(_, elected)| elected != node));
        }
    }
}

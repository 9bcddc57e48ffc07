//! Checks of measurements: whether each was counted, and how often nodes measured. Pure.

use std::collections::BTreeMap;

use super::Checker;
use crate::chaos::check_report::Violation;
use crate::chaos::measurement;
use crate::chaos::txn_effects::TxnEffects;
use crate::journal::Transaction;

impl Checker<'_> {
    /// Records data that another client has published, which may not be a measurement.
    pub(super) fn publish_foreign(&mut self, transaction: &Transaction, name: &str, data: &[u8]) {
        let at = (transaction.zxid, transaction.time);
        let mut values = measurement::parse(data).unwrap_or_default();
        let published = |values: Vec<f64>| (values, transaction.zxid);
        self.fleet.note(name, at, values.remove(&None).map(published));
        for unit in values.keys().flatten() {
            self.units.entry(unit.clone()).or_default();
        }
        for (unit, fleet) in &mut self.units {
            fleet.note(name, at, values.remove(&Some(unit.clone())).map(published));
        }
    }

    /// Records a measurement, published for the first time or again.
    pub(super) fn publish(&mut self, transaction: &Transaction, node: &str, data: &[u8]) {
        let number = std::str::from_utf8(data).ok().and_then(|text| text.trim().parse::<f64>().ok());
        let Some(value) = number else {
            self.fleet.note(node, (transaction.zxid, transaction.time), None);
            return;
        };
        let known = self.measured.get(&(node.to_owned(), value.to_bits())).copied();
        if known.is_none() {
            self.measured.insert((node.to_owned(), value.to_bits()), transaction.zxid);
            self.findings.counts.measurements += 1;
            if self.generation.is_some() {
                self.turns.push((node.to_owned(), self.generations, transaction.session));
            }
        }
        self.fleet.note(
            node,
            (transaction.zxid, transaction.time),
            Some((vec![value], known.unwrap_or(transaction.zxid))),
        );
    }

    /// Checks the counter. Called before [`publish`](Self::publish), because a new measurement must be counted in the
    /// same transaction.
    pub(super) fn count(&mut self, transaction: &Transaction, effects: &TxnEffects<'_>) {
        if !self.history.is_some_and(|history| history.counted) {
            return;
        }
        let is_new = |(node, data): &&(&str, &[u8])| {
            let value = std::str::from_utf8(data).ok().and_then(|text| text.trim().parse::<f64>().ok());
            value.is_some_and(|value| !self.measured.contains_key(&((*node).to_owned(), value.to_bits())))
        };
        let new = effects.measurements.iter().filter(is_new).count();
        let before = self.counter;
        if let Some(data) = effects.counter {
            let text = std::str::from_utf8(data).unwrap_or("not text").trim();
            self.counter = if text.is_empty() { Some(0) } else { text.parse().ok() };
            if self.counter.is_none() {
                self.violation(Violation::Miscounted, transaction, &format!("the counter holds {text:?}"));
            }
        }
        let counted = self.counter.unwrap_or(0) - before.unwrap_or(0);
        let new = i64::try_from(new).unwrap_or(i64::MAX);
        if (0..new).contains(&counted) {
            let what = format!("{new} new measurements were published, and counted were {counted}");
            self.violation(Violation::NotCounted, transaction, &what);
        }
        if counted > new || counted < 0 {
            let nodes: Vec<&str> = effects.measurements.iter().map(|(node, _)| *node).collect();
            let what = format!("counted were {counted}, and published {new} new measurements, by {nodes:?}");
            self.violation(Violation::Miscounted, transaction, &what);
        }
    }

    /// Checks how often nodes measured: a process measures when it starts, and once in each generation. On a busy
    /// machine three measurements may be in one generation: one that was on its way when the previous generation ended,
    /// the newest of those that had to wait for it, and its own.
    pub(super) fn turns(&mut self) {
        const MOST: u64 = 3;
        let mut left: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        for (node, generation, session) in &self.turns {
            // The process was killed before it could publish its identity. It is not the process that follows it.
            let Some(process) = self.processes.get(session) else { continue };
            let (last, left) = left.entry((node, process)).or_insert((*generation, MOST));
            if last == generation {
                self.findings.counts.again += u64::from(*left < MOST);
            }
            *left = (*left + generation - *last).min(MOST);
            *last = *generation;
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => {
                    let text = format!("node {node} measured too often in the {generation}th generation");
                    self.findings.add(Violation::MeasuredTwice, text);
                }
            }
        }
    }
}

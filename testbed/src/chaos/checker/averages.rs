//! Checks of averages: each must be the average of the measurements that clients had published when the leader read the
//! fleet. Pure.

use serde_json::Value;

use super::{Checker, Committed};
use crate::chaos::check_report::Violation;
use crate::chaos::checks::averages::{Average, Found, Window};
use crate::chaos::history::History;
use crate::chaos::txn_effects::Fence;
use crate::journal::Transaction;
use crate::time::millis_of;

/// Maximum delay of the server that a leader is connected to, and maximum error of the leader's estimate of the
/// servers' clock, in milliseconds.
const BEHIND: i64 = 300;
/// What a leader logs when it starts to read the fleet.
const READS: &str = "reading the fleet";
/// In lock-step, minimum time in milliseconds between a publication and the read of the fleet for a missing measurement
/// to be a certain violation.
const SEEN: i64 = 150;
/// Maximum time until a leader has read the list of members, in milliseconds.
const LISTED: i64 = 1_000;

impl Checker<'_> {
    /// Checks a lock-step cycle without a report. The time between the read of the fleet and the commit has no limit, so
    /// a measurement is missing only if it was published before the leader logged that it starts to read.
    pub(super) fn empty(&mut self, transaction: &Transaction) {
        let Some(read) = self.last_read(transaction) else {
            let is_logged = |history: &History| history.log.iter().any(|line| line.text.contains(READS));
            if self.history.is_some_and(|history| history.complete_log && !is_logged(history)) {
                self.violation(Violation::Other, transaction, &format!("no leader has logged {READS:?}"));
            }
            return;
        };
        let readings = self.fleet.readings(self.window(transaction, read - BEHIND));
        if readings.iter().any(|(_, readings)| !readings.contains(&None)) {
            let what = format!("a generation ended without an average, and there were {readings:?}");
            self.violation(Violation::Generation, transaction, &what);
        }
    }

    /// Returns the time at which the leader began to read the fleet for this transaction, or an earlier one if log lines
    /// are lost; `None` if it has logged none.
    fn last_read(&self, transaction: &Transaction) -> Option<i64> {
        let (history, (_, _, leader)) = (self.history?, self.tree.leader()?);
        let process = format!("node-{leader}-");
        let lines = history.log.iter().filter(|line| line.process.starts_with(&process));
        let reads = lines.filter(|line| line.text.contains(READS));
        // The line was written at the time that it contains; it may have arrived later.
        let times = reads.filter_map(|line| millis_of(line.text.split_ascii_whitespace().next()?));
        times.filter(|time| *time <= transaction.time).max()
    }

    pub(super) fn report(&mut self, transaction: &Transaction, fence: Fence, data: &[u8]) {
        self.findings.counts.reports += 1;
        let report: Value = serde_json::from_slice(data).unwrap_or_default();
        if Fence::parse(data) != Some(fence) {
            let what = format!("a report of {:?} in {fence:?}", Fence::parse(data));
            self.violation(Violation::Cycle, transaction, &what);
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
                None => format!("{}-{}", fence.epoch, fence.cycle),
                Some(unit) => format!("{}-{}-{unit}", fence.epoch, fence.cycle),
            };
            let average = Average { mean: number("mean"), min: number("min"), max: number("max"), count };
            averages.push((key, average));
            if [average.mean, average.min, average.max]
                .iter()
                .any(|value| value.to_bits() == (-0.0_f64).to_bits())
            {
                let what = format!("cycle {}: negative zero in {average:?}", fence.cycle);
                self.violation(Violation::WrongMean, transaction, &what);
            }
            match unit {
                None => self.average(transaction, fence, average, read),
                Some(unit) => self.average_of_unit(transaction, fence, (unit, average), read),
            }
        }
        if averages.is_empty() {
            self.violation(
                Violation::Cycle,
                transaction,
                &format!("the report of cycle {} has no average", fence.cycle),
            );
        }
        let committed = Committed { averages, time, committed: transaction.time, deleted: None };
        self.reports.insert(fence.cycle, committed);
    }

    /// Returns the window in which the fleet was read for this transaction; in lock-step, measurements published by
    /// `seen` must be included.
    fn window(&self, transaction: &Transaction, seen: i64) -> Window {
        let (lock_step, life) =
            self.history.map_or((false, i64::MAX), |history| (history.lock_step, history.life));
        Window {
            after: self.fence_writes.0,
            before: transaction.zxid,
            listed: self.fence_writes.1,
            joined: transaction.time - LISTED,
            stale: transaction.time.saturating_sub(life).saturating_add(BEHIND),
            generation: self.generation.filter(|_| lock_step).map(|generation| (generation, seen)),
        }
    }

    fn average(&mut self, transaction: &Transaction, fence: Fence, average: Average, read: i64) {
        let window = self.window(transaction, read - SEEN);
        match self.fleet.explain(average, window) {
            Found::Explained => {}
            Found::TooMany => self.findings.counts.undecided += 1,
            Found::Wrong => {
                let readings = self.fleet.readings(window);
                let what = format!("cycle {}: {average:?} is none of {readings:?}", fence.cycle);
                self.violation(Violation::WrongMean, transaction, &what);
            }
        }
        if window.generation.is_some() {
            let strict = self.window(transaction, read);
            if self.fleet.explain(average, strict) == Found::Wrong {
                self.findings.counts.missed += 1;
                let readings = self.fleet.readings(strict);
                self.findings
                    .notes
                    .push(format!("cycle {}: {average:?} has not seen all of {readings:?}", fence.cycle));
            }
        }
    }

    /// Checks the average of a unit, which only other clients have published.
    fn average_of_unit(
        &mut self,
        transaction: &Transaction,
        fence: Fence,
        (unit, average): (&str, Average),
        read: i64,
    ) {
        let window = Window { generation: None, ..self.window(transaction, read - SEEN) };
        let found = self.units.get(unit).map(|fleet| fleet.explain(average, window));
        if !matches!(found, Some(Found::Explained | Found::TooMany)) {
            let readings = self.units.get(unit).map(|fleet| fleet.readings(window)).unwrap_or_default();
            let what = format!("cycle {}: {average:?} of {unit:?} is none of {readings:?}", fence.cycle);
            self.violation(Violation::WrongMean, transaction, &what);
        }
    }
}

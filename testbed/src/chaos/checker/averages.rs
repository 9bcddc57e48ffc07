//! Checks of averages: each must be the average of the measurements that clients had published when the leader read the
//! fleet. Pure.

use super::{Checker, SEEN};
use crate::chaos::check_report::ViolationKind;
use crate::chaos::checks::averages::{Average, Found, Window};
use crate::chaos::txn_effects::Fence;
use crate::journal::Transaction;

impl Checker<'_> {
    pub(super) fn average(&mut self, transaction: &Transaction, fence: Fence, average: Average, read: i64) {
        let window = self.window(transaction, read - SEEN);
        match self.fleet.explain(average, window) {
            Found::Explained => {}
            Found::TooMany => self.findings.counts.undecided += 1,
            Found::Wrong => {
                let readings = self.fleet.readings(window);
                let what = format!("cycle {}: {average:?} is none of {readings:?}", fence.cycle);
                self.violation(ViolationKind::WrongMean, transaction, &what);
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
    pub(super) fn average_of_unit(
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
            self.violation(ViolationKind::WrongMean, transaction, &what);
        }
    }
}

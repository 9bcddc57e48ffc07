//! Checks of averages: each must be the average of the measurements that clients had published when the leader read the
//! fleet. Pure.

use super::deeds::Term;
use super::judge::{SEEN, Walk};
use super::means::{Average, Found, Window};
use super::verdict::Kind;
use crate::journal::Transaction;

impl Walk<'_> {
    pub(super) fn average(&mut self, transaction: &Transaction, term: Term, average: Average, read: i64) {
        let window = self.window(transaction, read - SEEN);
        match self.fleet.explain(average, window) {
            Found::Explained => {}
            Found::TooMany => self.verdict.figures.undecided += 1,
            Found::Wrong => {
                let readings = self.fleet.readings(window);
                let what = format!("cycle {}: {average:?} is none of {readings:?}", term.cycle);
                self.wrong(Kind::WrongMean, transaction, &what);
            }
        }
        if window.generation.is_some() {
            let strict = self.window(transaction, read);
            if self.fleet.explain(average, strict) == Found::Wrong {
                self.verdict.figures.missed += 1;
                let readings = self.fleet.readings(strict);
                self.verdict
                    .notes
                    .push(format!("cycle {}: {average:?} has not seen all of {readings:?}", term.cycle));
            }
        }
    }

    /// Checks the average of a unit, which only other clients have published.
    pub(super) fn average_of_unit(
        &mut self,
        transaction: &Transaction,
        term: Term,
        (unit, average): (&str, Average),
        read: i64,
    ) {
        let window = Window { generation: None, ..self.window(transaction, read - SEEN) };
        let found = self.units.get(unit).map(|fleet| fleet.explain(average, window));
        if !matches!(found, Some(Found::Explained | Found::TooMany)) {
            let readings = self.units.get(unit).map(|fleet| fleet.readings(window)).unwrap_or_default();
            let what = format!("cycle {}: {average:?} of {unit:?} is none of {readings:?}", term.cycle);
            self.wrong(Kind::WrongMean, transaction, &what);
        }
    }
}

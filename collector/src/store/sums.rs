//! Sums of samples, and the rows that are made of them.

use super::rollup::Rollup;
use crate::measurements::{ClockState, Row, Sample};
use crate::values::without_negative_zero;

/// Sums of the samples of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sums {
    pub(super) rollup: Rollup,
    /// State of the clock of the least certain sample.
    pub(super) clock: ClockState,
}

impl Sums {
    pub(super) fn of(Sample { value, clock, .. }: &Sample) -> Sums {
        let rollup = Rollup { reports: 1, sum: *value, min: *value, max: *value, moments: None };
        Sums { rollup, clock: *clock }
    }

    pub(super) fn add(&mut self, other: Sums) {
        self.rollup.add(other.rollup);
        self.clock = self.clock.max(other.clock);
    }

    /// Returns the row of a step that begins at `time`.
    pub(super) fn row(self, time: i64) -> Row {
        let Sums { rollup, clock } = self;
        let [mean, min, max] = [rollup.mean(), rollup.min, rollup.max].map(without_negative_zero);
        Row { time, mean, min, max, count: rollup.reports, clock, sample: None }
    }
}

/// Rows of steps, from sums in the order of their times.
pub(super) struct Steps {
    length: i64,
    done: Vec<(i64, Sums)>,
}

impl Steps {
    pub(super) fn new(length: i64) -> Steps {
        Steps { length: length.max(1), done: Vec::new() }
    }

    /// Adds the sums of a minute or an hour that begins at `time`.
    pub(super) fn add(&mut self, time: i64, sums: Sums) {
        let begin = time - time.rem_euclid(self.length);
        match self.done.last_mut() {
            Some((last, all)) if *last == begin => all.add(sums),
            _ => self.done.push((begin, sums)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.done.len()
    }

    pub(super) fn rows(self, limit: usize) -> Vec<Row> {
        self.done.into_iter().take(limit).map(|(time, sums)| sums.row(time)).collect()
    }
}

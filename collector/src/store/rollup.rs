//! Sums of many reports.

use jiff::Timestamp;

use super::interface::Point;
use crate::report::Report;
use crate::values::without_negative_zero;

/// Quantity and unit.
pub(super) type Kind = (Option<String>, Option<String>);

pub(super) fn kind(report: &Report) -> Kind {
    (report.quantity.clone(), report.unit.clone())
}

/// Number of reports, sum of their means, minimum and maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rollup {
    pub(super) reports: i64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Rollup {
    pub(super) fn of(report: &Report) -> Rollup {
        let Report { mean, min, max, .. } = *report;
        Rollup { reports: 1, sum: mean, min: min.unwrap_or(mean), max: max.unwrap_or(mean) }
    }

    pub(super) fn add(&mut self, other: Rollup) {
        self.reports += other.reports;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Returns the mean. It lies between minimum and maximum even if the sum overflows.
    pub(super) fn mean(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52 reports")]
        let count = self.reports.max(1) as f64;
        (self.sum / count).max(self.min).min(self.max)
    }

    /// Computes the point of a step that begins at `time`.
    pub(super) fn point(self, time: i64, (quantity, unit): Kind) -> Point {
        let Rollup { reports, min, max, .. } = self;
        let time = Timestamp::from_microsecond(time).unwrap_or(Timestamp::MAX);
        let [mean, min, max] = [self.mean(), min, max].map(without_negative_zero);
        Point { time, quantity, unit, reports, mean, min, max }
    }
}

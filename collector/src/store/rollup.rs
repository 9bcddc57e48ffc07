//! Sums of many reports.

use jiff::Timestamp;

use super::interface::{Point, Sum};
use crate::moments::{Moments, merge};
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
    /// Moments of the readings of those reports that have any.
    pub(super) moments: Option<Moments>,
}

impl Rollup {
    pub(super) fn of(report: &Report) -> Rollup {
        let Report { mean, min, max, .. } = *report;
        let (min, max) = (min.unwrap_or(mean), max.unwrap_or(mean));
        Rollup { reports: 1, sum: mean, min, max, moments: Moments::of(report) }
    }

    pub(super) fn add(&mut self, other: Rollup) {
        self.reports += other.reports;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.moments = merge(self.moments, other.moments);
    }

    /// Returns the mean. It lies between minimum and maximum even if the sum overflows.
    pub(super) fn mean(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52 reports")]
        let count = self.reports.max(1) as f64;
        (self.sum / count).max(self.min).min(self.max)
    }

    /// Returns the sum of a step that begins at `time`, in microseconds since 1970.
    pub(super) fn of_step(self, time: i64, (quantity, unit): Kind) -> Sum {
        let Rollup { reports, sum, min, max, moments } = self;
        Sum { time, quantity, unit, reports, sum, min, max, moments }
    }
}

impl Sum {
    pub(super) fn point(self) -> Point {
        let Sum { time, quantity, unit, reports, sum, min, max, .. } = self;
        let time = Timestamp::from_microsecond(time).unwrap_or(Timestamp::MAX);
        let mean = Rollup { reports, sum, min, max, moments: None }.mean();
        let [mean, min, max] = [mean, min, max].map(without_negative_zero);
        Point { time, quantity, unit, reports, mean, min, max }
    }
}

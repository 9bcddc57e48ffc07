//! Sums of many reports.

use super::{Point, point};
use crate::report::Report;

/// Quantity and unit.
pub(super) type Kind = (Option<String>, Option<String>);

pub(super) fn kind(report: &Report) -> Kind {
    (report.quantity.clone(), report.unit.clone())
}

/// Number of reports, sum of their means, minimum and maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sum {
    pub(super) reports: i64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Sum {
    pub(super) fn of(report: &Report) -> Sum {
        let Report { mean, min, max, .. } = *report;
        Sum { reports: 1, sum: mean, min: min.unwrap_or(mean), max: max.unwrap_or(mean) }
    }

    pub(super) fn add(&mut self, other: Sum) {
        self.reports += other.reports;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    pub(super) fn point(self, time: i64, kind: Kind) -> Point {
        point(time, kind, self.reports, self.sum, (self.min, self.max))
    }
}

//! Order of the reports of one quantity and unit: decides which of them is the latest. Pure.
//!
//! Times come from foreign clocks, so they are the last criterion, and never count beyond the time of arrival.

use crate::report::Report;

/// Order of one report among those of its quantity and unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recency {
    /// Epoch and cycle.
    pub(super) key: Option<(i64, i64)>,
    /// Time of the measurement by the sender's clock, in microseconds since 1970.
    pub(super) time: i64,
    /// Time of arrival by the collector's clock.
    pub(super) received: i64,
}

impl Recency {
    pub(super) fn of(report: &Report) -> Recency {
        Recency {
            key: report.epoch.zip(report.cycle),
            time: report.time.as_microsecond(),
            received: report.received.as_microsecond(),
        }
    }

    /// Returns true if this report, which has just arrived, is the latest from now on instead of `latest`. Epoch and
    /// cycle decide if both reports have them. Otherwise a report that is not dated before its arrival is the latest,
    /// and one that is dated before needs a later time, where a time ahead of the arrival counts as the arrival.
    pub(super) fn supersedes(&self, latest: &Recency) -> bool {
        match (self.key, latest.key) {
            (Some(own), Some(other)) => own > other,
            _ => self.time >= self.received || self.time >= latest.time.min(latest.received),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_report_is_decided_by_epoch_and_cycle_and_else_by_arrival() {
        let keyed = |epoch, cycle, time| Recency { key: Some((epoch, cycle)), time, received: 100 };
        let bare = |time, received| Recency { key: None, time, received };
        for (new, latest, expected) in [
            (keyed(7, 2, 10), keyed(7, 1, 90), true),
            (keyed(8, 1, 10), keyed(7, 9, 90), true),
            (keyed(7, 1, 99), keyed(7, 2, 10), false),
            (bare(101, 101), bare(900, 100), true),
            (bare(101, 101), keyed(7, 1, 900), true),
            (bare(50, 101), bare(900, 100), false),
            (bare(50, 101), bare(40, 100), true),
            (keyed(7, 1, 50), bare(60, 99), false),
            (keyed(7, 1, 60), bare(60, 99), true),
            // The collector's clock was set back in the meantime.
            (bare(30, 30), bare(100, 100), true),
        ] {
            assert_eq!(new.supersedes(&latest), expected, "{new:?} after {latest:?}");
        }
    }
}

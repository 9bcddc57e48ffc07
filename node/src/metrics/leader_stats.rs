//! Values that only a leader knows. They are discarded when its leadership ends.

use std::time::Duration;

use atalaya_recipes::clock::BootInstant;

use crate::model::measurement::Exclusion;
use crate::model::report::Average;

#[derive(Clone, Debug, Default)]
pub(crate) struct LeaderStats {
    /// Time by which the current or next cycle ends, if all its requests to ZooKeeper are answered in time.
    pub(crate) cycle_expected_by: Option<BootInstant>,
    /// Time of the last request to the API or answer from it, of the start of the delivery, or of the first report that
    /// entered the empty outbox, whichever is latest.
    pub(crate) last_delivery_activity: Option<BootInstant>,
    /// ZooKeeper's clock, in milliseconds since 1970, and the time at which it was recorded.
    pub(crate) server_time: Option<(BootInstant, i64)>,
    pub(crate) fleet: Option<FleetCounts>,
    pub(crate) averages: Vec<Average>,
    pub(crate) outbox_reports: usize,
    /// Time of the oldest report in the outbox, by ZooKeeper's clock, in milliseconds since 1970.
    pub(crate) oldest_report: Option<i64>,
    /// Number of rejected reports that are kept in ZooKeeper.
    pub(crate) rejected_reports: Option<i32>,
    /// Value of the counter, if the leader writes it.
    pub(crate) counter: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FleetCounts {
    pub(crate) nodes: usize,
    /// Numbers of excluded nodes, in the order of [`Exclusion::REASONS`].
    pub(crate) excluded: [usize; Exclusion::REASONS.len()],
}

impl LeaderStats {
    /// Returns the age of the oldest report in the outbox; zero if the outbox is empty.
    pub(crate) fn oldest_report_age(&self, now: BootInstant) -> Duration {
        let (Some((recorded_at, server_time)), Some(oldest)) = (self.server_time, self.oldest_report) else {
            return Duration::ZERO;
        };
        let elapsed = i64::try_from(now.since(recorded_at).as_millis()).unwrap_or(i64::MAX);
        // Negative if the report is from the future, by a clock that was set back.
        let age = server_time.saturating_add(elapsed).saturating_sub(oldest);
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn age_of_the_oldest_report_is_by_the_clock_of_zookeeper() {
        let at = |second: u64| BootInstant::at(Duration::from_secs(second));
        let stats = LeaderStats {
            server_time: Some((at(10), 1_000_000)),
            oldest_report: Some(997_000),
            ..LeaderStats::default()
        };
        assert_eq!(stats.oldest_report_age(at(12)), 5 * SECOND);
        let from_the_future = LeaderStats { oldest_report: Some(2_000_000), ..stats };
        assert_eq!(from_the_future.oldest_report_age(at(12)), Duration::ZERO);
        assert_eq!(LeaderStats::default().oldest_report_age(at(12)), Duration::ZERO);
    }
}

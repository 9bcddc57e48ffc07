//! Status of the reports: whether they arrive. Pure.

pub(super) use crate::lateness::{period, stale_after};
use crate::report::Report;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ReportStatus {
    /// Reports arrive.
    Live,
    /// No report has arrived yet.
    Empty,
    /// No report has arrived for this many seconds.
    Late(f64),
    /// Reports arrive, but were measured this many seconds earlier: they had to wait during an outage.
    Behind(f64),
    /// The store does not answer.
    Store(String),
}

impl ReportStatus {
    /// Returns the status of reports that arrive every `period` seconds. The newest one arrived `age` seconds ago, with
    /// a delay of `delay` seconds.
    pub(super) fn of(age: Option<f64>, delay: f64, period: Option<f64>) -> ReportStatus {
        let Some(age) = age else { return ReportStatus::Empty };
        if age > stale_after(period) {
            return ReportStatus::Late(age);
        }
        // Tolerates clocks that differ by some seconds.
        if delay > (10.0 * period.unwrap_or(0.0)).max(60.0) {
            return ReportStatus::Behind(delay);
        }
        ReportStatus::Live
    }
}

/// Returns the delay of a report, in seconds. A time after its arrival counts as the arrival.
pub(super) fn delay(report: &Report) -> f64 {
    report.received.duration_since(report.time).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::report::Record;

    #[test]
    fn late_and_delayed_reports_are_recognized() {
        assert_eq!(ReportStatus::of(None, 0.0, Some(5.0)), ReportStatus::Empty);
        assert_eq!(ReportStatus::of(Some(16.0), 0.0, Some(5.0)), ReportStatus::Live);
        assert_eq!(ReportStatus::of(Some(16.1), 0.0, Some(5.0)), ReportStatus::Late(16.1));
        assert_eq!(ReportStatus::of(Some(29.0), 0.0, None), ReportStatus::Live);
        assert_eq!(ReportStatus::of(Some(31.0), 0.0, None), ReportStatus::Late(31.0));
        assert_eq!(ReportStatus::of(Some(1.0), 59.0, Some(5.0)), ReportStatus::Live);
        assert_eq!(ReportStatus::of(Some(1.0), 3_600.0, Some(5.0)), ReportStatus::Behind(3_600.0));
        assert_eq!(ReportStatus::of(Some(1.0), 3_600.0, Some(600.0)), ReportStatus::Live, "a long period");
    }

    #[test]
    fn period_is_that_of_the_fleet_status_or_of_the_arrivals() {
        let newest: Vec<Record> = [10_000, 20_000, 25_000, 25_001, 25_002, 25_003, 30_000]
            .into_iter()
            .map(|millis| Timestamp::from_millisecond(millis).unwrap())
            .map(|time| Record { id: 1, report: Report::bare(1.0, time) })
            .collect();
        assert_eq!(period(None, &newest), Some(5.0));
        assert_eq!(period(None, &newest[..1]), None);
        let status = r#"{"epoch": 1, "cycle": 1, "leader": "1", "period": 2.5, "nodes": []}"#;
        assert_eq!(period(Some(&serde_json::from_str(status).unwrap()), &newest), Some(2.5));
    }

    /// Two reports dated a day apart made a period of a day, and the page live for three days after the last report.
    #[test]
    fn period_is_that_of_the_arrivals_whatever_times_the_reports_have() {
        let record = |seconds: i64, ahead: i64| {
            let received = Timestamp::from_second(seconds).unwrap();
            let time = Timestamp::from_second(seconds + ahead).unwrap();
            Record { id: seconds, report: Report { time, ..Report::bare(1.0, received) } }
        };
        let arrivals =
            [record(100_000, 0), record(100_005, 86_000), record(100_010, -86_000), record(100_015, 0)];
        assert_eq!(period(None, &arrivals), Some(5.0));
        assert_eq!(ReportStatus::of(Some(16.1), 0.0, period(None, &arrivals)), ReportStatus::Late(16.1));
    }
}

//! Metrics of the leader: cycles, the fleet as it was read last, the outbox, deliveries. Counters survive the end of a
//! leadership; [`LeaderStats`], which only a leader knows, does not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::{OutputStats, lock, metric, seconds};
use crate::model::details::Findings;
use crate::model::measurement::Exclusion;
use crate::model::report::{Average, CycleReport};
use crate::model::senml::quantity_of;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CycleResult {
    Committed,
    /// No node had a usable measurement.
    Empty,
    /// Too few nodes supported the values.
    Withheld,
    /// The cycle could not be read or committed, or its commit was not confirmed.
    Failed,
}

impl CycleResult {
    const fn label(self) -> &'static str {
        match self {
            CycleResult::Committed => "written",
            CycleResult::Empty => "empty",
            CycleResult::Withheld => "withheld",
            CycleResult::Failed => "failed",
        }
    }
}

/// Upper bounds of the histograms, in seconds: from a millisecond to the longest timeout of a request.
const BOUNDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Labels of the outcomes of requests to the API.
const REQUEST_OUTCOMES: [&str; 4] = ["accepted", "rejected", "failed", "stale"];

/// Recorder of the leader.
#[derive(Clone, Debug, Default)]
pub struct LeaderMetrics(Option<Arc<Inner>>);

type CounterByOutcome = Family<[(&'static str, &'static str); 1], Counter>;

#[derive(Debug)]
pub(crate) struct Inner {
    /// All of the following counters and histograms.
    registry: Registry,
    epochs: Counter,
    cycles: CounterByOutcome,
    cycle_durations: Histogram,
    cycle_lateness: Histogram,
    requests: CounterByOutcome,
    request_durations: Histogram,
    retries: Counter,
    /// Rejected reports that were moved out of the outbox.
    pub(crate) rejected: Counter,
    /// Reports that were deleted because the outbox was full.
    pub(crate) dropped: Counter,
    /// Reports that a collector refused because it has reports of an epoch above the leader's.
    pub(crate) outranked: Counter,
    /// Values that were not reported, because too few nodes supported them.
    withheld: Counter,
    /// `None` while this node is not the leader.
    stats: Mutex<Option<LeaderStats>>,
    /// Delivery to the outputs, by their names.
    outputs: Mutex<BTreeMap<String, OutputStats>>,
}

impl LeaderMetrics {
    pub(crate) fn enabled() -> LeaderMetrics {
        let mut registry = Registry::with_prefix("atalaya");
        let all = &mut registry;
        let retries = "Requests to the API with a report that was sent before";
        let outranked = "Reports that a collector refused because it has reports of a later epoch";
        let cycle_duration = "Time to read the fleet, average it and commit the cycle";
        let inner = Inner {
            epochs: metric(all, "terms", "Epochs that this node has led"),
            retries: metric(all, "delivery_retries", retries),
            rejected: metric(all, "reports_set_aside", "Reports that the API rejected"),
            dropped: metric(all, "reports_dropped", "Reports that were deleted because the outbox was full"),
            outranked: metric(all, "reports_outranked", outranked),
            withheld: metric(all, "values_withheld", "Values that too few nodes supported"),
            cycles: metric(all, "cycles", "Cycles as a leader, by result"),
            requests: metric(all, "deliveries", "Requests to the API, by result"),
            cycle_durations: seconds(all, "cycle_duration", cycle_duration, BOUNDS),
            cycle_lateness: seconds(all, "cycle_lateness", "Delay of a cycle after it was due", BOUNDS),
            request_durations: seconds(all, "delivery_duration", "Duration of a request to the API", BOUNDS),
            stats: Mutex::default(),
            outputs: Mutex::default(),
            registry,
        };
        // Each label exists from the start: Prometheus cannot compute the increase from a missing series to 1.
        for result in [CycleResult::Committed, CycleResult::Empty, CycleResult::Withheld, CycleResult::Failed]
        {
            drop(inner.cycles.get_or_create(&[("outcome", result.label())]));
        }
        for outcome in REQUEST_OUTCOMES {
            drop(inner.requests.get_or_create(&[("outcome", outcome)]));
        }
        LeaderMetrics(Some(Arc::new(inner)))
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Returns a copy of the leader's values; `None` while this node is not the leader.
    pub(crate) fn stats(&self) -> Option<LeaderStats> {
        lock(&self.0.as_ref()?.stats).clone()
    }

    /// Calls `record` with the counters, unless the recorder is disabled.
    pub(crate) fn record<T>(&self, record: impl FnOnce(&Inner) -> T) {
        self.0.as_deref().map(record);
    }

    pub(crate) fn update(&self, update: impl FnOnce(&mut LeaderStats)) {
        self.record(|inner| lock(&inner.stats).as_mut().map(update));
    }

    /// Records that this node has become the leader. `zookeeper_timeout` limits the requests of taking over.
    pub(crate) fn leadership_started(&self, zookeeper_timeout: Duration) {
        let now = BootInstant::now();
        let stats = LeaderStats {
            cycle_expected_by: Some(now + zookeeper_timeout),
            last_delivery_activity: Some(now),
            ..LeaderStats::default()
        };
        self.record(|inner| *lock(&inner.stats) = Some(stats));
    }

    pub(crate) fn leadership_ended(&self) {
        self.record(|inner| {
            *lock(&inner.stats) = None;
            lock(&inner.outputs).values_mut().for_each(|output| output.outbox = None);
        });
    }

    /// Returns a copy of the values of all outputs, by their names.
    pub(crate) fn outputs(&self) -> BTreeMap<String, OutputStats> {
        self.0.as_ref().map(|inner| lock(&inner.outputs).clone()).unwrap_or_default()
    }

    pub(super) fn update_output(&self, name: &str, update: impl FnOnce(&mut OutputStats)) {
        self.record(|inner| update(lock(&inner.outputs).entry(name.to_owned()).or_default()));
    }

    /// Records a takeover. `server_time` is ZooKeeper's clock, in milliseconds since 1970.
    pub(crate) fn epoch_started(&self, server_time: Option<i64>) {
        self.record(|inner| inner.epochs.inc());
        self.set_server_time(server_time);
    }

    /// Records that the next cycle starts after `delay`. `zookeeper_timeout` limits the requests of the cycle.
    pub(crate) fn cycle_scheduled(&self, delay: Duration, zookeeper_timeout: Duration) {
        let expected_by = BootInstant::now() + delay + zookeeper_timeout;
        self.update(|stats| stats.cycle_expected_by = Some(expected_by));
    }

    /// Records the end of a cycle. `server_time` is ZooKeeper's clock, in milliseconds since 1970.
    pub(crate) fn cycle_ended(
        &self,
        result: CycleResult,
        lateness: Duration,
        duration: Duration,
        server_time: Option<i64>,
    ) {
        let Some(inner) = &self.0 else { return };
        inner.cycles.get_or_create(&[("outcome", result.label())]).inc();
        inner.cycle_lateness.observe(lateness.as_secs_f64());
        inner.cycle_durations.observe(duration.as_secs_f64());
        self.set_server_time(server_time);
    }

    fn set_server_time(&self, server_time: Option<i64>) {
        let now = BootInstant::now();
        self.update(|stats| stats.server_time = server_time.map(|time| (now, time)));
    }

    /// Sets the averages of the newest cycle, without unknown units: each that others make would be a time series.
    pub(crate) fn set_averages(&self, report: &CycleReport) {
        let known = report.averages.iter().filter(|a| a.quantity.is_some() || a.unit.is_none());
        self.update(|stats| stats.averages = known.cloned().collect());
    }

    /// Records outliers, withheld values and groups of a cycle. Groups in unknown units are left out.
    pub(crate) fn set_findings(&self, findings: &Findings) {
        self.record(|inner| inner.withheld.inc_by(findings.withheld.len() as u64));
        self.update(|stats| {
            stats.findings = findings.clone();
            stats
                .findings
                .groups
                .retain(|group| group.unit.as_deref().is_none_or(|u| quantity_of(u).is_some()));
        });
    }

    /// Sets the number of reports in the outbox, and the time of the oldest.
    pub(crate) fn set_outbox(&self, reports: usize, oldest: Option<Timestamp>) {
        let now = BootInstant::now();
        self.update(|stats| {
            if stats.outbox_reports == 0 {
                stats.last_delivery_activity = Some(now);
            }
            stats.outbox_reports = reports;
            stats.oldest_report = oldest.map(Timestamp::as_millisecond);
        });
    }

    pub(crate) fn delivery_started(&self) {
        let now = BootInstant::now();
        self.update(|stats| stats.last_delivery_activity = Some(now));
    }

    pub(crate) fn request_sent(&self, is_retry: bool) {
        self.record(|inner| inner.retries.inc_by(u64::from(is_retry)));
        self.delivery_started();
    }

    /// Records the end of a request. `outcome` is one of [`REQUEST_OUTCOMES`].
    pub(crate) fn request_ended(&self, outcome: &'static str, duration: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.requests.get_or_create(&[("outcome", outcome)]).inc();
        inner.request_durations.observe(duration.as_secs_f64());
        self.delivery_started();
    }

    pub(crate) fn registry(&self) -> Option<&Registry> {
        self.0.as_deref().map(|inner| &inner.registry)
    }
}

/// Values that only a leader knows. They are discarded when its leadership ends.
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
    pub(crate) findings: Findings,
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
        self.age(self.oldest_report, now)
    }

    /// Returns the age of a report of this time by ZooKeeper's clock; zero if there is none.
    pub(crate) fn age(&self, time: Option<i64>, now: BootInstant) -> Duration {
        let (Some((recorded_at, server_time)), Some(oldest)) = (self.server_time, time) else {
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
    use crate::model::report::tests::cycle_report;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn leader_metrics_expect_the_next_cycle_after_its_delay_and_its_requests() {
        let metrics = LeaderMetrics::enabled();
        let expects_in = |delay: Duration, act: &dyn Fn()| {
            let start = BootInstant::now();
            act();
            let expected = metrics.stats().unwrap().cycle_expected_by.unwrap();
            expected >= start + delay && expected <= BootInstant::now() + delay
        };
        assert!(expects_in(20 * SECOND, &|| metrics.leadership_started(20 * SECOND)));
        assert!(expects_in(25 * SECOND, &|| metrics.cycle_scheduled(5 * SECOND, 20 * SECOND)));
        metrics.leadership_ended();
        assert!(metrics.stats().is_none());
    }

    #[test]
    fn delivery_is_active_when_the_first_report_comes_and_when_requests_start_and_end() {
        let metrics = LeaderMetrics::enabled();
        metrics.leadership_started(SECOND);
        let activity = || metrics.stats().unwrap().last_delivery_activity.unwrap();
        let is_active = |act: &dyn Fn()| {
            let start = BootInstant::now();
            act();
            activity() >= start
        };
        assert!(is_active(&|| metrics.set_outbox(1, None)));
        assert!(is_active(&|| metrics.request_sent(false)));
        assert!(is_active(&|| metrics.request_ended(REQUEST_OUTCOMES[2], SECOND)));
        let last = activity();
        metrics.set_outbox(2, None);
        assert_eq!(activity(), last, "reports that follow the first are not sent by themselves");
    }

    #[test]
    fn averages_in_unknown_units_make_no_time_series() {
        let metrics = LeaderMetrics::enabled();
        metrics.leadership_started(SECOND);
        let mut report = cycle_report(1, 1, None);
        for unit in ["Cel", "furlongs"] {
            report.averages.extend(cycle_report(1, 1, Some(unit)).averages);
        }
        metrics.set_averages(&report);
        let stats = metrics.stats().unwrap();
        let units: Vec<_> = stats.averages.iter().map(|average| average.unit.as_deref()).collect();
        assert_eq!(units, [None, Some("Cel")]);
    }
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

//! Metrics of the leader: cycles, the fleet as it was read last, the outbox, deliveries. Counters survive the end of a
//! leadership; [`LeaderStats`], which only a leader knows, does not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::leader_stats::{FleetAverage, FleetCounts, LeaderStats};
use crate::metrics::lock;
use crate::model::measurement::Exclusion;
use crate::model::report::CycleReport;

/// Result of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CycleResult {
    Committed,
    /// No node had a usable measurement.
    Empty,
    /// The cycle could not be read or committed, or its commit was not confirmed.
    Failed,
}

impl CycleResult {
    const ALL: [CycleResult; 3] = [CycleResult::Committed, CycleResult::Empty, CycleResult::Failed];

    const fn label(self) -> &'static str {
        match self {
            CycleResult::Committed => "written",
            CycleResult::Empty => "empty",
            CycleResult::Failed => "failed",
        }
    }
}

/// Result of a request to the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    Accepted,
    /// The API will never accept this report.
    Rejected,
    /// No connection, no answer, or an answer that is not about this report.
    Failed,
    /// The collector has reports of a later epoch.
    Stale,
}

impl RequestOutcome {
    const ALL: [RequestOutcome; 4] =
        [RequestOutcome::Accepted, RequestOutcome::Rejected, RequestOutcome::Failed, RequestOutcome::Stale];

    const fn label(self) -> &'static str {
        match self {
            RequestOutcome::Accepted => "accepted",
            RequestOutcome::Rejected => "rejected",
            RequestOutcome::Failed => "failed",
            RequestOutcome::Stale => "stale",
        }
    }
}

/// Recorder of the leader.
#[derive(Clone, Debug, Default)]
pub struct LeaderMetrics(Option<Arc<Inner>>);

type CounterByOutcome = Family<[(&'static str, &'static str); 1], Counter>;

#[derive(Debug)]
struct Inner {
    epochs: Counter,
    cycles: CounterByOutcome,
    cycle_durations: Histogram,
    cycle_lateness: Histogram,
    requests: CounterByOutcome,
    request_durations: Histogram,
    retries: Counter,
    rejected: Counter,
    dropped: Counter,
    outranked: Counter,
    /// `None` while this node is not the leader.
    stats: Mutex<Option<LeaderStats>>,
}

impl LeaderMetrics {
    pub(crate) fn enabled() -> LeaderMetrics {
        // From a millisecond to the longest timeout of a request.
        let seconds =
            || Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let inner = Inner {
            epochs: Counter::default(),
            cycles: Family::default(),
            cycle_durations: seconds(),
            cycle_lateness: seconds(),
            requests: Family::default(),
            request_durations: seconds(),
            retries: Counter::default(),
            rejected: Counter::default(),
            dropped: Counter::default(),
            outranked: Counter::default(),
            stats: Mutex::default(),
        };
        // Each label exists from the start: Prometheus cannot compute the increase from a missing series to 1.
        for result in CycleResult::ALL {
            drop(inner.cycles.get_or_create(&[("outcome", result.label())]));
        }
        for outcome in RequestOutcome::ALL {
            drop(inner.requests.get_or_create(&[("outcome", outcome.label())]));
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

    fn update_stats(&self, update: impl FnOnce(&mut LeaderStats)) {
        if let Some(inner) = &self.0
            && let Some(stats) = lock(&inner.stats).as_mut()
        {
            update(stats);
        }
    }

    /// Records that this node has become the leader. `zookeeper_timeout` limits the requests of taking over.
    pub(crate) fn leadership_started(&self, zookeeper_timeout: Duration) {
        let Some(inner) = &self.0 else { return };
        let now = BootInstant::now();
        *lock(&inner.stats) = Some(LeaderStats {
            cycle_expected_by: Some(now + zookeeper_timeout),
            last_delivery_activity: Some(now),
            ..LeaderStats::default()
        });
    }

    pub(crate) fn leadership_ended(&self) {
        if let Some(inner) = &self.0 {
            *lock(&inner.stats) = None;
        }
    }

    /// Records a takeover. `server_time` is ZooKeeper's clock, in milliseconds since 1970.
    pub(crate) fn epoch_started(&self, server_time: Option<i64>) {
        let Some(inner) = &self.0 else { return };
        inner.epochs.inc();
        self.set_server_time(server_time);
    }

    /// Records that the next cycle starts after `delay`. `zookeeper_timeout` limits the requests of the cycle.
    pub(crate) fn cycle_scheduled(&self, delay: Duration, zookeeper_timeout: Duration) {
        let expected_by = BootInstant::now() + delay + zookeeper_timeout;
        self.update_stats(|stats| stats.cycle_expected_by = Some(expected_by));
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
        self.update_stats(|stats| stats.server_time = server_time.map(|time| (now, time)));
    }

    /// Records a reading of the fleet: the number of listed nodes, and of those excluded, in the order of
    /// [`Exclusion::REASONS`].
    pub(crate) fn fleet_read(&self, nodes: usize, excluded: [usize; Exclusion::REASONS.len()]) {
        let included = nodes.saturating_sub(excluded.iter().sum());
        self.update_stats(|stats| stats.fleet = Some(FleetCounts { nodes, included, excluded }));
    }

    /// Sets the averages of the newest cycle. Unknown units are left out: other programs could make any number of them,
    /// and each would be a new time series.
    pub(crate) fn set_averages(&self, report: &CycleReport) {
        self.update_stats(|stats| {
            let known = report.averages.iter().filter(|a| a.quantity.is_some() || a.unit.is_none());
            stats.averages = known
                .map(|average| FleetAverage {
                    quantity: average.quantity.clone().unwrap_or_default(),
                    unit: average.unit.clone().unwrap_or_default(),
                    mean: average.mean,
                })
                .collect();
        });
    }

    /// Sets the number of reports in the outbox, and the time of the oldest.
    pub(crate) fn set_outbox(&self, reports: usize, oldest: Option<Timestamp>) {
        let now = BootInstant::now();
        self.update_stats(|stats| {
            if stats.outbox_reports == 0 {
                stats.last_delivery_activity = Some(now);
            }
            stats.outbox_reports = reports;
            stats.oldest_report = oldest.map(Timestamp::as_millisecond);
        });
    }

    pub(crate) fn delivery_started(&self) {
        let now = BootInstant::now();
        self.update_stats(|stats| stats.last_delivery_activity = Some(now));
    }

    pub(crate) fn request_sent(&self, is_retry: bool) {
        let Some(inner) = &self.0 else { return };
        inner.retries.inc_by(u64::from(is_retry));
        self.delivery_started();
    }

    pub(crate) fn request_ended(&self, outcome: RequestOutcome, duration: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.requests.get_or_create(&[("outcome", outcome.label())]).inc();
        inner.request_durations.observe(duration.as_secs_f64());
        self.delivery_started();
    }

    /// Records that a collector refused a report because it has reports of an epoch above the leader's.
    pub(crate) fn report_outranked(&self) {
        if let Some(inner) = &self.0 {
            inner.outranked.inc();
        }
    }

    /// Records that a rejected report was moved out of the outbox.
    pub(crate) fn report_rejected(&self) {
        if let Some(inner) = &self.0 {
            inner.rejected.inc();
        }
    }

    /// Records that a report was deleted because the outbox was full.
    pub(crate) fn report_dropped(&self) {
        if let Some(inner) = &self.0 {
            inner.dropped.inc();
        }
    }

    /// Sets the number of rejected reports that are kept in ZooKeeper.
    pub(crate) fn set_rejected_reports(&self, count: i32) {
        self.update_stats(|stats| stats.rejected_reports = Some(count));
    }

    /// Sets the value of the counter; `None` if the leader does not write it.
    pub(crate) fn set_counter(&self, value: Option<i64>) {
        self.update_stats(|stats| stats.counter = value);
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let Some(inner) = &self.0 else { return };
        let counters = [
            ("terms", "Epochs that this node has led", &inner.epochs),
            ("delivery_retries", "Requests to the API with a report that was sent before", &inner.retries),
            ("reports_set_aside", "Reports that the API rejected", &inner.rejected),
            ("reports_dropped", "Reports that were deleted because the outbox was full", &inner.dropped),
            (
                "reports_outranked",
                "Reports that a collector refused because it has reports of a later epoch",
                &inner.outranked,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("cycles", "Cycles as a leader, by result", inner.cycles.clone());
        registry.register("deliveries", "Requests to the API, by result", inner.requests.clone());
        let histograms = [
            (
                "cycle_duration",
                "Time to read the fleet, average it and commit the cycle",
                &inner.cycle_durations,
            ),
            ("cycle_lateness", "Delay of a cycle after it was due", &inner.cycle_lateness),
            ("delivery_duration", "Duration of a request to the API", &inner.request_durations),
        ];
        for (name, help, histogram) in histograms {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::report::Average;

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
        assert!(is_active(&|| metrics.request_ended(RequestOutcome::Failed, SECOND)));
        let last = activity();
        metrics.set_outbox(2, None);
        assert_eq!(activity(), last, "reports that follow the first are not sent by themselves");
    }

    #[test]
    fn averages_in_unknown_units_make_no_time_series() {
        let metrics = LeaderMetrics::enabled();
        metrics.leadership_started(SECOND);
        let average = |quantity: Option<&str>, unit: Option<&str>| Average {
            quantity: quantity.map(str::to_owned),
            unit: unit.map(str::to_owned),
            mean: 1.0,
            min: 1.0,
            max: 1.0,
            stddev: None,
            count: 1,
        };
        let report = CycleReport {
            epoch: 1,
            cycle: 1,
            time: Timestamp::UNIX_EPOCH,
            excluded: 0,
            averages: vec![
                average(None, None),
                average(Some("temperature"), Some("Cel")),
                average(None, Some("furlongs")),
            ],
            reason: None,
        };
        metrics.set_averages(&report);
        let units: Vec<String> =
            metrics.stats().unwrap().averages.into_iter().map(|average| average.unit).collect();
        assert_eq!(units, ["", "Cel"]);
    }
}

//! Metrics of the delivery from one outbox: that of the API, whose values [`LeaderMetrics`] has, or that of an output.

use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use jiff::Timestamp;

use crate::metrics::LeaderMetrics;

/// Outcomes of requests to an output, as labels.
pub(crate) const OUTPUT_OUTCOMES: [&str; 3] = ["accepted", "rejected", "failed"];

/// Delivery of averages to an output.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutputStats {
    /// `None` while this node is not the leader.
    pub(crate) outbox: Option<OutboxStats>,
    /// Requests, in the order of [`OUTPUT_OUTCOMES`].
    pub(crate) requests: [u64; OUTPUT_OUTCOMES.len()],
    /// Rejected reports that were moved out of the outbox.
    pub(crate) rejected: u64,
    /// Reports that were deleted because the outbox was full.
    pub(crate) dropped: u64,
}

/// Outbox of an output, as only a leader knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutboxStats {
    pub(crate) reports: usize,
    /// Time of the oldest report, by ZooKeeper's clock, in milliseconds since 1970.
    pub(crate) oldest_report: Option<i64>,
    /// Number of rejected reports that are kept in ZooKeeper.
    pub(crate) rejected_reports: Option<i32>,
    /// Time of the last accepted report.
    pub(crate) accepted_at: Option<BootInstant>,
    pub(crate) is_failing: bool,
}

/// Recorder of one outbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryMetrics {
    leader: LeaderMetrics,
    /// Name of the output; `None` for the API.
    output: Option<String>,
}

impl DeliveryMetrics {
    pub(crate) fn new(leader: LeaderMetrics, output: Option<String>) -> DeliveryMetrics {
        DeliveryMetrics { leader, output }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.leader.is_enabled()
    }

    /// Sets the number of waiting reports, the time of the oldest, and whether the receiver accepts reports.
    pub(crate) fn set_outbox(&self, reports: usize, oldest: Option<Timestamp>, is_failing: bool) {
        match &self.output {
            None => self.leader.set_outbox(reports, oldest),
            Some(_) => self.update_outbox(|outbox| {
                (outbox.reports, outbox.is_failing) = (reports, is_failing);
                outbox.oldest_report = oldest.map(Timestamp::as_millisecond);
            }),
        }
    }

    /// Sets the number of rejected reports in ZooKeeper.
    pub(crate) fn set_rejected_reports(&self, reports: i32) {
        match &self.output {
            None => self.leader.update(|stats| stats.rejected_reports = Some(reports)),
            Some(_) => self.update_outbox(|outbox| outbox.rejected_reports = Some(reports)),
        }
    }

    pub(crate) fn delivery_started(&self) {
        if self.output.is_none() {
            self.leader.delivery_started();
        }
    }

    pub(crate) fn request_sent(&self, is_retry: bool) {
        if self.output.is_none() {
            self.leader.request_sent(is_retry);
        }
    }

    pub(crate) fn request_ended(&self, outcome: &'static str, duration: Duration) {
        if self.output.is_none() {
            return self.leader.request_ended(outcome, duration);
        }
        self.update(|stats| {
            let requests = OUTPUT_OUTCOMES.iter().zip(&mut stats.requests);
            requests.filter(|(label, _)| **label == outcome).for_each(|(_, requests)| *requests += 1);
            if let Some(outbox) = stats.outbox.as_mut().filter(|_| outcome == OUTPUT_OUTCOMES[0]) {
                outbox.accepted_at = Some(BootInstant::now());
            }
        });
    }

    pub(crate) fn report_rejected(&self) {
        match &self.output {
            None => self.leader.record(|metrics| metrics.rejected.inc()),
            Some(_) => self.update(|stats| stats.rejected += 1),
        }
    }

    /// Records that a report was deleted because the outbox was full.
    pub(crate) fn report_dropped(&self) {
        match &self.output {
            None => self.leader.record(|metrics| metrics.dropped.inc()),
            Some(_) => self.update(|stats| stats.dropped += 1),
        }
    }

    /// Records that a collector refused a report because it has reports of an epoch above the leader's.
    pub(crate) fn report_outranked(&self) {
        self.leader.record(|metrics| metrics.outranked.inc());
    }

    fn update(&self, update: impl FnOnce(&mut OutputStats)) {
        if let Some(output) = &self.output {
            self.leader.update_output(output, update);
        }
    }

    fn update_outbox(&self, update: impl FnOnce(&mut OutboxStats)) {
        self.update(|stats| update(stats.outbox.get_or_insert_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_metrics_survive_the_leadership_except_for_the_outbox() {
        let leader = LeaderMetrics::enabled();
        leader.leadership_started(Duration::ZERO);
        let metrics = DeliveryMetrics::new(leader.clone(), Some("influx".to_owned()));
        metrics.set_outbox(3, Some(Timestamp::UNIX_EPOCH), true);
        for outcome in ["accepted", "failed", "failed"] {
            metrics.request_ended(outcome, Duration::ZERO);
        }
        metrics.report_rejected();
        metrics.report_dropped();
        let stats = leader.outputs().remove("influx").unwrap();
        let outbox = stats.outbox.unwrap();
        assert_eq!((outbox.reports, outbox.oldest_report, outbox.is_failing), (3, Some(0), true));
        assert!(outbox.accepted_at.is_some());
        leader.leadership_ended();
        let stats = leader.outputs().remove("influx").unwrap();
        assert!(stats.outbox.is_none());
        assert_eq!((stats.requests, stats.rejected, stats.dropped), ([1, 0, 2], 1, 1));
        assert_eq!(leader.stats().map(|stats| stats.outbox_reports), None);
    }
}

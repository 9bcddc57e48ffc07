//! Exposition of the delivery of averages to outputs.

use std::collections::BTreeMap;
use std::fmt::Error;

use atalaya_recipes::clock::BootInstant;
use prometheus_client::metrics::MetricType;

use crate::metrics::{LeaderStats, OUTPUT_OUTCOMES, OutputStats};
use crate::observe::metric_encoder::{Encoder, SECONDS, count};

/// Encodes the delivery of averages to outputs. What only a leader knows is missing while this node is not the leader.
pub(super) fn encode(
    encoder: &mut Encoder<'_>,
    outputs: &BTreeMap<String, OutputStats>,
    leader: Option<&LeaderStats>,
    now: BootInstant,
) -> Result<(), Error> {
    let label = |name| [("output", name)];
    let outboxes =
        || outputs.iter().filter_map(|(name, stats)| Some((label(name.as_str()), stats.outbox.as_ref()?)));
    let reports = outboxes().map(|(label, outbox)| (label, count(outbox.reports)));
    encoder
        .gauges(("atalaya_output_reports", None, "Reports that the output has not accepted yet"), reports)?;
    let age = |time| leader.map_or(0.0, |leader| leader.age(time, now).as_secs_f64());
    let ages = outboxes().map(|(label, outbox)| (label, age(outbox.oldest_report)));
    let help = "Age of the oldest report that the output has not accepted yet, or 0";
    encoder.gauges(("atalaya_output_oldest_age", SECONDS, help), ages)?;
    let accepted =
        outboxes().filter_map(|(label, outbox)| Some((label, now.since(outbox.accepted_at?).as_secs_f64())));
    encoder.gauges(
        ("atalaya_output_accepted_age", SECONDS, "Time since the output accepted a report"),
        accepted,
    )?;
    let failing = outboxes().map(|(label, outbox)| (label, f64::from(u8::from(outbox.is_failing))));
    encoder.gauges(("atalaya_output_failing", None, "1 if the output does not accept reports"), failing)?;
    let rejected =
        outboxes().filter_map(|(label, outbox)| Some((label, f64::from(outbox.rejected_reports?))));
    let help = "Rejected reports of the output that are kept in ZooKeeper";
    encoder.gauges(("atalaya_output_aside_reports", None, help), rejected)?;
    let requests = outputs.iter().flat_map(|(name, stats)| {
        let outcomes = OUTPUT_OUTCOMES.iter().zip(stats.requests);
        outcomes
            .map(|(outcome, requests)| ([("output", name.as_str()), ("outcome", outcome)], count(requests)))
    });
    let help = "Requests to the output with a report, by result";
    encoder.family(MetricType::Counter, ("atalaya_output_deliveries", None, help), requests)?;
    let rejected = outputs.iter().map(|(name, stats)| (label(name), count(stats.rejected)));
    let help = "Reports that the output rejected";
    encoder.family(MetricType::Counter, ("atalaya_output_reports_set_aside", None, help), rejected)?;
    let dropped = outputs.iter().map(|(name, stats)| (label(name), count(stats.dropped)));
    let help = "Reports that were deleted because the outbox of the output was full";
    encoder.family(MetricType::Counter, ("atalaya_output_reports_dropped", None, help), dropped)
}

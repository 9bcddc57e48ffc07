//! Metrics of the samples that wait for the collector and for outputs.

use std::fmt::Error;

use atalaya_recipes::clock::BootInstant;
use prometheus_client::metrics::MetricType;

use crate::metrics::{ConsumerStats, DropReason, HistoryStats};
use crate::observe::metric_encoder::{BYTES, Encoder, SECONDS, count};

pub(super) fn encode(encoder: &mut Encoder<'_>, stats: &HistoryStats, now: BootInstant) -> Result<(), Error> {
    encode_collector(encoder, stats, now)?;
    encode_outputs(encoder, stats, now)
}

fn encode_collector(encoder: &mut Encoder<'_>, stats: &HistoryStats, now: BootInstant) -> Result<(), Error> {
    let flag = |problem: &Option<String>| f64::from(u8::from(problem.is_some()));
    if let Some(collector) = stats.collector() {
        let help = "Samples that wait for the collector";
        encoder.gauge(("atalaya_history_samples", None, help), Some(count(collector.samples)))?;
        let help = "Age of the oldest sample that waits for the collector, or 0";
        let age = collector.oldest_age(now).as_secs_f64();
        encoder.gauge(("atalaya_history_oldest_age", SECONDS, help), Some(age))?;
        let dropped = DropReason::LABELS.iter().zip(collector.dropped);
        let dropped = dropped.map(|(reason, samples)| ([("reason", *reason)], count(samples)));
        let help = "Samples that were dropped before they were sent, by reason";
        encoder.family(MetricType::Counter, ("atalaya_history_dropped", None, help), dropped)?;
        for (name, help, value) in [
            ("atalaya_history_delivered", "Samples that the collector has", collector.delivered),
            ("atalaya_history_refused", "Samples that the collector can never accept", collector.refused),
        ] {
            encoder.counter((name, None, help), count(value))?;
        }
    }
    let help = "Size of the samples in the file";
    encoder.gauge(("atalaya_history_size", BYTES, help), Some(count(stats.size)))?;
    let collector = stats.collector().map(|collector| ("collector", &collector.problem));
    let failing = [("file", &stats.file_problem)].into_iter().chain(collector);
    let failing = failing.map(|(part, problem)| ([("part", part)], flag(problem)));
    let help = "1 if the file cannot be used, or the collector does not accept samples";
    encoder.gauges(("atalaya_history_failing", None, help), failing)?;
    let help = "Writes and syncs of the file that failed";
    encoder.counter(("atalaya_history_sync_failures", None, help), count(stats.sync_failures))
}

/// Encodes the samples of outputs, of which each is a consumer of the history like the collector.
fn encode_outputs(encoder: &mut Encoder<'_>, stats: &HistoryStats, now: BootInstant) -> Result<(), Error> {
    type Value = fn(&ConsumerStats, BootInstant) -> f64;
    let values =
        |value: Value| stats.outputs().map(move |(name, output)| ([("output", name)], value(output, now)));
    let help = "Samples that wait for an output";
    let waiting = values(|output, _| count(output.samples));
    encoder.gauges(("atalaya_history_output_samples", None, help), waiting)?;
    let help = "Age of the oldest sample that waits for an output, or 0";
    let age = values(|output, now| output.oldest_age(now).as_secs_f64());
    encoder.gauges(("atalaya_history_output_oldest_age", SECONDS, help), age)?;
    let help = "1 if an output does not accept samples";
    let failing = values(|output, _| f64::from(u8::from(output.problem.is_some())));
    encoder.gauges(("atalaya_history_output_failing", None, help), failing)?;
    let help = "Samples that an output has";
    let delivered = values(|output, _| count(output.delivered));
    encoder.family(MetricType::Counter, ("atalaya_history_output_delivered", None, help), delivered)?;
    let help = "Samples that an output can never accept";
    let refused = values(|output, _| count(output.refused));
    encoder.family(MetricType::Counter, ("atalaya_history_output_refused", None, help), refused)?;
    let dropped = stats.outputs().flat_map(|(name, output)| {
        let dropped = DropReason::LABELS.iter().zip(output.dropped);
        dropped.map(move |(reason, samples)| ([("output", name), ("reason", *reason)], count(samples)))
    });
    let help = "Samples that were dropped before an output had them, by reason";
    encoder.family(MetricType::Counter, ("atalaya_history_output_dropped", None, help), dropped)
}

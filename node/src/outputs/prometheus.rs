//! Receivers of Prometheus remote write (version 1.0 of the protocol).
//!
//! * An average is one sample of each of the metrics `atalaya_average`, `…_min`, `…_max`, `…_stddev` and `…_count`; a
//!   sample of a sensor is one of `atalaya_measurement`. The labels have no epoch, cycle or sequence number, so a repeat
//!   has the same series, time and value, which Prometheus accepts while it is the newest sample of its series.
//! * Prometheus stores a request as a whole or not at all. Without `out_of_order_time_window`, it refuses a sample that
//!   is older than the newest one of its series (`out of order sample`: it may have the sample already), and one that is
//!   an hour older than the newest one of all series (`out of bounds`). So a refused batch is divided here, and the
//!   samples that are refused alone are returned as refused, with the receiver's reason.
//! * Of two samples of one series in one request, Prometheus silently drops the second one if it is not newer. So series
//!   are sorted by time, and a second value of the same time is refused here.

#[cfg(feature = "history")]
use std::collections::{BTreeMap, btree_map::Entry};
use std::time::Duration;

use atalaya_config::OutputConfig;
use prost::Message as _;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

#[cfg(feature = "history")]
use super::RefusedSample;
use super::http::{Answer, HttpClient, parse_url};
use super::{Outcome, Sender};
use crate::model::report::Report;
#[cfg(feature = "history")]
use crate::model::sample::{Batch, StoredSample};

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
#[cfg(feature = "history")]
const MEASUREMENT: &str = "atalaya_measurement";
/// Reasons that concern single samples: `out of order sample`, `duplicate sample for timestamp`, `out of bounds` and
/// `too old sample` of Prometheus, and similar ones of other receivers.
const SAMPLE_REASONS: [&str; 4] = ["out of order", "duplicate", "out of bounds", "too old"];

#[cfg(feature = "history")]
const NO_TIME: &str = "it refuses some of the samples, and has not answered for all of them in time";

/// Body of a request, before its compression.
#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<TimeSeries>,
}

/// Samples with the same labels.
#[derive(Clone, PartialEq, prost::Message)]
struct TimeSeries {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    /// Sorted by time.
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    /// Unix time in milliseconds.
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Result of a request.
enum Written {
    Stored,
    /// At least one of the samples can never be stored.
    HasRefusedSample(String),
    Other(Outcome),
}

/// A receiver of remote write.
#[derive(Debug)]
pub(super) struct Prometheus {
    client: HttpClient,
    sender: Sender,
}

impl Prometheus {
    pub(super) fn new(config: &OutputConfig, sender: &Sender) -> Result<Prometheus, String> {
        let client = HttpClient::new(config, parse_url(config)?, "Bearer", sender)?;
        Ok(Prometheus { client, sender: sender.clone() })
    }

    /// Sends an average. A repeat is accepted while it is the newest one of its series.
    pub(super) async fn send_report(&self, report: &Report, timeout: Duration) -> Outcome {
        match self.write(average_series(&self.sender.fleet, report), timeout).await {
            Written::Stored => Outcome::Accepted(Vec::new()),
            Written::HasRefusedSample(reason) => Outcome::Refused(reason),
            Written::Other(outcome) => outcome,
        }
    }

    /// Sends samples. Each one that the receiver refuses alone is part of the result.
    #[cfg(feature = "history")]
    pub(super) async fn send_samples(&self, batch: &Batch, timeout: Duration) -> Outcome {
        let deadline = tokio::time::Instant::now() + timeout;
        let (samples, mut refused) = prepare(&batch.samples);
        let (mut rest, mut size) = (&samples[..], samples.len());
        while !rest.is_empty() {
            let (part, others) = rest.split_at(size.min(rest.len()));
            let is_part = part.len() < samples.len();
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let left = if is_part { left } else { timeout };
            match self.write(sample_series(&self.sender, part), left).await {
                Written::Stored => (rest, size) = (others, size * 2),
                Written::HasRefusedSample(_) if part.len() > 1 => size = part.len() / 2,
                Written::HasRefusedSample(reason) => {
                    refused.extend(
                        part.iter().map(|sample| RefusedSample { seq: sample.seq, reason: reason.clone() }),
                    );
                    rest = others;
                }
                // A smaller batch has fewer parts.
                Written::Other(Outcome::Failed(_)) if is_part => return Outcome::Refused(NO_TIME.to_owned()),
                Written::Other(outcome) => return outcome,
            }
        }
        Outcome::Accepted(refused)
    }

    async fn write(&self, series: Vec<TimeSeries>, timeout: Duration) -> Written {
        let body = WriteRequest { series }.encode_to_vec();
        let body = match snap::raw::Encoder::new().compress_vec(&body) {
            Ok(body) => body,
            Err(error) => return Written::Other(Outcome::Refused(format!("cannot compress: {error}"))),
        };
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
            (CONTENT_ENCODING, HeaderValue::from_static("snappy")),
            (VERSION, HeaderValue::from_static("0.1.0")),
        ]);
        let answer = self.client.post(headers, body, timeout).await;
        answer.map_or_else(|reason| Written::Other(Outcome::Failed(reason)), written)
    }
}

fn written(answer: Answer) -> Written {
    // Prometheus answers 500 to a sample that is older than the window; Thanos answers 409.
    let can_be_final = [StatusCode::BAD_REQUEST, StatusCode::CONFLICT, StatusCode::INTERNAL_SERVER_ERROR]
        .contains(&answer.status);
    let text = answer.body.to_ascii_lowercase().replace('-', " ");
    if can_be_final && SAMPLE_REASONS.iter().any(|reason| text.contains(reason)) {
        return Written::HasRefusedSample(answer.reason);
    }
    if answer.status == StatusCode::CONFLICT {
        return Written::Other(Outcome::Refused(answer.reason));
    }
    match answer.outcome_of_api() {
        Outcome::Accepted(_) => Written::Stored,
        outcome => Written::Other(outcome),
    }
}

/// Returns the labels of a metric. An empty value is the absence of the label.
fn labels(metric: &str, names: &[(&str, &str)]) -> Vec<Label> {
    let all = std::iter::once(("__name__", metric)).chain(names.iter().copied());
    let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    let mut labels: Vec<Label> = all.filter(|(_, value)| !value.is_empty()).map(label).collect();
    labels.sort_by(|one, other| one.name.cmp(&other.name));
    labels
}

fn average_series(fleet: &str, report: &Report) -> Vec<TimeSeries> {
    let average = &report.average;
    let names = [
        ("fleet", fleet),
        ("quantity", average.quantity.as_deref().unwrap_or_default()),
        ("unit", average.unit.as_deref().unwrap_or_default()),
    ];
    let values = [
        ("atalaya_average", Some(average.mean)),
        ("atalaya_average_min", Some(average.min)),
        ("atalaya_average_max", Some(average.max)),
        ("atalaya_average_stddev", average.stddev),
        ("atalaya_average_count", Some(average.count as f64)),
    ];
    let timestamp = report.time.as_millisecond();
    let series = |(metric, value): (&str, Option<f64>)| {
        let value = value.filter(|value| value.is_finite())?;
        Some(TimeSeries { labels: labels(metric, &names), samples: vec![Sample { value, timestamp }] })
    };
    values.into_iter().filter_map(series).collect()
}

/// Returns the samples that can be sent, ordered by time, and those that cannot.
#[cfg(feature = "history")]
fn prepare(samples: &[StoredSample]) -> (Vec<&StoredSample>, Vec<RefusedSample>) {
    let mut refused = Vec::new();
    let mut refuse = |seq, reason: &str| refused.push(RefusedSample { seq, reason: reason.to_owned() });
    let mut values = BTreeMap::new();
    let mut kept = Vec::new();
    for sample in samples {
        if !sample.value.is_finite() {
            refuse(sample.seq, "its value is not a finite number");
            continue;
        }
        let key = (&sample.sensor, &sample.quantity, &sample.unit, sample.time_ms);
        match values.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(sample.value);
                kept.push(sample);
            }
            Entry::Occupied(entry) if *entry.get() == sample.value => {}
            Entry::Occupied(_) => refuse(sample.seq, "the series has another value of the same time"),
        }
    }
    kept.sort_by_key(|sample| sample.time_ms);
    (kept, refused)
}

/// Returns the series of samples, which are ordered by time.
#[cfg(feature = "history")]
fn sample_series(sender: &Sender, samples: &[&StoredSample]) -> Vec<TimeSeries> {
    let mut series = BTreeMap::new();
    for sample in samples {
        let key = (&sample.sensor, &sample.quantity, &sample.unit);
        let samples: &mut Vec<Sample> = series.entry(key).or_default();
        samples.push(Sample { value: sample.value, timestamp: sample.time_ms });
    }
    let labelled = |((sensor, quantity, unit), samples): ((&String, &String, &String), _)| {
        let names = [
            ("fleet", sender.fleet.as_str()),
            ("node", sender.node.as_str()),
            ("sensor", sensor.as_str()),
            ("quantity", quantity.as_str()),
            ("unit", unit.as_str()),
        ];
        TimeSeries { labels: labels(MEASUREMENT, &names), samples }
    };
    series.into_iter().map(labelled).collect()
}

#[cfg(test)]
#[cfg(feature = "history")]
#[path = "prometheus_tests.rs"]
mod tests;

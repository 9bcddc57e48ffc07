//! InfluxDB: line protocol to `/write` of 1.x, and to `/api/v2/write` of 2.x and later.
//!
//! * An average is a point of the measurement `atalaya_average` with the tags fleet, quantity and unit; a sample is a
//!   point of `atalaya_measurement`, with node and sensor too. A record always has the same tags and timestamp, so that a
//!   repeat overwrites the point: epoch and cycle are fields.
//! * InfluxDB stores the acceptable points of a request that it refuses (`partial write`). Its number of dropped points
//!   tells whether all were refused; if not, the caller sends smaller batches again, which overwrite.
//! * The database is not created: the reason names the remedy.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use atalaya_config::{InfluxdbConfig, OutputConfig};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};

#[cfg(feature = "history")]
use super::RefusedSample;
use super::http::{Answer, HttpClient, parse_url};
use super::{Outcome, Sender};
use crate::model::report::Report;
#[cfg(feature = "history")]
use crate::model::sample::{Batch, StoredSample};
use crate::model::text::sanitize_for_log;

const AVERAGE: &str = "atalaya_average";
#[cfg(feature = "history")]
const MEASUREMENT: &str = "atalaya_measurement";
/// Largest absolute time that InfluxDB stores, in milliseconds since 1970: it counts nanoseconds in 64 bits.
const MAX_TIME_MS: i64 = 9_223_372_036_000;

#[derive(Debug)]
pub(super) struct Influxdb {
    client: HttpClient,
    sender: Sender,
    /// Remedy for an answer 404.
    remedy: String,
}

impl Influxdb {
    pub(super) fn new(
        config: &OutputConfig,
        influxdb: &InfluxdbConfig,
        sender: &Sender,
    ) -> Result<Influxdb, String> {
        let (token_scheme, remedy) = match influxdb {
            InfluxdbConfig::V1 { database, .. } => {
                ("Bearer", format!("create it: CREATE DATABASE \"{}\"", sanitize_for_log(database)))
            }
            InfluxdbConfig::V2 { bucket, .. } => {
                ("Token", format!("create the bucket \"{}\"", sanitize_for_log(bucket)))
            }
        };
        let client = HttpClient::new(config, write_url(config, influxdb)?, token_scheme, sender)?;
        Ok(Influxdb { client, sender: sender.clone(), remedy })
    }

    /// Sends an average. A repeat overwrites it.
    pub(super) async fn send_report(&self, report: &Report, timeout: Duration) -> Outcome {
        let mut lines = String::new();
        if let Err(reason) = push_average(&mut lines, &self.sender.fleet, report) {
            return Outcome::Refused(reason);
        }
        self.write(&lines, timeout).await.map_or_else(Outcome::Failed, |answer| self.outcome(answer))
    }

    /// Sends samples. A repeat overwrites them.
    #[cfg(feature = "history")]
    pub(super) async fn send_samples(&self, batch: &Batch, timeout: Duration) -> Outcome {
        let (mut lines, mut refused, mut sent) = (String::new(), Vec::new(), Vec::new());
        for sample in &batch.samples {
            match push_sample(&mut lines, &self.sender, sample) {
                Ok(()) => sent.push(sample.seq),
                Err(reason) => refused.push(RefusedSample { seq: sample.seq, reason }),
            }
        }
        if sent.is_empty() {
            return Outcome::Accepted(refused);
        }
        let answer = match self.write(&lines, timeout).await {
            Ok(answer) => answer,
            Err(reason) => return Outcome::Failed(reason),
        };
        if dropped(&answer) == Some(sent.len()) {
            // No point was stored, each for a reason of its own.
            let reason = |seq| RefusedSample { seq, reason: answer.reason.clone() };
            refused.extend(sent.into_iter().map(reason));
            return Outcome::Accepted(refused);
        }
        match self.outcome(answer) {
            Outcome::Accepted(_) => Outcome::Accepted(refused),
            other => other,
        }
    }

    async fn write(&self, lines: &str, timeout: Duration) -> Result<Answer, String> {
        let body = gzip(lines.as_bytes()).map_err(|error| format!("cannot compress: {error}"))?;
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            (CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        self.client.post(headers, body, timeout).await
    }

    fn outcome(&self, mut answer: Answer) -> Outcome {
        if answer.status == StatusCode::NOT_FOUND && answer.body.contains("not found") {
            answer.reason = format!("{}; {}", answer.reason, self.remedy);
        }
        answer.outcome_of_api()
    }
}

/// Returns the number of dropped points of a partial write, or `None`.
#[cfg(feature = "history")]
fn dropped(answer: &Answer) -> Option<usize> {
    let (_, text) = answer.body.split_once("partial write").filter(|_| answer.status.is_client_error())?;
    let (_, number) = text.rsplit_once("dropped=")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn write_url(config: &OutputConfig, influxdb: &InfluxdbConfig) -> Result<Url, String> {
    let mut url = parse_url(config)?;
    if url.query().is_some() {
        return Err("the address has a `?`: write scheme and host only".to_owned());
    }
    let path: &[&str] = match influxdb {
        InfluxdbConfig::V1 { .. } => &["write"],
        InfluxdbConfig::V2 { .. } => &["api", "v2", "write"],
    };
    match url.path_segments_mut() {
        Ok(mut segments) => {
            segments.pop_if_empty().extend(path);
        }
        Err(()) => return Err("the address has no path".to_owned()),
    }
    let mut query = url.query_pairs_mut();
    match influxdb {
        InfluxdbConfig::V1 { database, retention_policy } => {
            query.append_pair("db", database);
            if let Some(policy) = retention_policy {
                query.append_pair("rp", policy);
            }
        }
        InfluxdbConfig::V2 { org, bucket } => {
            query.append_pair("org", org).append_pair("bucket", bucket);
        }
    }
    query.append_pair("precision", "ms");
    drop(query);
    Ok(url)
}

fn gzip(data: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data)?;
    encoder.finish()
}

/// Appends the line of an average. The error says why InfluxDB cannot store it.
fn push_average(lines: &mut String, fleet: &str, report: &Report) -> Result<(), String> {
    let average = &report.average;
    let numbers = [
        ("mean", Some(average.mean)),
        ("min", Some(average.min)),
        ("max", Some(average.max)),
        ("stddev", average.stddev),
    ];
    if !average.mean.is_finite() {
        return Err("it has a number that is not finite".to_owned());
    }
    let time = check_time(report.time.as_millisecond())?;
    lines.push_str(AVERAGE);
    push_tag(lines, "fleet", fleet);
    push_tag(lines, "quantity", average.quantity.as_deref().unwrap_or_default());
    push_tag(lines, "unit", average.unit.as_deref().unwrap_or_default());
    let mut separator = ' ';
    for (name, number) in numbers {
        if let Some(number) = number.filter(|number| number.is_finite()) {
            push(lines, format_args!("{separator}{name}={number:?}"));
            separator = ',';
        }
    }
    let (count, excluded) = (average.count, report.excluded);
    let (epoch, cycle) = (report.epoch, report.cycle);
    push(lines, format_args!(",count={count}i,excluded={excluded}i,epoch={epoch}i,cycle={cycle}i {time}\n"));
    Ok(())
}

/// Appends the line of a sample. The error says why InfluxDB cannot store it.
#[cfg(feature = "history")]
fn push_sample(lines: &mut String, sender: &Sender, sample: &StoredSample) -> Result<(), String> {
    if !sample.value.is_finite() {
        return Err("its value is not a finite number".to_owned());
    }
    let time = check_time(sample.time_ms)?;
    lines.push_str(MEASUREMENT);
    push_tag(lines, "fleet", &sender.fleet);
    push_tag(lines, "node", sender.node.as_str());
    push_tag(lines, "quantity", &sample.quantity);
    push_tag(lines, "sensor", &sample.sensor);
    push_tag(lines, "unit", &sample.unit);
    // Debug: with an exponent, where Display writes up to 300 digits.
    push(lines, format_args!(" value={:?} {time}\n", sample.value));
    Ok(())
}

fn check_time(time_ms: i64) -> Result<i64, String> {
    match (-MAX_TIME_MS..=MAX_TIME_MS).contains(&time_ms) {
        true => Ok(time_ms),
        false => Err("its time is outside of the years 1677 to 2262".to_owned()),
    }
}

/// Appends a tag. An empty value is the absence of the tag. The line protocol has no way to write a control character,
/// or a backslash at the end of a value: they become U+FFFD.
fn push_tag(line: &mut String, key: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    push(line, format_args!(",{key}="));
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek().is_none() => line.push(char::REPLACEMENT_CHARACTER),
            character if character.is_control() => line.push(char::REPLACEMENT_CHARACTER),
            ',' | '=' | ' ' => line.extend(['\\', character]),
            character => line.push(character),
        }
    }
}

fn push(line: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = line.write_fmt(text);
}

#[cfg(test)]
#[cfg(feature = "history")]
#[path = "influxdb_tests.rs"]
mod tests;

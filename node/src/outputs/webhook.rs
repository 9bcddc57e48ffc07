//! Webhooks: any HTTP server that accepts JSON with `POST`, also a collector of Atalaya.
//!
//! An average has the same body and the same `Idempotency-Key` as in a report to the API with `api_method = "post"`,
//! samples have the body of `/api/v1/measurements`; see docs/protocol.md. A record that is sent again, because its answer
//! was lost, has the same key: the epoch, cycle and unit of an average; the run and number of a sample.

use std::time::Duration;

use atalaya_config::OutputConfig;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::http::{Answer, HttpClient, parse_url};
use super::{Outcome, Sender};
use crate::model::report::{Origin, Report};
#[cfg(feature = "history")]
use crate::model::{json::to_json, sample::Batch, sample_request};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Types of problem details with which a collector says that it can never accept a report.
const STALE: &str = "urn:problem-type:atalaya:stale";
const CONFLICT: &str = "urn:problem-type:atalaya:conflict";

#[derive(Debug)]
pub(super) struct Webhook {
    client: HttpClient,
    sender: Sender,
}

impl Webhook {
    pub(super) fn new(config: &OutputConfig, sender: &Sender) -> Result<Webhook, String> {
        let client = HttpClient::new(config, parse_url(config)?, "Bearer", sender)?;
        Ok(Webhook { client, sender: sender.clone() })
    }

    pub(super) async fn send_report(&self, report: &Report, timeout: Duration) -> Outcome {
        let key = match HeaderValue::try_from(report.idempotency_key()) {
            Ok(key) => key,
            Err(_) => return Outcome::Refused("its unit cannot be sent in a header".to_owned()),
        };
        let origin = Origin { fleet: Some(&self.sender.fleet), zone: self.sender.zone.as_deref() };
        let body = report.body(origin).to_string().into_bytes();
        let answer = self.client.post(headers(Some(key)), body, timeout).await;
        answer.map_or_else(Outcome::Failed, outcome_of_report)
    }

    #[cfg(feature = "history")]
    pub(super) async fn send_samples(&self, batch: &Batch, timeout: Duration) -> Outcome {
        let body = sample_request::Body {
            fleet: Some(&self.sender.fleet),
            zone: self.sender.zone.as_deref(),
            node: self.sender.node.as_str(),
            boot: &batch.boot,
            samples: &batch.samples,
        };
        match self.client.post(headers(None), to_json(&body), timeout).await {
            Ok(answer) if answer.status.is_success() => {
                Outcome::Accepted(refused_samples(answer.body.as_bytes(), batch.samples.len()))
            }
            Ok(answer) => answer.outcome(),
            Err(reason) => Outcome::Failed(reason),
        }
    }
}

fn headers(key: Option<HeaderValue>) -> HeaderMap {
    let content_type = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    std::iter::once(content_type).chain(key.map(|key| (IDEMPOTENCY_KEY, key))).collect()
}

/// Returns the outcome of a report. The status 409 means that the receiver has a record with this key, unless a
/// collector adds that it has another one.
fn outcome_of_report(answer: Answer) -> Outcome {
    #[derive(Deserialize)]
    struct Problem {
        #[serde(rename = "type")]
        kind: String,
    }
    match answer.status {
        StatusCode::CONFLICT => match serde_json::from_str(&answer.body) {
            Ok(Problem { kind }) if kind == STALE || kind == CONFLICT => Outcome::Refused(answer.reason),
            _ => Outcome::Accepted(Vec::new()),
        },
        // A server that fails because of one average must not hold up those behind it.
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::NOT_FOUND => {
            Outcome::Doubtful(answer.reason)
        }
        _ => answer.outcome(),
    }
}

/// Returns the samples that a collector refuses. Other receivers answer in their own ways, and refuse none.
#[cfg(feature = "history")]
fn refused_samples(body: &[u8], samples: usize) -> Vec<super::RefusedSample> {
    let answer = sample_request::Answer::parse(body, samples);
    let refused = answer.into_iter().flat_map(|answer| answer.refused);
    refused
        .map(|refused| super::RefusedSample {
            seq: refused.seq,
            reason: format!("{}: {}", refused.code, refused.detail),
        })
        .collect()
}

#[cfg(all(test, feature = "history"))]
mod tests {
    use super::*;

    #[test]
    fn samples_that_a_collector_refuses_are_read_from_its_answer_and_other_answers_refuse_none() {
        let answer = br#"{"accepted":2,"repeated":0,"refused":[{"index":1,"seq":22,"code":"time","detail":"in the future"}]}"#;
        let refused = refused_samples(answer, 3);
        assert_eq!((refused[0].seq, refused[0].reason.as_str()), (22, "time: in the future"));
        for other in [&b""[..], b"ok\n", b"{}", br#"{"refused":[{"seq":1}]}"#] {
            assert_eq!(refused_samples(other, 3), []);
        }
    }
}

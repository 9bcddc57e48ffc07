//! Request to the collector with a batch of samples, and its answer. See docs/protocol.md.

use reqwest::{Method, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::forwarder::Outcome;
use super::sender::{Refusal, Refusals, TIMEOUT};
use crate::leader::delivery::api_client::{Api, root_cause};
use crate::leader::delivery::response::read_body;
use crate::model::node_id::NodeId;
use crate::model::sample::{Batch, StoredSample};

/// Maximum size of an answer: it has up to 100 refused samples.
const MAX_ANSWER: usize = 256 * 1024;

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<&'a str>,
    node: &'a str,
    boot: &'a str,
    samples: &'a [StoredSample],
}

/// Answer of status 200.
#[derive(Debug, Deserialize)]
struct Answer {
    accepted: u64,
    repeated: u64,
    #[serde(default)]
    refused: Vec<Refusal>,
    refused_count: Option<u64>,
}

impl Answer {
    /// Parses an answer about `samples` samples. `None` if it is not one: the samples may not be stored.
    fn parse(body: &[u8], samples: usize) -> Option<Answer> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let counts = [answer.accepted, answer.repeated, answer.refused_count()];
        let total = counts.into_iter().try_fold(0_u64, u64::checked_add)?;
        (usize::try_from(total) == Ok(samples)).then_some(answer)
    }

    fn refused_count(&self) -> u64 {
        self.refused_count.unwrap_or(self.refused.len() as u64)
    }
}

/// Sends a batch. `api` has the token, and `url` is the address for samples.
pub(super) async fn send(
    api: &Api,
    url: &Url,
    fleet: Option<&str>,
    node: &NodeId,
    batch: &Batch,
) -> (Outcome, Refusals) {
    let failed = |reason: String| (Outcome::Failed(reason), Refusals::default());
    let body = Body { fleet, node: node.as_str(), boot: &batch.boot, samples: &batch.samples };
    let request = match api.request(Method::POST, url.clone()) {
        Ok(request) => request.json(&body).timeout(TIMEOUT),
        Err(error) => return failed(format!("cannot set up HTTP: {}", root_cause(&error))),
    };
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_timeout() => return failed(format!("no answer within {TIMEOUT:?}")),
        Err(error) => return failed(root_cause(&error)),
    };
    let status = response.status();
    let body = read_body(&mut response, MAX_ANSWER).await;
    match status {
        StatusCode::OK => match body.and_then(|body| Answer::parse(&body, batch.samples.len())) {
            Some(answer) => {
                let refusals = Refusals { count: answer.refused_count(), listed: answer.refused };
                (Outcome::Answered, refusals)
            }
            None => failed("its answer is not that of a collector".to_owned()),
        },
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            (Outcome::Refused(format!("it answers {status}")), Refusals::default())
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => failed(api.denied(status)),
        status => failed(format!("it answers {status}")),
    }
}

/// Returns the address for logs: without password and query, which may be secrets.
pub(super) fn display_url(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::ClockState;

    #[test]
    fn sample_has_the_json_that_collectors_understand() {
        let sample = StoredSample {
            seq: 17,
            sensor: "outside".into(),
            quantity: "temperature".into(),
            unit: "Cel".into(),
            value: 21.53,
            time_ms: 1_795_993_511_000,
            since_boot_ms: 5,
            clock: ClockState::Synchronised,
        };
        let body = Body { fleet: Some("home"), node: "n1", boot: "3f0c", samples: &[sample] };
        let expected = r#"{"fleet":"home","node":"n1","boot":"3f0c","samples":[{"seq":17,"sensor":"outside","quantity":"temperature","unit":"Cel","value":21.53,"time_ms":1795993511000,"clock":"synchronised"}]}"#;
        assert_eq!(serde_json::to_string(&body).unwrap(), expected);
    }

    #[test]
    fn answer_must_account_for_each_sample() {
        let answer = br#"{"accepted":7,"repeated":1,"refused":[{"index":5,"seq":22,"code":"value","detail":"x"}],"refused_count":2}"#;
        let parsed = Answer::parse(answer, 10).unwrap();
        assert_eq!((parsed.refused_count(), parsed.refused[0].seq), (2, 22));
        assert!(Answer::parse(answer, 11).is_none());
        for other in [&b""[..], b"<html>", b"{}", b"[]", br#"{"accepted":10}"#] {
            assert!(Answer::parse(other, 10).is_none());
        }
        assert!(Answer::parse(br#"{"accepted":10,"repeated":0}"#, 10).is_some());
        let overflow = format!(r#"{{"accepted":{0},"repeated":{0}}}"#, u64::MAX);
        assert!(Answer::parse(overflow.as_bytes(), 10).is_none());
    }
}

//! Sends batches of samples to the collector. See docs/protocol.md.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};

use super::forwarder::{Outcome, Refusals};
use crate::http_client::{read_body, root_cause};
use crate::leader::delivery::api_client::Api;
use crate::model::node_id::NodeId;
use crate::model::report::Origin;
use crate::model::sample::Batch;
use crate::model::sample_request::{Answer, Body};

/// Maximum size of an answer: it has up to 100 refused samples.
const MAX_ANSWER: usize = 256 * 1024;

/// Sends a batch. `api` has the token, and `url` is the address for samples.
pub(super) async fn send(
    (api, url): (&Api, &Url),
    origin: Origin<'_>,
    node: &NodeId,
    batch: &Batch,
    timeout: Duration,
) -> (Outcome, Refusals) {
    let failed = |reason: String| (Outcome::Failed(reason), Refusals::default());
    let Origin { fleet, zone } = origin;
    let body = Body { fleet, zone, node: node.as_str(), boot: &batch.boot, samples: &batch.samples };
    let request = match api.request(Method::POST, url.clone()) {
        Ok(request) => request.json(&body).timeout(timeout),
        Err(error) => return failed(format!("cannot set up HTTP: {}", root_cause(&error))),
    };
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_timeout() => return failed(format!("no answer within {timeout:?}")),
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

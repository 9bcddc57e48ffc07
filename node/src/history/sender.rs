//! Sends batches of samples to the collector, as [`super::forwarder`] decides.

use std::collections::BTreeMap;
use std::time::Duration;

use atalaya_config::ApiMethod;
use atalaya_recipes::clock::BootInstant;
use reqwest::{Method, StatusCode, Url};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::History;
use super::forwarder::{Decision, Forwarder, Outcome};
use super::keeper::Command;
use crate::fail_points;
use crate::http_client::{read_body, root_cause};
use crate::leader::delivery::api_client::Api;
use crate::model::sample::Batch;
use crate::model::sample_request::{Answer, Body, Refused};
use crate::model::text::sanitize_for_log;
use crate::settings::Settings;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of an answer: it has up to 100 refused samples.
const MAX_ANSWER: usize = 256 * 1024;
/// Interval at which a reason for refused samples is logged again.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of reasons that are remembered.
const MAX_REASONS: usize = 16;

/// Log of refused samples: each reason once a minute.
#[derive(Debug, Default)]
struct RefusalLog(BTreeMap<String, BootInstant>);

impl RefusalLog {
    fn should_log(&mut self, code: &str, now: BootInstant) -> bool {
        self.0.retain(|_, logged| now.since(*logged) < LOG_INTERVAL);
        let is_new = self.0.len() < MAX_REASONS && !self.0.contains_key(code);
        if is_new {
            self.0.insert(code.to_owned(), now);
        }
        is_new
    }
}

impl History {
    /// Sends samples until dropped, with the current token and fleet name of the settings.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the batch under way stays in the ring, and the next process sends it again with the same
    /// keys.
    pub(crate) async fn forward(&self, settings: watch::Receiver<Settings>) {
        let mut api = Api::new(&self.node, self.url.clone(), ApiMethod::Post);
        let (mut forwarder, mut log) = (Forwarder::default(), RefusalLog::default());
        loop {
            let max = match forwarder.next(BootInstant::now()) {
                Ok(max) => max,
                Err(wait) => {
                    tokio::time::sleep(wait).await;
                    continue;
                }
            };
            let Some(batch) = self.read(max).await else {
                self.changed.notified().await;
                continue;
            };
            let Settings { api_token, fleet_name, .. } = settings.borrow().clone();
            api.token = api_token;
            let sent = BootInstant::now();
            let (outcome, answer) = self.send(&api, fleet_name.as_deref(), &batch).await;
            fail_points::point("history-answered");
            let now = BootInstant::now();
            let size = (batch.samples.len(), batch.has_more);
            let decision = forwarder.on_outcome(&outcome, size, sent, now);
            self.record(decision, &outcome, answer, &batch, &mut log);
            let _ = self.commands.send(Command::Done(decision != Decision::Keep));
        }
    }

    async fn read(&self, max: usize) -> Option<Batch> {
        let (reply, batch) = oneshot::channel();
        self.commands.send(Command::Read(max, reply)).ok()?;
        batch.await.ok().flatten()
    }

    async fn send(&self, api: &Api, fleet: Option<&str>, batch: &Batch) -> (Outcome, Option<Answer>) {
        let failed = |reason: String| (Outcome::Failed(reason), None);
        let body = Body { fleet, node: self.node.as_str(), boot: &batch.boot, samples: &batch.samples };
        let request = match api.request(Method::POST, self.url.clone()) {
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
                Some(answer) => (Outcome::Answered, Some(answer)),
                None => failed("its answer is not that of a collector".to_owned()),
            },
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                (Outcome::Refused(format!("it answers {status}")), None)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => failed(api.denied(status)),
            status => failed(format!("it answers {status}")),
        }
    }

    /// Records and logs the outcome of a request.
    fn record(
        &self,
        decision: Decision,
        outcome: &Outcome,
        answer: Option<Answer>,
        batch: &Batch,
        log: &mut RefusalLog,
    ) {
        let refused = match decision {
            Decision::Keep => 0,
            Decision::Drop => 1,
            Decision::Delete => answer.as_ref().map_or(0, Answer::refused_count),
        };
        let problem = match outcome {
            Outcome::Answered => None,
            Outcome::Failed(reason) | Outcome::Refused(reason) => Some(reason.clone()),
        };
        let (before, waiting) = self.metrics.update(|stats| {
            stats.refused += refused;
            if decision == Decision::Delete {
                stats.delivered += (batch.samples.len() as u64).saturating_sub(refused);
            }
            (std::mem::replace(&mut stats.delivery_problem, problem.clone()), stats.samples)
        });
        let url = display_url(&self.url);
        match &problem {
            _ if problem == before => {}
            Some(reason) => warn!(url, waiting, "the collector does not accept samples: {reason}; retrying"),
            None => info!(url, waiting, "the collector accepts samples again"),
        }
        let mut refusals = answer.map(|answer| answer.refused).unwrap_or_default();
        if let (Decision::Drop, Outcome::Refused(reason), [sample, ..]) =
            (decision, outcome, &batch.samples[..])
        {
            refusals.push(Refused { seq: sample.seq, code: "request".to_owned(), detail: reason.clone() });
        }
        for Refused { seq, code, detail } in refusals {
            if log.should_log(&code, BootInstant::now()) {
                let sample = batch.samples.iter().find(|sample| sample.seq == seq);
                let sensor = sample.map(|sample| format!("{}/{}", sample.sensor, sample.quantity));
                let (code, detail) = (sanitize_for_log(&code), sanitize_for_log(&detail));
                warn!(sensor, code, "the collector can never accept a sample, which is dropped: {detail}");
            }
        }
    }
}

/// Returns the address for logs: without password and query, which may be secrets.
fn display_url(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_for_refused_samples_is_logged_once_a_minute() {
        let (mut log, start) = (RefusalLog::default(), BootInstant::default());
        assert!(log.should_log("time", start) && log.should_log("value", start));
        assert!(!log.should_log("time", start + LOG_INTERVAL / 2));
        assert!(log.should_log("time", start + LOG_INTERVAL));
        let later = start + LOG_INTERVAL;
        assert_eq!((0..100).filter(|code| log.should_log(&code.to_string(), later)).count(), MAX_REASONS - 1);
        assert_eq!(log.0.len(), MAX_REASONS);
    }
}

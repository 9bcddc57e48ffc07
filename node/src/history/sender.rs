//! Sends batches of samples to the consumers, to each as its own [`super::forwarder`] decides: one that is away, hangs or
//! refuses never delays another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atalaya_config::ApiMethod;
use atalaya_recipes::clock::BootInstant;
use futures_util::future;
use reqwest::Url;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::History;
use super::collector::{self, display_url};
use super::consumer::BatchEnd;
use super::cursors::COLLECTOR;
use super::forwarder::{Decision, Forwarder, Outcome, Refusals};
use super::keeper::Command;
use crate::fail_points;
use crate::leader::delivery::api_client::Api;
use crate::model::report::Origin;
use crate::model::sample::Batch;
use crate::model::sample_request::Refused;
use crate::model::text::{sanitize_for_log, truncate};
use crate::outputs::{self, Output};
use crate::settings::Settings;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Interval at which a reason for refused samples is logged again.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of reasons that are remembered.
const MAX_REASONS: usize = 16;
/// Maximum length of a reason in the file, in characters.
const MAX_REASON: usize = 200;

/// Receiver of a consumer's samples.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    /// The collector, with its address for samples.
    Collector(Url),
    Output(Arc<Output>),
    #[cfg(test)]
    Test(Arc<super::sender_tests::Receiver>),
}

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

impl Destination {
    /// Returns the name of the output. `None`: the collector.
    pub(super) fn output(&self) -> Option<String> {
        match self {
            Destination::Collector(_) => None,
            Destination::Output(output) => Some(output.config.name.clone()),
            #[cfg(test)]
            Destination::Test(receiver) => Some(receiver.name.clone()),
        }
    }

    pub(super) fn name_in_file(&self) -> String {
        self.output().unwrap_or_else(|| COLLECTOR.to_owned())
    }

    fn display_url(&self) -> Option<String> {
        match self {
            Destination::Collector(url) => Some(display_url(url)),
            // Its name is enough: the address may contain secrets.
            _ => None,
        }
    }
}

fn outcome_of(outcome: outputs::Outcome) -> (Outcome, Refusals) {
    match outcome {
        outputs::Outcome::Accepted(refused) => {
            let listed = refused.into_iter().map(|outputs::RefusedSample { seq, reason }| Refused {
                seq,
                code: String::new(),
                detail: reason,
            });
            let listed: Vec<Refused> = listed.collect();
            (Outcome::Answered, Refusals { count: listed.len() as u64, listed })
        }
        outputs::Outcome::Refused(reason) => (Outcome::Refused(reason), Refusals::default()),
        outputs::Outcome::Failed(reason) | outputs::Outcome::Doubtful(reason) => {
            (Outcome::Failed(reason), Refusals::default())
        }
    }
}

impl History {
    /// Sends samples until dropped, to the collector with the current token and fleet name of the settings.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the batches under way stay in the ring, and the next process sends them again with the
    /// same keys.
    pub(crate) async fn forward(&self, settings: watch::Receiver<Settings>) {
        let consumers = 0..self.destinations.len();
        future::join_all(consumers.map(|consumer| self.forward_to(consumer, &settings))).await;
    }

    async fn forward_to(&self, consumer: usize, settings: &watch::Receiver<Settings>) {
        let destination = &self.destinations[consumer];
        let mut api = None;
        let (mut forwarder, mut log) = (Forwarder::default(), RefusalLog::default());
        let mut changed = self.changed.clone();
        loop {
            let max = match forwarder.next(BootInstant::now()) {
                Ok(max) => max,
                Err(wait) => {
                    tokio::time::sleep(wait).await;
                    continue;
                }
            };
            changed.mark_unchanged();
            let Some(batch) = self.read(consumer, max).await else {
                if changed.changed().await.is_err() {
                    // The keeper ends before this future only at the shutdown.
                    return future::pending().await;
                }
                continue;
            };
            let sent = BootInstant::now();
            let (outcome, refusals) = match destination {
                Destination::Output(output) => outcome_of(output.send_samples(&batch, TIMEOUT).await),
                Destination::Collector(url) => {
                    let Settings { api_token, fleet_name, zone, .. } = settings.borrow().clone();
                    let api = api.get_or_insert_with(|| Api::new(&self.node, url.clone(), ApiMethod::Post));
                    api.token = api_token;
                    let origin = Origin { fleet: fleet_name.as_deref(), zone: zone.as_deref() };
                    collector::send((api, url), origin, &self.node, &batch, TIMEOUT).await
                }
                #[cfg(test)]
                Destination::Test(receiver) => outcome_of(receiver.send_samples(&batch).await),
            };
            fail_points::point("history-answered");
            let size = (batch.samples.len(), batch.has_more);
            let decision = forwarder.on_outcome(&outcome, size, sent, BootInstant::now());
            let end = self.record(consumer, (decision, &outcome), refusals, &batch, &mut log);
            let _ = self.commands.send(Command::Done { consumer, end });
        }
    }

    async fn read(&self, consumer: usize, max: usize) -> Option<Batch> {
        let (reply, batch) = oneshot::channel();
        self.commands.send(Command::Read { consumer, max, reply }).ok()?;
        batch.await.ok().flatten()
    }

    /// Records and logs the outcome of a request.
    fn record(
        &self,
        consumer: usize,
        (decision, outcome): (Decision, &Outcome),
        mut refusals: Refusals,
        batch: &Batch,
        log: &mut RefusalLog,
    ) -> BatchEnd {
        if let (Decision::Drop, Outcome::Refused(reason), [sample, ..]) =
            (decision, outcome, &batch.samples[..])
        {
            let refusal = Refused { seq: sample.seq, code: "request".to_owned(), detail: reason.clone() };
            refusals = Refusals { count: 1, listed: vec![refusal] };
        }
        let problem = match outcome {
            Outcome::Answered => None,
            Outcome::Failed(reason) | Outcome::Refused(reason) => Some(reason.clone()),
        };
        let (before, waiting, name) = self.metrics.update(|stats| {
            let stats = &mut stats.consumers[consumer];
            stats.refused += refusals.count;
            if decision == Decision::Delete {
                stats.delivered += (batch.samples.len() as u64).saturating_sub(refusals.count);
            }
            (std::mem::replace(&mut stats.problem, problem.clone()), stats.samples, stats.name())
        });
        let url = self.destinations[consumer].display_url();
        match &problem {
            _ if problem == before => {}
            Some(reason) => warn!(url, waiting, "{name} does not accept samples: {reason}; retrying"),
            None => info!(url, waiting, "{name} accepts samples again"),
        }
        for Refused { seq, code, detail } in &refusals.listed {
            let kind = if code.is_empty() { detail } else { code };
            if log.should_log(kind, BootInstant::now()) {
                let sample = batch.samples.iter().find(|sample| sample.seq == *seq);
                let sensor = sample.map(|sample| format!("{}/{}", sample.sensor, sample.quantity));
                let code = (!code.is_empty()).then(|| sanitize_for_log(code));
                let detail = sanitize_for_log(detail);
                warn!(sensor, code, "{name} can never accept a sample, which is dropped: {detail}");
            }
        }
        let kept = |Refused { seq, code, detail }: &Refused| {
            let separator = if code.is_empty() { "" } else { ": " };
            (*seq, truncate(&format!("{code}{separator}{detail}"), MAX_REASON))
        };
        match decision {
            Decision::Keep => BatchEnd::Kept,
            Decision::Delete | Decision::Drop => {
                BatchEnd::Delivered(refusals.listed.iter().map(kept).collect())
            }
        }
    }
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

//! Carries the reports that are written down to the API, beside the cycle and never in its way, and deletes what was
//! accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Error, Leadership};
use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::context::TokioContext;
use tracing::{debug, info, warn};

use crate::fail_points;
pub use crate::leader::delivery::api_client::Api;
use crate::leader::delivery::outbox::{ASIDE, Ending, MOST_ASIDE, Outbox};
use crate::leader::delivery::queue::{Key, News, Next, Outcome};
use crate::leader::delivery::response;
use crate::leader::fenced_store::CommitError;
use crate::leader::outbox_store;
use crate::metrics::{LeaderMetrics, RequestOutcome};
use crate::model::leader_state::Delivered;
use crate::model::report::Report;

/// The header by which a collector of ours is known.
const COLLECTOR: &str = "atalaya-collector";

/// The reports on their way, and a bell for new ones.
#[derive(Debug)]
pub struct Outgoing {
    outbox: Mutex<Outbox>,
    news: Notify,
    /// Notified whenever a report has been removed or replaced.
    settled: Notify,
    /// What was accepted last.
    delivered: watch::Sender<Option<Delivered>>,
    /// Epoch above the leader's of which a collector has reports.
    outranked: watch::Sender<Option<i64>>,
    /// Refusals by ZooKeeper to remove reports that were logged. They outlive an interruption of the delivery, so that
    /// each is logged once.
    refusals: Mutex<BTreeSet<String>>,
    metrics: LeaderMetrics,
}

/// What comes of the things that are under way.
enum Happened {
    Answered(Key, Outcome),
    Settled(u64, Result<usize, CommitError>),
    /// It is time to settle this cycle again.
    Rested(u64),
}

/// Cycles that are being settled.
#[derive(Debug, Default)]
struct Settling {
    busy: BTreeSet<u64>,
    /// Those that could not be settled, and how many times.
    resting: BTreeMap<u64, u32>,
}

impl Settling {
    /// Takes the next of `endings`, up to the limit.
    fn take(&mut self, endings: impl Iterator<Item = u64>) -> Vec<u64> {
        let idle = |cycle: &u64| !self.busy.contains(cycle);
        let working = self.busy.len().saturating_sub(self.resting.len());
        let taken: Vec<u64> = endings.filter(idle).take(SETTLED_AT_ONCE.saturating_sub(working)).collect();
        self.busy.extend(&taken);
        taken
    }

    /// Returns after which pause this cycle is settled again.
    fn failed(&mut self, cycle: u64) -> Duration {
        let times = self.resting.entry(cycle).or_default();
        *times = times.saturating_add(1);
        SETTLE_AGAIN.saturating_mul(1 << (*times - 1).min(8)).min(LONGEST_REST)
    }
}

impl Outgoing {
    /// None yet.
    pub fn new(period: Duration, metrics: LeaderMetrics) -> Outgoing {
        Outgoing {
            outbox: Mutex::new(Outbox::new(period)),
            news: Notify::new(),
            settled: Notify::new(),
            delivered: watch::Sender::new(None),
            outranked: watch::Sender::new(None),
            refusals: Mutex::default(),
            metrics,
        }
    }

    /// Looks into the outbox, or changes it.
    pub async fn with<T>(&self, act: impl FnOnce(&mut Outbox) -> T) -> T {
        let done = {
            let mut outbox = self.outbox.lock().await;
            let done = act(&mut outbox);
            self.metrics.set_outbox(outbox.waiting(), outbox.oldest());
            done
        };
        self.news.notify_one();
        done
    }

    /// Updates the outbox to these cycles, of which those that are not `known` are read next. The metrics follow when
    /// they are read: before, the age of the oldest is not known.
    pub async fn list(&self, known: &BTreeSet<u64>, cycles: &BTreeSet<u64>) {
        let mut outbox = self.outbox.lock().await;
        outbox.keep_only(known, cycles);
        outbox.listed(cycles);
    }

    /// Returns up to `count` cycles whose reports are read next.
    pub async fn to_read(&self, count: usize) -> Vec<u64> {
        self.outbox.lock().await.to_read(count)
    }

    /// To be told of what was accepted last.
    pub fn delivered(&self) -> watch::Receiver<Option<Delivered>> {
        self.delivered.subscribe()
    }

    /// Returns the epoch above the leader's of which a collector has reports, and follows it.
    pub fn outranked(&self) -> watch::Receiver<Option<i64>> {
        self.outranked.subscribe()
    }

    /// Completes when reports have been removed or replaced since the last call.
    pub async fn settled(&self) {
        self.settled.notified().await;
    }

    /// Delivers for as long as `leadership` holds, then waits to be dropped. Without an `api` it only tidies up.
    ///
    /// # Cancellation safety
    /// Requests under way are cut off. Their reports are still here, and written down, and are sent again by the next call,
    /// with the same `Idempotency-Key`.
    pub async fn deliver(&self, leadership: &Leadership, api: Option<&Api>) {
        let mut under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Happened> + Send + '_>>> =
            FuturesUnordered::new();
        self.metrics.delivery_started();
        let mut gives_up = false;
        let mut settling = Settling::default();
        self.outbox.lock().await.interrupted();
        loop {
            for cycle in settling.take(self.outbox.lock().await.endings()) {
                under_way.push(Box::pin(self.settle(leadership, cycle)));
            }
            let next = match api {
                Some(_) => self.outbox.lock().await.next(BootInstant::now()),
                None => Next::Idle,
            };
            let wake = match (next, api) {
                // The last look before the outside can see anything.
                (Next::Send(..), _) if !leadership.holds() => return std::future::pending().await,
                (Next::Send(key, report), Some(api)) => {
                    let (timeout, retry) = {
                        let outbox = self.outbox.lock().await;
                        (outbox.timeout(), outbox.is_retry(key))
                    };
                    self.metrics.request_sent(retry);
                    let metrics = &self.metrics;
                    under_way.push(Box::pin(async move {
                        let sending = fail_points::during("sending", send(api, &report, timeout));
                        let since = BootInstant::now();
                        let outcome = match &api.network {
                            Some(network) => TokioContext::new(sending, network.clone()).await,
                            None => sending.await,
                        };
                        metrics.request_ended(request_outcome(&outcome), BootInstant::now().since(since));
                        fail_points::point("answered");
                        Happened::Answered(key, outcome)
                    }));
                    continue;
                }
                (Next::Wait(until), _) => until.since(BootInstant::now()),
                _ => Duration::MAX,
            };
            tokio::select! {
                Some(happened) = under_way.next() => match happened {
                    Happened::Answered(key, outcome) => {
                        let accepted = outcome == Outcome::Accepted;
                        let (news, waiting) = self.done(key, outcome).await;
                        if accepted {
                            self.delivered.send_replace(Some(Delivered { cycle: key.0, time: Timestamp::now() }));
                        }
                        if let (Some(news), Some(api)) = (news, api) {
                            tell(&news, api, waiting);
                        }
                    }
                    Happened::Rested(cycle) => drop(settling.busy.remove(&cycle)),
                    Happened::Settled(cycle, Ok(given_up)) => {
                        if given_up > 0 && !std::mem::replace(&mut gives_up, true) {
                            warn!("there are {MOST_ASIDE} rejected reports: from now on the oldest are given up for new ones");
                        }
                        settling.busy.remove(&cycle);
                        if settling.resting.remove(&cycle).is_some() && settling.resting.is_empty() {
                            self.refusals.lock().await.clear();
                        }
                        self.outbox.lock().await.ended(cycle);
                        self.settled.notify_one();
                    }
                    Happened::Settled(_, Err(CommitError::Fenced)) => return std::future::pending().await,
                    Happened::Settled(cycle, Err(CommitError::OutcomeUnknown(error) | CommitError::Rejected(_, error))) => {
                        self.log_unsettled(cycle, &error).await;
                        let pause = settling.failed(cycle);
                        under_way.push(Box::pin(async move {
                            tokio::time::sleep(pause).await;
                            Happened::Rested(cycle)
                        }));
                    }
                },
                () = self.news.notified() => {}
                () = tokio::time::sleep(wake) => {}
            }
        }
    }

    /// Logs that a report cannot be removed, once per reason.
    async fn log_unsettled(&self, cycle: u64, error: &Error) {
        if error.is_connection_loss() {
            debug!(cycle, %error, "the end of a report is not written yet");
            return;
        }
        let mut refusals = self.refusals.lock().await;
        if refusals.len() < MOST_LOGGED && refusals.insert(error.to_string()) {
            warn!(cycle, %error, "a report cannot be removed from the outbox; trying again every {LONGEST_REST:?}");
        }
    }

    /// Records the outcome of a request; returns a change for the log, and the number of reports that wait.
    async fn done(&self, key: Key, outcome: Outcome) -> (Option<News>, usize) {
        let mut outbox = self.outbox.lock().await;
        let is_stale = matches!(outcome, Outcome::Stale(_));
        let before = outbox.outranked();
        let (_, news) = outbox.done(key, outcome);
        self.metrics.set_outbox(outbox.waiting(), outbox.oldest());
        let outranked = outbox.outranked();
        if is_stale && outranked.is_some() {
            self.metrics.report_outranked();
        }
        if outranked != before {
            self.outranked.send_replace(outranked);
        }
        (news, outbox.waiting())
    }

    /// One more is set aside: so many are.
    async fn count_aside(&self, leadership: &Leadership) {
        self.metrics.report_rejected();
        if self.metrics.is_enabled()
            && let Ok(Some(aside)) = leadership.connection().stat(ASIDE).await
        {
            self.metrics.set_rejected_reports(aside.num_children);
        }
    }

    /// Deletes a report that is settled, or sets it aside.
    async fn settle(&self, leadership: &Leadership, cycle: u64) -> Happened {
        let ending = self.outbox.lock().await.ending(cycle).cloned();
        let result = match ending {
            Some(ending) => {
                let settled = outbox_store::settle(leadership, cycle, &ending).await;
                if settled.is_ok() && matches!(ending, Ending::Aside(_) | Ending::Refused(_)) {
                    self.count_aside(leadership).await;
                }
                settled
            }
            None => Ok(0),
        };
        Happened::Settled(cycle, result)
    }
}

/// How long to wait before what became of a report is written down again, if that has failed.
const SETTLE_AGAIN: Duration = Duration::from_millis(500);
/// Longest such time.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// Maximum number of refusals that are logged until all reports are removed.
const MOST_LOGGED: usize = 8;
/// Most reports that are deleted or set aside at the same time.
const SETTLED_AT_ONCE: usize = 8;

fn request_outcome(outcome: &Outcome) -> RequestOutcome {
    match outcome {
        Outcome::Accepted => RequestOutcome::Accepted,
        Outcome::Rejected(_) | Outcome::Invalid(_) => RequestOutcome::Rejected,
        Outcome::CommitError(_) | Outcome::Doubtful(_) => RequestOutcome::Failed,
        Outcome::Stale(_) => RequestOutcome::Stale,
    }
}

fn tell(news: &News, api: &Api, waiting: usize) {
    let url = api.shown();
    match news {
        News::Failing(reason) => warn!(url, waiting, "the API does not take reports: {reason}; trying on"),
        News::Rejecting(reason) => {
            warn!(url, "the API rejects reports: {reason}; they are set aside: see atalaya reports");
        }
        News::Invalid(reason) => {
            warn!(url, "a report can never be accepted and is set aside: {reason}; see atalaya reports");
        }
        News::Accepting { dropped: 0 } => info!(url, waiting, "the API accepts reports again"),
        News::Accepting { dropped } => {
            warn!(url, waiting, dropped, "the API accepts reports again; the oldest had to be dropped");
        }
    }
}

async fn send(api: &Api, report: &Report, timeout: Duration) -> Outcome {
    let unsent = |error: &reqwest::Error| format!("cannot set up HTTP: {}", root_cause(error));
    let request = match report.request(&api.url, api.method, |method, url| api.request(method, url)) {
        Ok(request) => request.timeout(timeout),
        Err(error) => return Outcome::CommitError(unsent(&error)),
    };
    let (client, request) = match request.build_split() {
        (client, Ok(request)) => (client, request),
        // The address and the client serve other reports, too: it is this one that cannot be sent.
        (_, Err(error)) => return Outcome::Invalid(format!("it cannot be sent: {}", root_cause(&error))),
    };
    let asked = request.url().clone();
    let answer = match client.execute(request).await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => {
            return Outcome::CommitError(format!("no answer within {timeout:?}"));
        }
        Err(error) => return Outcome::CommitError(with_clock(root_cause(&error), SystemTime::now())),
    };
    api.collects.store(answer.headers().contains_key(COLLECTOR), Ordering::Relaxed);
    response::judge(&asked, answer, |status| api.turned_away(status)).await
}

/// The innermost cause, which says what happened ("Connection refused"); the layers above name only themselves.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_connect() { format!("cannot connect: {cause}") } else { cause.to_string() }
}

/// A certificate that is not valid now may be a clock that is wrong: a Raspberry Pi starts in 1970, and nothing in the
/// words of TLS would make one look there. The day is enough: a reason that changes is logged again.
fn with_clock(cause: String, now: SystemTime) -> String {
    let about_time = ["certificate not valid yet", "certificate expired"];
    let found = about_time.iter().find_map(|words| Some(cause.find(words)? + words.len()));
    match (found, Timestamp::try_from(now)) {
        (Some(end), Ok(now)) => {
            let day = now.strftime("%Y-%m-%d");
            format!("{}; the clock of this machine says {day}: is it set?", &cause[..end])
        }
        _ => cause,
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;

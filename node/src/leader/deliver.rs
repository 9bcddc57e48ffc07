//! Carries the reports that are written down to the API, beside the cycle and never in its way, and deletes what was
//! accepted.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use atalaya_hal::boards::ApiMethod;
use atalaya_recipes::Leadership;
use atalaya_recipes::clock::Moment;
use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::context::TokioContext;
use tracing::{debug, info, warn};

use super::courier::{Key, News, Next, Outcome};
use super::office::{self, Failed};
use super::outbox::{ASIDE, Ending, MOST_ASIDE, Outbox};
use super::report::Report;
use crate::bearer::ApiToken;
use crate::fault;
use crate::figures::Figures;
use crate::id::NodeId;

/// Where reports go. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Api {
    url: Url,
    method: ApiMethod,
    /// What the requests say they come from.
    agent: String,
    /// What it wants to see.
    token: Option<ApiToken>,
    /// Made by the first who has to report: it takes more memory than all the rest of a node.
    client: Arc<OnceLock<Client>>,
    /// Whether it last answered as a collector of ours.
    collects: Arc<AtomicBool>,
    /// The runtime with which requests wait for the network; `None`: the one that they are made in.
    network: Option<Handle>,
}

impl Api {
    /// The one at `url`, for the node called `id`.
    pub fn new(id: &NodeId, url: Url, method: ApiMethod) -> Api {
        let agent = format!("atalaya/{} (node {})", env!("CARGO_PKG_VERSION"), id.as_str().escape_default());
        Api {
            url,
            method,
            agent,
            token: None,
            client: Arc::default(),
            collects: Arc::default(),
            network: None,
        }
    }

    /// Lets requests use the network through that runtime: for nodes whose own has no I/O.
    #[must_use]
    pub fn through(mut self, network: Option<Handle>) -> Api {
        self.network = network;
        self
    }

    /// Shows it this token with each request.
    #[must_use]
    pub fn showing(mut self, token: Option<ApiToken>) -> Api {
        self.token = token;
        self
    }

    /// Whether it is the same as that one.
    pub fn is(&self, other: &Api) -> bool {
        self.url == other.url && self.method == other.method && self.token == other.token
    }

    /// A request to it, with its token if it goes to its origin. Everything that is sent to an API begins here.
    ///
    /// # Errors
    /// The client cannot be set up.
    pub fn request(&self, method: Method, url: Url) -> reqwest::Result<RequestBuilder> {
        let is_its_own = url.origin() == self.url.origin();
        let request = self.client()?.request(method, url);
        let token = self.token.as_ref().filter(|token| is_its_own && token.is_for(&self.url));
        let Some(token) = token.and_then(ApiToken::header) else {
            return Ok(request);
        };
        // In the place of a password in the address. A redirect to another origin goes without it.
        Ok(request.headers(HeaderMap::from_iter([(AUTHORIZATION, token)])))
    }

    /// It does not know who reports, or does not let them: that is nothing about a report. What to do about it, in words.
    fn turned_away(&self, status: StatusCode) -> String {
        match &self.token {
            None => format!("it answers {status}, and there is no token to show (api_token_file)"),
            Some(token) if !token.is_for(&self.url) => format!(
                "it answers {status}, and {token} is not shown to it: it is for the api_url of this node's own configuration"
            ),
            Some(token) => {
                token.read_again();
                format!("it answers {status} to {token}")
            }
        }
    }

    /// Its address, if it is a collector of ours, and the runtime with which requests wait for the network.
    pub(super) fn collector(&self) -> Option<(&Url, Option<&Handle>)> {
        self.collects.load(Ordering::Relaxed).then_some((&self.url, self.network.as_ref()))
    }

    /// Whether it has a token of its own to show.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    fn client(&self) -> reqwest::Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = Client::builder().user_agent(&self.agent).redirect(redirects(self.method));
        if self.url.scheme() == "http" {
            // The machine's certificates would be read for nothing.
            builder = builder.tls_certs_only(std::iter::empty());
        }
        if self.is_here() {
            // The environment may name a proxy; to that one, "here" would be somewhere else.
            builder = builder.no_proxy();
        }
        let client = builder.build()?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Whether it is on this very machine.
    fn is_here(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        address.map_or(host == "localhost", |address| address.is_loopback())
    }

    /// The address for logs: without password and query, which may be secrets.
    fn shown(&self) -> String {
        let mut url = self.url.clone();
        // Both fail only for addresses that can have neither.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.into()
    }
}

/// The header by which a collector of ours is known.
const COLLECTOR: &str = "atalaya-collector";

/// As much of an answer as is read, so that its connection can be used again; nothing in it matters.
const LONGEST_ANSWER: usize = 16 * 1024;

/// The reports on their way, and a bell for new ones.
#[derive(Debug)]
pub struct Outgoing {
    outbox: Mutex<Outbox>,
    news: Notify,
    /// What was accepted last.
    delivered: watch::Sender<Option<Delivered>>,
    figures: Figures,
}

/// A report that the API has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Of which cycle.
    pub cycle: u64,
    /// When, by this machine's clock.
    pub at: SystemTime,
}

/// What comes of the things that are under way.
enum Happened {
    Answered(Key, Outcome),
    Settled(u64, Result<usize, Failed>),
}

impl Outgoing {
    /// None yet.
    pub fn new(period: Duration, figures: Figures) -> Outgoing {
        Outgoing {
            outbox: Mutex::new(Outbox::new(period)),
            news: Notify::new(),
            delivered: watch::Sender::new(None),
            figures,
        }
    }

    /// Looks into the outbox, or changes it.
    pub async fn with<T>(&self, act: impl FnOnce(&mut Outbox) -> T) -> T {
        let done = {
            let mut outbox = self.outbox.lock().await;
            let done = act(&mut outbox);
            self.figures.waits(outbox.waiting(), outbox.oldest());
            done
        };
        self.news.notify_one();
        done
    }

    /// To be told of what was accepted last.
    pub fn delivered(&self) -> watch::Receiver<Option<Delivered>> {
        self.delivered.subscribe()
    }

    /// Delivers for as long as `leadership` holds, then waits to be dropped. Without an `api` it only tidies up.
    ///
    /// # Cancellation safety
    /// Requests under way are cut off. Their reports are still here, and written down, and are sent again by the next call,
    /// with the same `Idempotency-Key`.
    pub async fn deliver(&self, leadership: &Leadership, api: Option<&Api>) {
        let mut under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Happened> + Send + '_>>> =
            FuturesUnordered::new();
        self.figures.delivers();
        let mut gives_up = false;
        {
            let mut outbox = self.outbox.lock().await;
            outbox.interrupted();
            for cycle in outbox.endings() {
                under_way.push(Box::pin(self.settle(leadership, cycle)));
            }
        }
        loop {
            let next = match api {
                Some(_) => self.outbox.lock().await.next(Moment::now()),
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
                    self.figures.sends(retry);
                    let figures = &self.figures;
                    under_way.push(Box::pin(async move {
                        let sending = fault::during("sending", send(api, &report, timeout));
                        let since = Moment::now();
                        let outcome = match &api.network {
                            Some(network) => TokioContext::new(sending, network.clone()).await,
                            None => sending.await,
                        };
                        figures.answered(&outcome, Moment::now().since(since));
                        fault::point("answered");
                        Happened::Answered(key, outcome)
                    }));
                    continue;
                }
                (Next::Wait(until), _) => until.since(Moment::now()),
                _ => Duration::MAX,
            };
            tokio::select! {
                Some(happened) = under_way.next() => match happened {
                    Happened::Answered(key, outcome) => {
                        let accepted = outcome == Outcome::Accepted;
                        let (settled, news, waiting) = {
                            let mut outbox = self.outbox.lock().await;
                            let (settled, news) = outbox.done(key, outcome);
                            self.figures.waits(outbox.waiting(), outbox.oldest());
                            (settled, news, outbox.waiting())
                        };
                        if accepted {
                            self.delivered.send_replace(Some(Delivered { cycle: key.0, at: SystemTime::now() }));
                        }
                        if let (Some(news), Some(api)) = (news, api) {
                            tell(&news, api, waiting);
                        }
                        if let Some(cycle) = settled {
                            under_way.push(Box::pin(self.settle(leadership, cycle)));
                        }
                    }
                    Happened::Settled(cycle, Ok(given_up)) => {
                        if given_up > 0 && !std::mem::replace(&mut gives_up, true) {
                            warn!("there are {MOST_ASIDE} rejected reports: from now on the oldest are given up for new ones");
                        }
                        self.outbox.lock().await.ended(cycle);
                    }
                    Happened::Settled(_, Err(Failed::Deposed)) => return std::future::pending().await,
                    Happened::Settled(cycle, Err(Failed::Unclear(error) | Failed::Refused(_, error))) => {
                        debug!(cycle, %error, "what became of a report is not written down yet");
                        under_way.push(Box::pin(async move {
                            tokio::time::sleep(SETTLE_AGAIN).await;
                            self.settle(leadership, cycle).await
                        }));
                    }
                },
                () = self.news.notified() => {}
                () = tokio::time::sleep(wake) => {}
            }
        }
    }

    /// One more is set aside: so many are.
    async fn count_aside(&self, leadership: &Leadership) {
        self.figures.sets_aside();
        if self.figures.is_on()
            && let Ok(Some(aside)) = leadership.link().stat(ASIDE).await
        {
            self.figures.aside(aside.num_children);
        }
    }

    /// Deletes a report that is settled, or sets it aside.
    async fn settle(&self, leadership: &Leadership, cycle: u64) -> Happened {
        let ending = self.outbox.lock().await.ending(cycle).cloned();
        let result = match ending {
            Some(ending) => {
                let settled = office::settle(leadership, cycle, &ending).await;
                if settled.is_ok() && matches!(ending, Ending::Aside(_)) {
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

fn tell(news: &News, api: &Api, waiting: usize) {
    let url = api.shown();
    match news {
        News::Failing(reason) => warn!(url, waiting, "the API does not take reports: {reason}; trying on"),
        News::Rejecting(reason) => {
            warn!(url, "the API rejects reports: {reason}; they are set aside: see atalaya reports");
        }
        News::Accepting { dropped: 0 } => info!(url, waiting, "the API accepts reports again"),
        News::Accepting { dropped } => {
            warn!(url, waiting, dropped, "the API accepts reports again; the oldest had to be dropped");
        }
    }
}

async fn send(api: &Api, report: &Report, timeout: Duration) -> Outcome {
    let request = match report.request(&api.url, api.method, |method, url| api.request(method, url)) {
        Ok(request) => request.timeout(timeout),
        Err(error) => return Outcome::Failed(format!("cannot set up HTTP: {}", root_cause(&error))),
    };
    let mut answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => return Outcome::Failed(format!("no answer within {timeout:?}")),
        Err(error) => return Outcome::Failed(with_clock(root_cause(&error), SystemTime::now())),
    };
    api.collects.store(answer.headers().contains_key(COLLECTOR), Ordering::Relaxed);
    let outcome = match answer.status() {
        status if is_about_the_sender(status) => Outcome::Failed(api.turned_away(status)),
        status => judge(status),
    };
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read > LONGEST_ANSWER {
            break;
        }
    }
    outcome
}

/// A report that is posted is never made a GET without it, which some receivers would accept.
fn redirects(method: ApiMethod) -> Policy {
    const EMPTIED: [StatusCode; 3] =
        [StatusCode::MOVED_PERMANENTLY, StatusCode::FOUND, StatusCode::SEE_OTHER];
    Policy::custom(move |attempt| match method {
        ApiMethod::Post if EMPTIED.contains(&attempt.status()) => attempt.stop(),
        _ => Policy::default().redirect(attempt),
    })
}

/// Whether a status says nothing about the report, but about who sends it: that may be put right, and the report must wait.
fn is_about_the_sender(status: StatusCode) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::PROXY_AUTHENTICATION_REQUIRED]
        .contains(&status)
}

/// What a status means. 409 says that the report is there already, or is a deposed leader's: either way it is done with.
fn judge(status: StatusCode) -> Outcome {
    if status.is_success() || status == StatusCode::CONFLICT {
        return Outcome::Accepted;
    }
    let reason = format!("it answers {status}");
    let passing = [
        StatusCode::REQUEST_TIMEOUT,
        // The collector does not answer to the host name in the API's address: nothing is wrong with the report.
        StatusCode::MISDIRECTED_REQUEST,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    if status.is_client_error() && !passing.contains(&status) {
        Outcome::Rejected(reason)
    } else {
        Outcome::Failed(reason)
    }
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
#[path = "deliver_tests.rs"]
mod tests;

//! Carries reports to the API, beside the cycle and never in its way.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use atalaya_hal::boards::ApiMethod;
use atalaya_recipes::Leadership;
use atalaya_recipes::clock::Moment;
use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use reqwest::{Client, StatusCode, Url};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};
use tokio_util::context::TokioContext;
use tracing::{info, warn};

use super::courier::{Courier, News, Next, Outcome};
use super::report::Report;
use crate::id::NodeId;

/// Where reports go.
#[derive(Clone, Debug)]
pub struct Api {
    url: Url,
    method: ApiMethod,
    /// What the requests say they come from.
    agent: String,
    /// Made by the first who has to report: it takes more memory than all the rest of a node.
    client: OnceLock<Client>,
    /// The runtime with which requests wait for the network; `None`: the one that they are made in.
    network: Option<Handle>,
}

impl Api {
    /// The one at `url`, for the node called `id`.
    pub fn new(id: &NodeId, url: Url, method: ApiMethod) -> Api {
        let agent = format!("atalaya/{} (node {})", env!("CARGO_PKG_VERSION"), id.as_str().escape_default());
        Api { url, method, agent, client: OnceLock::new(), network: None }
    }

    /// Lets requests use the network through that runtime: for nodes whose own has no I/O.
    #[must_use]
    pub fn through(mut self, network: Option<Handle>) -> Api {
        self.network = network;
        self
    }

    fn client(&self) -> reqwest::Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = Client::builder().user_agent(&self.agent);
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

/// As much of an answer as is read, so that its connection can be used again; nothing in it matters.
const LONGEST_ANSWER: usize = 16 * 1024;

/// The reports on their way, and a bell for new ones.
#[derive(Debug)]
pub struct Outgoing {
    courier: Mutex<Courier<Report>>,
    news: Notify,
}

impl Outgoing {
    /// None yet.
    pub fn new(period: Duration) -> Outgoing {
        Outgoing { courier: Mutex::new(Courier::new(period)), news: Notify::new() }
    }

    /// Reports come once a `period` from now on.
    pub async fn set_period(&self, period: Duration) {
        self.courier.lock().await.set_period(period);
    }

    /// Takes a report over.
    pub async fn push(&self, report: Report) {
        self.courier.lock().await.push(report);
        self.news.notify_one();
    }

    /// Delivers for as long as `leadership` holds, then waits to be dropped.
    ///
    /// # Cancellation safety
    /// Requests under way are cut off. Their reports are still here and are sent again by the next call, with the same
    /// `Idempotency-Key`.
    pub async fn deliver(&self, leadership: &Leadership, api: &Api) {
        self.courier.lock().await.interrupted();
        let mut under_way = FuturesUnordered::new();
        loop {
            let next = self.courier.lock().await.next(Moment::now());
            let wake = match next {
                // The last look before the outside can see anything.
                Next::Send(..) if !leadership.holds() => return std::future::pending().await,
                Next::Send(number, report) => {
                    let timeout = self.courier.lock().await.timeout();
                    under_way.push(async move {
                        let sending = send(api, &report, timeout);
                        let outcome = match &api.network {
                            Some(network) => TokioContext::new(sending, network.clone()).await,
                            None => sending.await,
                        };
                        (number, outcome)
                    });
                    continue;
                }
                Next::Wait(until) => until.since(Moment::now()),
                Next::Idle => Duration::MAX,
            };
            tokio::select! {
                Some((number, outcome)) = under_way.next() => {
                    let mut courier = self.courier.lock().await;
                    if let Some(news) = courier.done(number, outcome, Moment::now()) {
                        tell(&news, api, courier.waiting());
                    }
                }
                () = self.news.notified() => {}
                () = tokio::time::sleep(wake) => {}
            }
        }
    }
}

fn tell(news: &News, api: &Api, waiting: usize) {
    let url = api.shown();
    match news {
        News::Failing(reason) => warn!(url, waiting, "the API does not take reports: {reason}; trying on"),
        News::Rejecting(reason) => {
            warn!(url, "the API rejects reports: {reason}; rejected reports are not sent again");
        }
        News::Accepting { dropped: 0 } => info!(url, waiting, "the API accepts reports again"),
        News::Accepting { dropped } => {
            warn!(url, waiting, dropped, "the API accepts reports again; the oldest had to be dropped");
        }
    }
}

async fn send(api: &Api, report: &Report, timeout: Duration) -> Outcome {
    let client = match api.client() {
        Ok(client) => client,
        Err(error) => return Outcome::Failed(format!("cannot set up HTTP: {}", root_cause(&error))),
    };
    let request = report.request(client, &api.url, api.method).timeout(timeout);
    let mut answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => return Outcome::Failed(format!("no answer within {timeout:?}")),
        Err(error) => return Outcome::Failed(with_clock(root_cause(&error), SystemTime::now())),
    };
    let outcome = judge(answer.status());
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read > LONGEST_ANSWER {
            break;
        }
    }
    outcome
}

/// What a status means. 409 says that the report is there already, or is a deposed leader's: either way it is done with.
fn judge(status: StatusCode) -> Outcome {
    if status.is_success() || status == StatusCode::CONFLICT {
        return Outcome::Accepted;
    }
    let reason = format!("it answers {status}");
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
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
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_valid_now_makes_one_look_at_the_clock() {
        let early = |second: u64| {
            let cause = format!(
                "cannot connect: invalid peer certificate: certificate not valid yet: verification time {second}"
            );
            with_clock(cause, SystemTime::UNIX_EPOCH + Duration::from_secs(second))
        };
        let told = "cannot connect: invalid peer certificate: certificate not valid yet; the clock of this machine \
                    says 1970-01-01: is it set?";
        assert_eq!(early(90), told);
        assert_eq!(early(91), told, "one reason, one line of log");
        let other = "cannot connect: invalid peer certificate: UnknownIssuer";
        assert_eq!(with_clock(other.to_owned(), SystemTime::UNIX_EPOCH), other);
    }

    #[test]
    fn secrets_in_the_address_are_not_logged() {
        let url = "https://user:pass@h:8000/nuevo?token=secret".parse().unwrap();
        let api = Api::new(&"1".parse().unwrap(), url, ApiMethod::Get);
        assert_eq!(api.shown(), "https://h:8000/nuevo");
    }

    #[test]
    fn an_api_on_this_machine_is_asked_without_a_proxy() {
        let here =
            |url: &str| Api::new(&"1".parse().unwrap(), url.parse().unwrap(), ApiMethod::Get).is_here();
        assert!(
            here("http://127.0.0.1:8000/nuevo") && here("http://localhost/") && here("http://[::1]:8000/")
        );
        assert!(!here("http://10.0.0.1:8000/nuevo") && !here("https://localhost.example/"));
    }

    #[test]
    fn what_a_status_means() {
        let kind = |status: u16| match judge(StatusCode::from_u16(status).unwrap()) {
            Outcome::Accepted => "accepted",
            Outcome::Rejected(_) => "rejected",
            Outcome::Failed(_) => "failed",
        };
        for (status, wanted) in [
            (200, "accepted"),
            (204, "accepted"),
            (409, "accepted"),
            (400, "rejected"),
            (404, "rejected"),
            (408, "failed"),
            (429, "failed"),
            (304, "failed"),
            (500, "failed"),
            (503, "failed"),
        ] {
            assert_eq!(kind(status), wanted, "{status}");
        }
    }
}

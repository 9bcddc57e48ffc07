//! HTTP client for the API that receives the reports.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use atalaya_config::ApiMethod;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

use crate::http_client::{self, is_local, root_cause, with_clock_hint};
use crate::leader::delivery::full_reports::{self, FullReports};
use crate::leader::delivery::outcome::Outcome;
use crate::leader::delivery::response;
use crate::model::node_id::NodeId;
use crate::model::report::{Origin, Report};
use crate::settings::api_token::ApiToken;

/// Client for one API. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    url: Url,
    method: ApiMethod,
    user_agent: String,
    pub(crate) token: Option<ApiToken>,
    /// Name of the fleet, for a collector that several fleets use.
    pub(crate) fleet: Option<String>,
    /// Zone of the fleet, for a collector that several elections of one fleet use.
    pub(crate) zone: Option<String>,
    /// Created by the first request: it takes more memory than the rest of a node.
    client: Arc<OnceLock<Client>>,
    /// True if the last response was from a collector of Atalaya.
    is_collector: Arc<AtomicBool>,
    full_reports: Arc<FullReports>,
    /// Runtime for the network I/O of requests; `None`: the caller's.
    pub(crate) runtime: Option<Handle>,
}

/// Two clients are equal if they send the same requests to the same address.
impl PartialEq for Api {
    fn eq(&self, other: &Api) -> bool {
        self.url == other.url
            && self.method == other.method
            && self.token == other.token
            && self.fleet == other.fleet
            && self.zone == other.zone
    }
}

impl Api {
    /// Returns a client for the API at `url`, used by the node with this id.
    pub(crate) fn new(id: &NodeId, url: Url, method: ApiMethod) -> Api {
        let user_agent =
            format!("atalaya/{} (node {})", env!("CARGO_PKG_VERSION"), id.as_str().escape_default());
        let full_reports = match method {
            ApiMethod::Auto => FullReports::beside(&url),
            ApiMethod::Get | ApiMethod::Post => FullReports::default(),
        };
        Api {
            url,
            method,
            user_agent,
            token: None,
            fleet: None,
            zone: None,
            client: Arc::default(),
            is_collector: Arc::default(),
            full_reports: full_reports.into(),
            runtime: None,
        }
    }

    /// Returns a request to `url`, with the token if `url` has the origin of the API. All requests are built here.
    pub(crate) fn request(&self, method: Method, url: Url) -> reqwest::Result<RequestBuilder> {
        let is_same_origin = url.origin() == self.url.origin();
        let request = self.client()?.request(method, url);
        let token = self.token.as_ref().filter(|token| is_same_origin && token.is_for(&self.url));
        let Some(token) = token.and_then(ApiToken::header) else {
            return Ok(request);
        };
        // It replaces a password in the address. A redirect to another origin does not carry it.
        Ok(request.headers(HeaderMap::from_iter([(AUTHORIZATION, token)])))
    }

    /// Sends a report and waits for the response, up to `timeout`.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the API may have recorded the report or not.
    pub(crate) async fn send(&self, report: &Report, timeout: Duration) -> Outcome {
        self.with_network(self.try_send(report, timeout)).await
    }

    async fn try_send(&self, report: &Report, timeout: Duration) -> Outcome {
        let begun = Instant::now();
        let mut refusal = None;
        if let Some(url) = self.full_reports.url() {
            let (requested, response) = match self.exchange(report, (ApiMethod::Post, url), timeout).await {
                Ok(exchanged) => exchanged,
                Err(outcome) => return outcome,
            };
            refusal = full_reports::refusal(&response);
            if refusal.is_none() {
                return self.classify(&requested, response).await;
            }
        }
        // A report that was refused as a full one is sent at once in the other way, with the same key.
        let spent = refusal.as_ref().map_or(Duration::ZERO, |_| begun.elapsed());
        let timeout = timeout.saturating_sub(spent);
        let (requested, response) = match self.exchange(report, (self.method, &self.url), timeout).await {
            Ok(exchanged) => exchanged,
            Err(outcome) => return outcome,
        };
        let is_of_collector = full_reports::is_of_collector(&response);
        let outcome = self.classify(&requested, response).await;
        match (&outcome, refusal) {
            (Outcome::Accepted, Some(reason)) => self.full_reports.stop(&reason),
            (Outcome::Accepted, None) if is_of_collector => self.full_reports.start(),
            _ => {}
        }
        outcome
    }

    /// Sends a report. Returns the requested address and the response; the error is the outcome without a response.
    async fn exchange(
        &self,
        report: &Report,
        (method, url): (ApiMethod, &Url),
        timeout: Duration,
    ) -> Result<(Url, Response), Outcome> {
        let setup_error = |error: &reqwest::Error| format!("cannot set up HTTP: {}", root_cause(error));
        let begin = |method, url| self.request(method, url);
        let origin = Origin { fleet: self.fleet.as_deref(), zone: self.zone.as_deref() };
        let request = match report.request(url, method, origin, begin) {
            Ok(request) => request.timeout(timeout),
            Err(error) => return Err(Outcome::Failed(setup_error(&error))),
        };
        // The address of full reports is without the parameters of that for `GET`.
        let token = full_reports::token_of(&self.url).filter(|_| *url != self.url && !self.has_token());
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let (client, request) = match request.build_split() {
            (client, Ok(request)) => (client, request),
            // The address and the client work for other reports, so only this report cannot be sent.
            (_, Err(error)) => {
                return Err(Outcome::Invalid(format!("it cannot be sent: {}", root_cause(&error))));
            }
        };
        let requested = request.url().clone();
        let response = client.execute(request).await.map_err(|error| {
            Outcome::Failed(match error.is_timeout() {
                true => format!("no answer within {timeout:?}"),
                false => with_clock_hint(root_cause(&error), SystemTime::now()),
            })
        })?;
        self.is_collector.store(full_reports::is_of_collector(&response), Ordering::Relaxed);
        Ok((requested, response))
    }

    async fn classify(&self, url: &Url, response: Response) -> Outcome {
        response::classify(url, response, |status| self.denied(status)).await
    }

    pub(in crate::leader) async fn with_network<T>(&self, request: impl Future<Output = T>) -> T {
        match &self.runtime {
            Some(runtime) => TokioContext::new(request, runtime.clone()).await,
            None => request.await,
        }
    }

    /// Returns the reason for a response that concerns the sender and not the report (401, 403, 407), with the remedy.
    /// Reads the token again, in case its file has changed.
    pub(crate) fn denied(&self, status: StatusCode) -> String {
        match &self.token {
            None => format!("it answers {status}, and no token is configured (api_token_file)"),
            Some(token) if !token.is_for(&self.url) => {
                format!("it answers {status}, and {token} is not sent there: {}", token.bound_to())
            }
            Some(token) => {
                token.read_again();
                format!("it answers {status} to {token}")
            }
        }
    }

    /// Returns the address, if the last response was from a collector of Atalaya.
    pub(in crate::leader) fn collector_url(&self) -> Option<&Url> {
        self.is_collector.load(Ordering::Relaxed).then_some(&self.url)
    }

    /// Returns true if requests carry a token of this node.
    pub(in crate::leader) fn has_token(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.is_for(&self.url))
    }

    fn client(&self) -> reqwest::Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = http_client::builder()
            .user_agent(&self.user_agent)
            .redirect(response::redirect_policy(self.method, self.full_reports.path()));
        if self.url.scheme() == "http" {
            // Without TLS, reading the machine's certificates is useless work.
            builder = builder.tls_certs_only(std::iter::empty());
        }
        if is_local(&self.url) {
            // The environment may name a proxy, on which the local address would be another machine.
            builder = builder.no_proxy();
        }
        let client = builder.build()?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Returns the address for logs: without password and query, which may be secrets.
    pub(super) fn display_url(&self) -> String {
        let mut url = self.url.clone();
        // Both fail only for addresses that can have neither.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.into()
    }
}

#[cfg(test)]
#[path = "api_client_tests.rs"]
mod tests;

//! Switch of `api_method = "auto"`: reports are sent with `GET` until the API proves to be a collector of Atalaya, then
//! as full reports with `POST` to `/api/v1/reports` beside `/nuevo`. Both requests have the same `Idempotency-Key`, so
//! a report that is sent both ways is recorded once.

use std::sync::atomic::{AtomicU8, Ordering};

use reqwest::{Response, StatusCode, Url};
use tracing::{info, warn};

/// Header of all responses of a collector of Atalaya.
const COLLECTOR_HEADER: &str = "atalaya-collector";

/// The API has not proved to be a collector yet.
const UNKNOWN: u8 = 0;
const POST: u8 = 1;
/// The collector, or a proxy before it, refuses full reports but accepts `GET`.
const GET_ONLY: u8 = 2;

/// State of the switch for one API.
#[derive(Debug, Default)]
pub(super) struct FullReports {
    /// Address of full reports; `None`: they are never sent.
    url: Option<Url>,
    state: AtomicU8,
}

impl FullReports {
    /// Returns the switch for an API with this address for `GET`.
    pub(super) fn beside(api: &Url) -> FullReports {
        FullReports { url: endpoint(api), state: AtomicU8::new(UNKNOWN) }
    }

    /// Returns the address of full reports, if they are sent.
    pub(super) fn url(&self) -> Option<&Url> {
        self.url.as_ref().filter(|_| self.state.load(Ordering::Relaxed) == POST)
    }

    /// Returns the path of full reports.
    pub(super) fn path(&self) -> Option<&str> {
        self.url.as_ref().map(Url::path)
    }

    /// Starts to send full reports, after a collector has accepted a report with `GET`.
    pub(super) fn start(&self) {
        let Some(path) = self.path() else { return };
        if self.change(UNKNOWN, POST) {
            info!("the API is a collector of Atalaya: full reports are sent to {path}");
        }
    }

    /// Returns to `GET`, by which the API has accepted a report after refusing it as a full one.
    pub(super) fn stop(&self, reason: &str) {
        if self.change(POST, GET_ONLY) {
            let path = self.path().unwrap_or_default();
            warn!("the API does not accept full reports at {path}: {reason}; reports are sent with GET");
        }
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Returns the address of full reports for an API whose path ends in `/nuevo`; a prefix of a proxy stays.
fn endpoint(api: &Url) -> Option<Url> {
    let is_collectors = api.path_segments()?.next_back() == Some("nuevo");
    is_collectors.then(|| api.join("api/v1/reports").ok()).flatten()
}

/// Returns the token in the address: some clients cannot send it in a header.
pub(in crate::leader) fn token_of(api: &Url) -> Option<String> {
    api.query_pairs().find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
}

pub(super) fn is_of_collector(response: &Response) -> bool {
    response.headers().contains_key(COLLECTOR_HEADER)
}

/// Returns the reason if a response to a full report means that the same report may be accepted with `GET`.
pub(super) fn refusal(response: &Response) -> Option<String> {
    let status = response.status();
    let is_temporary = (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status);
    match status {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED => Some(format!("it answers {status}")),
        // For example a page of a proxy.
        _ if !is_of_collector(response) && !is_temporary => {
            Some(format!("it answers {status} without the header of a collector"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_reports_go_beside_nuevo() {
        for (api, wanted) in [
            ("http://h:8000/nuevo", Some("http://h:8000/api/v1/reports")),
            ("https://h/fleets/a/nuevo?token=x", Some("https://h/fleets/a/api/v1/reports")),
            ("https://u:p@h/nuevo", Some("https://u:p@h/api/v1/reports")),
            ("http://h/nuevo/", None),
            ("http://h/new", None),
            ("http://h/", None),
        ] {
            let found = endpoint(&api.parse().unwrap());
            assert_eq!(found.as_ref().map(Url::as_str), wanted, "{api}");
        }
        assert_eq!(token_of(&"http://h/nuevo?token=a%26b".parse().unwrap()).as_deref(), Some("a&b"));
    }

    #[test]
    fn switch_returns_to_get_for_good() {
        let switch = FullReports::beside(&"http://h/nuevo".parse().unwrap());
        assert!(switch.url().is_none());
        switch.stop("it was not used");
        assert!(switch.url().is_none());
        switch.start();
        assert!(switch.url().is_some());
        switch.stop("it answers 404 Not Found");
        switch.start();
        assert!(switch.url().is_none());
        let never = FullReports::default();
        never.start();
        assert!(never.url().is_none());
    }
}

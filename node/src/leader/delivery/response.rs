//! Classifies the responses of an API: decides whether a report is recorded there. A redirect to another origin, or to
//! an HTML page such as a login page, does not mean that it is.

use atalaya_config::ApiMethod;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use crate::http_client::read_body;
use crate::leader::delivery::outcome::{Doubt, Outcome, Stale};

/// Maximum size of a body that is read, in bytes. The rest is discarded, and the connection is closed.
const MAX_BODY: usize = 16 * 1024;
const MAX_REDIRECTS: usize = 10;

/// Problem details (RFC 9457) of a collector.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    epoch: Option<i64>,
    first_cycle: Option<u64>,
    kept: Option<f64>,
}

/// Returns the policy for redirects: they are followed within the origin of the API and never in circles. A POST is
/// never repeated as a GET without the report, which some receivers would accept. `posts`: path of the POSTs of a client
/// that uses both methods.
pub(super) fn redirect_policy(method: ApiMethod, posts: Option<&str>) -> Policy {
    const CHANGE_TO_GET: [StatusCode; 3] =
        [StatusCode::MOVED_PERMANENTLY, StatusCode::FOUND, StatusCode::SEE_OTHER];
    let posts = posts.map(str::to_owned);
    Policy::custom(move |attempt| {
        let before = attempt.previous();
        let leaves_origin = before.first().is_some_and(|first| first.origin() != attempt.url().origin());
        let is_circle = before.contains(attempt.url()) || before.len() > MAX_REDIRECTS;
        let is_post = method == ApiMethod::Post
            || before.first().is_some_and(|first| posts.as_deref() == Some(first.path()));
        let loses_body = is_post && CHANGE_TO_GET.contains(&attempt.status());
        if leaves_origin || is_circle || loses_body { attempt.stop() } else { attempt.follow() }
    })
}

/// Returns the outcome of the request to `requested`. `denied` returns the reason if it concerns the sender.
pub(super) async fn classify(
    requested: &Url,
    mut response: Response,
    denied: impl FnOnce(StatusCode) -> String,
) -> Outcome {
    let status = response.status();
    let (is_redirected, final_url) = (response.url() != requested, response.url().clone());
    let content_type = header(&response, CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    let location = header(&response, LOCATION).and_then(|to| final_url.join(&to).ok());
    let body = read_body(&mut response, MAX_BODY).await;
    match status {
        StatusCode::CONFLICT => classify_conflict(&content_type, body.as_deref()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Outcome::Doubtful(Doubt::of_sender(denied(status)))
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Outcome::Failed(denied(status)),
        status if status.is_redirection() => {
            let other_origin = location.filter(|to| to.origin() != requested.origin()).map(|to| {
                let origin = to.origin().ascii_serialization();
                format!("it answers {status} and redirects to {origin}, which is not the API: the report is not recorded")
            });
            server_error(other_origin.unwrap_or_else(|| format!("it answers {status}")))
        }
        status if status.is_success() && is_redirected && is_html(&content_type, body.as_deref()) => {
            let path = crate::model::text::sanitize_for_log(final_url.path());
            let reason =
                format!("it redirects to {path} and answers with a page of HTML: the report is not recorded");
            server_error(reason)
        }
        status => classify_status(status),
    }
}

fn header(response: &Response, name: reqwest::header::HeaderName) -> Option<String> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Returns true if a response is an HTML page, by its content type or, without one, by its body.
fn is_html(content_type: &str, body: Option<&[u8]>) -> bool {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "text/html" | "application/xhtml+xml" => true,
        "" => body.is_none_or(|body| body.trim_ascii_start().starts_with(b"<")),
        _ => false,
    }
}

fn server_error(reason: String) -> Outcome {
    Outcome::Doubtful(Doubt::of_server_error(reason))
}

/// Returns the outcome of a 409. It means that a report with this key is recorded. A collector adds whether that report
/// has another mean, or that it refuses the report because of a later leader.
fn classify_conflict(content_type: &str, body: Option<&[u8]>) -> Outcome {
    const STALE: &str = "urn:problem-type:atalaya:stale";
    const CONFLICT: &str = "urn:problem-type:atalaya:conflict";
    if !content_type.starts_with("application/problem+json") {
        return Outcome::Accepted;
    }
    let Some(body) = body else { return Outcome::Failed("its answer 409 is incomplete".to_owned()) };
    match serde_json::from_slice(body) {
        Ok(Problem { kind, epoch: Some(epoch), first_cycle, .. }) if kind == STALE => {
            Outcome::Stale(Stale { epoch, first_cycle: first_cycle.unwrap_or(0) })
        }
        Ok(Problem { kind, .. }) if kind == STALE => {
            Outcome::Invalid("it has a report of a later epoch".to_owned())
        }
        Ok(Problem { kind, kept, .. }) if kind == CONFLICT => {
            let kept = kept.map(|kept| format!(" of {kept}")).unwrap_or_default();
            Outcome::Invalid(format!("it has a report of this epoch and cycle with another mean{kept}"))
        }
        _ => Outcome::Accepted,
    }
}

/// Returns the outcome of a status that does not depend on the rest of the response.
pub(super) fn classify_status(status: StatusCode) -> Outcome {
    // A response to a part of a resource, or to several requests, is not a response to a report.
    let partial = [StatusCode::PARTIAL_CONTENT, StatusCode::MULTI_STATUS].contains(&status);
    if (status.is_success() && !partial) || status == StatusCode::CONFLICT {
        return Outcome::Accepted;
    }
    let reason = format!("it answers {status}");
    match status {
        StatusCode::REQUEST_TIMEOUT
        // The collector does not accept the host name in the API's address; the report itself is acceptable.
        | StatusCode::MISDIRECTED_REQUEST
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS => Outcome::Failed(reason),
        status if status.is_client_error() => Outcome::Rejected(reason),
        _ => server_error(reason),
    }
}

//! Decides from the answer of an API whether a report is recorded there. Only an answer that can mean "recorded"
//! counts: a redirect to another place, or to a page of HTML such as a login page, does not.

use atalaya_hal::boards::ApiMethod;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use crate::leader::delivery::queue::{Doubt, Outcome, Stale};

/// Longest part of a body that is read, in bytes. The rest is dropped together with the connection.
const LONGEST_BODY: usize = 16 * 1024;
/// Most redirects that are followed.
const MOST_REDIRECTS: usize = 10;

/// Answers about the sender (401, 403) may be about one report only.
const FORBIDDEN: (u32, u32) = (3, 1);
/// Errors of the API may be as well, but are more often about all: more tries are needed.
const BROKEN: (u32, u32) = (12, 3);

/// Problem details (RFC 9457) of a collector.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    epoch: Option<i64>,
    first_cycle: Option<u64>,
    kept: Option<f64>,
}

/// Returns the policy for redirects: only within the origin of the API, never in circles, and a report that is posted
/// is never made a GET without it, which some receivers would accept.
pub(in crate::leader) fn redirects(method: ApiMethod) -> Policy {
    const EMPTIED: [StatusCode; 3] =
        [StatusCode::MOVED_PERMANENTLY, StatusCode::FOUND, StatusCode::SEE_OTHER];
    Policy::custom(move |attempt| {
        let before = attempt.previous();
        let leaves = before.first().is_some_and(|asked| asked.origin() != attempt.url().origin());
        let circles = before.contains(attempt.url()) || before.len() > MOST_REDIRECTS;
        let empties = method == ApiMethod::Post && EMPTIED.contains(&attempt.status());
        if leaves || circles || empties { attempt.stop() } else { attempt.follow() }
    })
}

/// Returns whether the report that was sent to `asked` is recorded. `denied` tells what to do about an answer about the
/// sender.
pub(in crate::leader) async fn judge(
    asked: &Url,
    mut answer: Response,
    denied: impl FnOnce(StatusCode) -> String,
) -> Outcome {
    let status = answer.status();
    let (redirected, landed) = (answer.url() != asked, answer.url().clone());
    let kind = header(&answer, CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    let location = header(&answer, LOCATION).and_then(|to| landed.join(&to).ok());
    let body = read(&mut answer).await;
    match status {
        StatusCode::CONFLICT => conflict(&kind, body.as_deref()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => doubtful(denied(status), FORBIDDEN),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Outcome::CommitError(denied(status)),
        status if status.is_redirection() => {
            let elsewhere = location.filter(|to| to.origin() != asked.origin()).map(|to| {
                let origin = to.origin().ascii_serialization();
                format!("it answers {status} and redirects to {origin}, which is not the API: the report is not recorded")
            });
            doubtful(elsewhere.unwrap_or_else(|| format!("it answers {status}")), BROKEN)
        }
        status if status.is_success() && redirected && is_page(&kind, body.as_deref()) => {
            let path = crate::model::text::sanitize_for_log(landed.path());
            let reason =
                format!("it redirects to {path} and answers with a page of HTML: the report is not recorded");
            doubtful(reason, BROKEN)
        }
        status => from_status(status),
    }
}

fn header(answer: &Response, name: reqwest::header::HeaderName) -> Option<String> {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Reads the beginning of the body, so that the connection can be used again; `None` if it breaks off. A status of
/// success counts without a body: the status says that the report is recorded.
async fn read(answer: &mut Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                let room = LONGEST_BODY - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() >= room {
                    return Some(body);
                }
            }
            Ok(None) => return Some(body),
            Err(_) => return None,
        }
    }
}

/// Returns true if an answer is an HTML page, by its type or, without one, by its body.
fn is_page(kind: &str, body: Option<&[u8]>) -> bool {
    match kind.split(';').next().unwrap_or_default().trim() {
        "text/html" | "application/xhtml+xml" => true,
        "" => body.is_none_or(|body| body.trim_ascii_start().starts_with(b"<")),
        _ => false,
    }
}

fn doubtful(reason: String, (tries, proofs): (u32, u32)) -> Outcome {
    Outcome::Doubtful(Doubt { reason, tries, proofs })
}

/// Returns the meaning of a 409. By itself it says that a report of this key is recorded. A collector says more:
/// whether that one has another mean, or that it refuses the report because of a later leader.
fn conflict(kind: &str, body: Option<&[u8]>) -> Outcome {
    const STALE: &str = "urn:problem-type:atalaya:stale";
    const CONFLICT: &str = "urn:problem-type:atalaya:conflict";
    if !kind.starts_with("application/problem+json") {
        return Outcome::Accepted;
    }
    let Some(body) = body else { return Outcome::CommitError("its answer 409 breaks off".to_owned()) };
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

/// Returns the meaning of a status that needs no other look at the answer.
pub(in crate::leader) fn from_status(status: StatusCode) -> Outcome {
    // What answers a part of something, or several things, does not answer a report.
    let partial = [StatusCode::PARTIAL_CONTENT, StatusCode::MULTI_STATUS].contains(&status);
    if (status.is_success() && !partial) || status == StatusCode::CONFLICT {
        return Outcome::Accepted;
    }
    let reason = format!("it answers {status}");
    match status {
        StatusCode::REQUEST_TIMEOUT
        // The collector does not answer to the host name in the API's address: the report itself is acceptable.
        | StatusCode::MISDIRECTED_REQUEST
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS => Outcome::CommitError(reason),
        status if status.is_client_error() => Outcome::Rejected(reason),
        _ => doubtful(reason, BROKEN),
    }
}

//! Bodies of requests: media type, length and duration.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::limits::Limits;
use crate::problem::Problem;
use crate::values::cut;

/// Returns the media type without parameters, such as `application/json` of `application/json; charset=utf-8`. Returns
/// an empty string if the charset is not compatible with UTF-8, or if the header occurs twice.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return String::new() };
    let mut parts = kind.to_str().unwrap_or_default().split(';').map(|part| part.trim().to_ascii_lowercase());
    let kind = parts.next().unwrap_or_default();
    let readable = |parameter: String| {
        let charset = parameter.strip_prefix("charset=").map(|charset| charset.trim_matches('"').to_owned());
        charset.is_none_or(|charset| ["utf-8", "utf8", "us-ascii"].contains(&charset.as_str()))
    };
    if parts.all(readable) { kind } else { String::new() }
}

/// Returns true if the body is not compressed: compressed bodies are not supported.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Refuses a body that is not plain JSON.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let is_json = content_type(headers) == "application/json" && is_plain(headers);
    if is_json { Ok(()) } else { Err(unsupported("application/json")) }
}

pub(crate) fn unsupported(expected: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media-type",
        "Unsupported media type",
        format!("supported is Content-Type: {expected}, in UTF-8 and not compressed"),
    )
}

/// Returns true if the body exceeds the limit. Any other error is a closed connection or wrong chunks.
fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>())
}

/// Reads the body, up to the limits of its length and its duration.
pub(crate) async fn receive(limits: &Limits, body: Body) -> Result<Bytes, Problem> {
    let max = limits.body;
    let too_long = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "Body too large",
            format!("the maximum is {max} bytes"),
        )
    };
    if body.size_hint().lower() > max as u64 {
        return Err(too_long());
    }
    match timeout(limits.receive, axum::body::to_bytes(body, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(too_long()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "cannot read a body");
            Err(Problem::invalid("the body is incomplete, or its framing is not valid HTTP"))
        }
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "Body too slow",
            "the body was not complete in time",
        )),
    }
}

pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // The message repeats text of the body, which may be as long as the body.
    serde_json::from_slice(body).map_err(|error| Problem::invalid(cut(&error.to_string())))
}

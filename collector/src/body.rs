//! Bodies of requests: media type, length and duration.

use std::io::Read;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::MultiGzDecoder;
use http_body_util::LengthLimitError;
use serde::Deserialize;
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

/// Returns true if the body is compressed with gzip, and with nothing else.
pub(crate) fn is_gzip(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter().map(|coding| coding.as_bytes());
    let is_gzip = |coding: &[u8]| coding.eq_ignore_ascii_case(b"gzip");
    codings.next().is_some_and(is_gzip) && codings.next().is_none()
}

/// Unpacks a body that is compressed with gzip.
pub(crate) fn unpack(body: &[u8], max: usize) -> Result<Vec<u8>, Problem> {
    let mut unpacked = Vec::new();
    // One byte more shows that the limit is exceeded, before more is unpacked.
    let limit = (max as u64).saturating_add(1);
    let read = MultiGzDecoder::new(body).take(limit).read_to_end(&mut unpacked);
    if unpacked.len() > max {
        return Err(too_long(max));
    }
    read.map_err(|_| Problem::invalid("the body is not valid gzip"))?;
    Ok(unpacked)
}

fn too_long(max: usize) -> Problem {
    let detail = format!("the maximum is {max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large", detail)
}

/// Refuses a body that is not plain JSON.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let is_json = content_type(headers) == "application/json" && is_plain(headers);
    if is_json { Ok(()) } else { Err(unsupported("application/json")) }
}

pub(crate) fn unsupported(expected: &str) -> Problem {
    unsupported_coding(expected, "not compressed")
}

pub(crate) fn unsupported_coding(expected: &str, coding: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media-type",
        "Unsupported media type",
        format!("supported is Content-Type: {expected}, in UTF-8 and {coding}"),
    )
}

/// Returns true if the body exceeds the limit. Any other error is a closed connection or wrong chunks.
fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>())
}

/// Reads the body, up to the limits of its length and its duration.
pub(crate) async fn receive(limits: &Limits, body: Body) -> Result<Bytes, Problem> {
    let max = limits.body;
    if body.size_hint().lower() > max as u64 {
        return Err(too_long(max));
    }
    match timeout(limits.receive, axum::body::to_bytes(body, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(too_long(max)),
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

pub(crate) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    // The message repeats text of the body, which may be as long as the body.
    serde_json::from_slice(body).map_err(|error| Problem::invalid(cut(&error.to_string())))
}

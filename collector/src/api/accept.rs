//! Content negotiation: JSON, CSV or plain text.

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Returns true if the client prefers CSV to JSON.
pub(super) fn prefers_csv(headers: &HeaderMap) -> bool {
    prefers(accept(headers), "text/csv", "application/json")
}

/// Returns the answer as CSV or as JSON.
pub(super) fn csv_or_json<T: Serialize>(
    is_csv: bool,
    answer: T,
    csv: impl FnOnce(&T) -> Response,
) -> Response {
    if is_csv { csv(&answer) } else { Json(answer).into_response() }
}

/// Returns true if the client prefers JSON to plain text.
pub(super) fn prefers_json(headers: &HeaderMap) -> bool {
    prefers(accept(headers), "application/json", "text/plain")
}

fn accept(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok())
}

/// Returns true if an `Accept` header prefers `wanted` to the `default` format.
fn prefers(accept: Option<&str>, wanted: &str, default: &str) -> bool {
    let Some(accept) = accept else { return false };
    let quality = |media: &str| {
        let group = format!("{}/*", media.split('/').next().unwrap_or_default());
        // The most specific media range decides.
        [media, &group, "*/*"].into_iter().find_map(|range| {
            accept.split(',').find_map(|part| {
                let mut parameters = part.split(';').map(str::trim);
                let same = parameters.next().is_some_and(|own| own.eq_ignore_ascii_case(range));
                let quality = parameters
                    .find_map(|parameter| parameter.strip_prefix("q="))
                    .map_or(1.0, |quality| quality.parse::<f32>().unwrap_or(0.0));
                same.then_some(quality)
            })
        })
    };
    quality(wanted).unwrap_or(0.0) > quality(default).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn most_specific_media_range_decides() {
        let csv = |accept| prefers(accept, "text/csv", "application/json");
        for yes in ["text/csv", "text/*", "application/json;q=0.5, text/csv", "TEXT/CSV; q=0.9, */*;q=0.1"] {
            assert!(csv(Some(yes)), "{yes}");
        }
        for no in ["*/*", "application/json", "", "text/html", "text/csv;q=0", "text/csv, application/json"] {
            assert!(!csv(Some(no)), "{no}");
        }
        assert!(!csv(None));
    }

    proptest! {
        #[test]
        fn arbitrary_accept_header_does_not_panic(text in ".*") {
            prefers(Some(&text), "text/csv", "application/json");
        }
    }
}

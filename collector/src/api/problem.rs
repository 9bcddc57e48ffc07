//! What an answer says when it is no success: RFC 9457.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::fence::Stale;
use crate::report::Invalid;
use crate::store::StoreError;

/// `application/problem+json`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Names the kind of problem, for programs.
    #[serde(rename = "type", serialize_with = "urn")]
    kind: &'static str,
    /// Names it for people.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What is the matter this time.
    detail: Box<str>,
    /// With `stale`: the later leader's epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<i64>,
    /// With `stale`: the lowest cycle that it reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_cycle: Option<i64>,
    /// With `conflict`: the mean that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<f64>,
    #[serde(skip)]
    retry_after: Option<u32>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.into().into(),
            epoch: None,
            first_cycle: None,
            kept: None,
            retry_after: None,
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "invalid", "The request is not understood", detail)
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Nothing can be kept or told at present",
            detail,
        )
        .retry_after(2)
    }

    /// The key of a report is taken by one with another mean.
    pub(super) fn conflict(kept: f64) -> Problem {
        let detail = "a report of this key is kept, with another mean";
        Problem {
            kept: Some(kept),
            ..Problem::new(StatusCode::CONFLICT, "conflict", "The key is taken", detail)
        }
    }

    /// Another leader was later, and is known to have reported that cycle or one before it.
    pub(super) fn stale(stale: Stale) -> Problem {
        let Stale { epoch, first_cycle } = stale;
        let detail = format!("epoch {epoch} has reported cycle {first_cycle} already");
        Problem {
            epoch: Some(epoch),
            first_cycle: Some(first_cycle),
            ..Problem::new(StatusCode::CONFLICT, "stale", "The leader was deposed", detail)
        }
    }

    /// What is the matter this time.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn retry_after(self, seconds: u32) -> Problem {
        Problem { retry_after: Some(seconds), ..self }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn urn<S: Serializer>(kind: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:problem-type:atalaya:{kind}"))
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Problem {
        Problem::invalid(invalid.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        Problem::unavailable(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

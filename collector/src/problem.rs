//! Error responses, as defined by RFC 9457.

use std::num::{NonZeroI64, NonZeroU32};

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::fence::Stale;
use crate::fleet_name::FleetName;
use crate::invalid::Invalid;
use crate::plausibility::Ahead;
use crate::store::StoreError;

/// Error response (`application/problem+json`).
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Kind of the problem, for programs.
    #[serde(rename = "type", serialize_with = "urn")]
    kind: &'static str,
    /// Kind of the problem, for people.
    title: &'static str,
    /// Status code of the answer.
    status: u16,
    /// Explanation of this occurrence.
    detail: Box<str>,
    /// With `stale`: the epoch of the later leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    epoch: Option<NonZeroI64>,
    /// With `stale`: the lowest cycle that it reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_cycle: Option<i64>,
    /// With `conflict`: the stored mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<f64>,
    /// With `stale`, `conflict` and `future`: the epoch of the report or of the fleet status.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    report_epoch: Option<NonZeroI64>,
    /// With `stale` and `conflict`: the highest epoch that the collector knows. A leader of a lower epoch has to take
    /// over with a higher one before its reports are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    highest_epoch: Option<NonZeroI64>,
    /// With `future`: the highest epoch that is currently accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    max_epoch: Option<NonZeroI64>,
    #[serde(skip)]
    retry_after: Option<NonZeroU32>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { kind, title, status: status.as_u16(), detail: detail.into().into(), ..Problem::default() }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "invalid", "Bad request", detail)
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Storage unavailable", detail)
            .retry_after(2)
    }

    /// Creates the problem for a new fleet if there are `max` fleets already. The sender keeps its reports.
    pub(crate) fn too_many_fleets(fleet: &FleetName, max: usize) -> Problem {
        let detail = format!(
            "fleet {fleet} is new, and this collector has {max} fleets, the maximum: check fleet_name"
        );
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "fleets", "Too many fleets", detail).retry_after(60)
    }

    /// Creates the problem for a new zone if its fleet has `max` zones already. The sender keeps its reports.
    pub(crate) fn too_many_zones(name: &FleetName, max: usize) -> Problem {
        let detail = format!(
            "zone {name} is new, and the fleet has {max} zones, the maximum: check zone, or delete old zones with DELETE \
             /api/v1/zones"
        );
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "zones", "Too many zones", detail).retry_after(60)
    }

    pub(crate) fn not_found(detail: &str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub(crate) fn method_not_allowed() -> Problem {
        let detail = "see /api/v1/openapi.json";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed", detail)
    }

    /// Creates the problem for a report whose key has been recorded with another mean.
    pub(crate) fn conflict(kept: f64) -> Problem {
        let detail = "a report with this key is recorded with another mean";
        Problem {
            kept: Some(kept),
            ..Problem::new(StatusCode::CONFLICT, "conflict", "Conflicting report", detail)
        }
    }

    /// Creates the problem for a report of a deposed leader: a later leader has reported that cycle or an earlier one.
    pub(crate) fn stale(stale: Stale) -> Problem {
        let Stale { epoch, first_cycle } = stale;
        let detail = format!("epoch {epoch} has already reported cycle {first_cycle}");
        Problem {
            epoch: NonZeroI64::new(epoch),
            first_cycle: Some(first_cycle),
            ..Problem::new(StatusCode::CONFLICT, "stale", "Report of a deposed leader", detail)
        }
    }

    /// Creates the problem for an epoch that is further ahead of the collector's clock than `skew`.
    pub(crate) fn ahead(Ahead { epoch, max_epoch }: Ahead, skew: &str) -> Problem {
        let detail = format!(
            "epoch {epoch} is in the future: the highest accepted epoch is {max_epoch}, the collector's clock plus {skew} \
             or the number after the highest recorded epoch"
        );
        Problem {
            report_epoch: NonZeroI64::new(epoch),
            max_epoch: NonZeroI64::new(max_epoch),
            ..Problem::new(StatusCode::BAD_REQUEST, "future", "Epoch ahead of the clock", detail)
        }
    }

    /// Creates the problem for a fleet status that is older than the known one.
    pub(crate) fn newer_status(known: i64) -> Problem {
        let detail = format!("a newer status of epoch {known} is known");
        Problem::new(StatusCode::CONFLICT, "stale", "Outdated fleet status", detail)
    }

    /// Adds the epoch that was sent and the highest known epoch.
    pub(crate) fn with_epochs(self, report: Option<i64>, highest: Option<i64>) -> Problem {
        let [report_epoch, highest_epoch] = [report, highest].map(|epoch| epoch.and_then(NonZeroI64::new));
        Problem { report_epoch, highest_epoch, ..self }
    }

    /// Adds a warning to the explanation.
    pub(crate) fn with_warning(self, warning: Option<String>) -> Problem {
        match warning {
            Some(warning) => Problem { detail: format!("{}; {warning}", self.detail).into(), ..self },
            None => self,
        }
    }

    /// Returns the explanation of this occurrence.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Adds the header `Retry-After`.
    pub(crate) fn retry_after(self, seconds: u32) -> Problem {
        Problem { retry_after: NonZeroU32::new(seconds), ..self }
    }
}

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
            headers.insert(header::RETRY_AFTER, seconds.get().into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

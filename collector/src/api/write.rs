//! Routes that receive reports. A successful answer means that the reports are stored on the disk.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::LengthLimitError;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::App;
use super::clocks::{check_clocks, highest_epoch};
use super::problem::Problem;
use super::query::Query;
use crate::report::{Incoming, Key, Report, cut, number};
use crate::store::Outcome;

/// Result for a report.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(crate) enum Became {
    /// The report was stored.
    Recorded {
        /// Id of the report.
        id: i64,
    },
    /// The report was stored earlier.
    Repeated,
    /// A report with the same key and another mean was stored earlier; only in a batch, otherwise it is a problem of
    /// its own.
    Conflict {
        /// The stored mean.
        kept: f64,
    },
    /// A later leader has reported that cycle or an earlier one; only in a batch, otherwise it is a problem of its own.
    Stale {
        /// Epoch of the later leader.
        epoch: i64,
        /// Lowest cycle that it reported.
        first_cycle: i64,
    },
}

/// Results of a batch, in the order of its reports.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Batch {
    results: Vec<Became>,
}

/// Form for `/nuevo`, only for the document: the code that reads the parameters of the address reads the form too.
#[derive(serde::Deserialize, ToSchema)]
#[allow(dead_code, reason = "for the document")]
pub(crate) struct Form {
    /// Average.
    dato: f64,
    /// Quantity that was averaged.
    quantity: Option<String>,
    /// Unit of the quantity.
    unit: Option<String>,
}

/// Body of `/api/v1/reports`, only for the document: the first character decides which one it is.
#[derive(serde::Deserialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "for the document")]
pub(crate) enum OneOrMore {
    One(Incoming),
    More(Vec<Incoming>),
}

/// Answer of `/api/v1/reports`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "for the document")]
pub(crate) enum OneOrBatch {
    One(Became),
    More(Batch),
}

impl From<&Outcome> for Became {
    fn from(outcome: &Outcome) -> Became {
        match *outcome {
            Outcome::Recorded(id) => Became::Recorded { id },
            Outcome::Repeated => Became::Repeated,
            Outcome::Conflict(kept) => Became::Conflict { kept },
            Outcome::Stale(stale) => Became::Stale { epoch: stale.epoch, first_cycle: stale.first_cycle },
        }
    }
}

fn answer(outcome: &Outcome, created: StatusCode) -> Result<Response, Problem> {
    match *outcome {
        Outcome::Recorded(_) => Ok((created, Json(Became::from(outcome))).into_response()),
        Outcome::Repeated => Ok(Json(Became::from(outcome)).into_response()),
        Outcome::Conflict(kept) => Err(Problem::conflict(kept)),
        Outcome::Stale(stale) => Err(Problem::stale(stale)),
    }
}

/// Stores reports, and notifies the streams.
async fn keep(app: &App, reports: Vec<Report>) -> Result<Vec<Outcome>, Problem> {
    let Some(received) = reports.first().map(|report| report.received) else { return Ok(Vec::new()) };
    check_clocks(app, &reports, received).await?;
    let kept = timeout(app.limits.answer, app.store.record(reports)).await;
    let outcomes = kept.map_err(|_| Problem::unavailable("the store has not answered in time"))??;
    for outcome in &outcomes {
        app.metrics.became(outcome);
        if let Outcome::Recorded(id) = *outcome {
            app.note_arrival(id);
            app.newest.send_if_modified(|newest| {
                let newer = id > *newest;
                *newest = id.max(*newest);
                newer
            });
        }
    }
    Ok(outcomes)
}

async fn keep_one(app: &App, report: Report, created: StatusCode) -> Result<Response, Problem> {
    let epoch = report.epoch;
    let outcomes = keep(app, vec![report]).await?;
    let Some(outcome) = outcomes.first() else {
        return Err(Problem::unavailable("the store has not answered"));
    };
    match answer(outcome, created) {
        Ok(response) => Ok(response),
        Err(problem) => {
            let later = match outcome {
                Outcome::Stale(stale) => Some(stale.epoch),
                _ => epoch,
            };
            // If the store fails now, the epochs of the outcome are a lower bound.
            let highest = highest_epoch(app).await.ok().flatten();
            Err(problem.with_epochs(epoch, highest.max(later)))
        }
    }
}

fn key(headers: &HeaderMap) -> Result<Option<Key>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(first) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(Problem::invalid("Idempotency-Key is there more than once"));
    }
    let text = std::str::from_utf8(first.as_bytes())
        .map_err(|_| Problem::invalid("Idempotency-Key is not UTF-8"))?;
    Ok(Some(Key::parse(text)?))
}

pub(crate) fn reporter(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).filter(|agent| !agent.is_empty())
}

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

pub(crate) fn unsupported(expected: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media-type",
        "The body is of another kind",
        format!("Content-Type: {expected}, in UTF-8 and not compressed, is understood here"),
    )
}

/// Returns true if the body is not compressed: compressed bodies are not supported.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Returns true if the body exceeds the limit. Any other error is a closed connection or wrong chunks.
fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>())
}

/// Reads the body, up to the limits of its length and its duration.
pub(crate) async fn receive(app: &App, body: Body) -> Result<Bytes, Problem> {
    let most = app.limits.body;
    let too_long = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!("{most} bytes are taken at most"),
        )
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_long());
    }
    match timeout(app.limits.receive, axum::body::to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(too_long()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a body was not taken");
            Err(Problem::invalid("the body breaks off, or is not framed as HTTP frames bodies"))
        }
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "The body took too long",
            "it was not complete in time",
        )),
    }
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // The message repeats text of the body, which may be as long as the body.
    serde_json::from_slice(body).map_err(|error| Problem::invalid(cut(&error.to_string())))
}

/// Reads `dato` and the parameters that newer nodes add. Other parameters are ignored.
fn incoming(mut query: Query) -> Result<Incoming, Problem> {
    let dato = query.take("dato")?.ok_or_else(|| Problem::invalid("dato is missing"))?;
    let mean = number(&dato).map_err(|invalid| Problem::invalid(format!("dato: {invalid}")))?;
    let (quantity, unit) = (query.take("quantity")?, query.take("unit")?);
    Ok(Incoming { quantity, unit, ..Incoming::bare(mean) })
}

/// Records an average as existing fleets send it. Without an `Idempotency-Key` each request is a separate report.
#[utoipa::path(
    get, path = "/nuevo", tag = "write",
    params(
        ("dato" = f64, Query, description = "The average: a finite number"),
        ("quantity" = Option<String>, Query, description = "What was averaged, such as `temperature`"),
        ("unit" = Option<String>, Query, description = "Its unit, such as `Cel`"),
        ("token" = Option<String>, Query, description = "In place of `Authorization: Bearer`"),
        ("Idempotency-Key" = Option<String>, Header, description = "`{epoch}-{cycle}[-{unit}]`"),
    ),
    responses(
        (status = 200, description = "It is kept", body = Became),
        (status = 400, description = "It is not understood", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Problem `conflict`: the key is recorded with another mean; \
            problem `stale`: a later epoch has reported this cycle", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "It is not kept, or not known to be: try again", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn nuevo_get(
    State(app): State<Arc<App>>,
    method: Method,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    // A `HEAD` request must not record a report.
    if method == Method::HEAD {
        return Err(super::method_not_allowed());
    }
    let incoming = incoming(Query::parse(query.unwrap_or_default().as_bytes())?)?;
    let report = incoming.accept(key(&headers)?, Timestamp::now(), reporter(&headers))?;
    keep_one(&app, report, StatusCode::OK).await
}

/// Records an average that is sent as a form, as JSON with `dato` or with all fields, or in the address.
#[utoipa::path(
    post, path = "/nuevo", tag = "write",
    params(
        ("dato" = Option<f64>, Query, description = "The average, if there is no body"),
        ("token" = Option<String>, Query, description = "In place of `Authorization: Bearer`"),
        ("Idempotency-Key" = Option<String>, Header, description = "`{epoch}-{cycle}[-{unit}]`"),
    ),
    request_body(content(
        (Incoming = "application/json"),
        (Form = "application/x-www-form-urlencoded"),
    )),
    responses(
        (status = 200, description = "It is kept", body = Became),
        (status = 400, description = "It is not understood", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Problem `conflict`: the key is recorded with another mean; \
            problem `stale`: a later epoch has reported this cycle", body = Problem,
            content_type = "application/problem+json"),
        (status = 413, description = "It is too long", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Its Content-Type is another", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "It is not kept, or not known to be: try again", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn nuevo_post(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, Problem> {
    let key = key(&headers)?;
    let body = receive(&app, body).await?;
    let mut query = Query::parse(query.unwrap_or_default().as_bytes())?;
    let incoming = if body.is_empty() {
        incoming(query)?
    } else {
        if query.take("dato")?.is_some() {
            return Err(Problem::invalid("dato is in the address, and there is a body"));
        }
        match content_type(&headers).as_str() {
            _ if !is_plain(&headers) => return Err(unsupported("application/json")),
            "application/json" => json(&body)?,
            "application/x-www-form-urlencoded" => incoming(Query::parse(&body)?)?,
            _ => return Err(unsupported("application/json or application/x-www-form-urlencoded")),
        }
    };
    let report = incoming.accept(key, Timestamp::now(), reporter(&headers))?;
    keep_one(&app, report, StatusCode::OK).await
}

/// Records one report, or an array of reports: either all of them or none.
#[utoipa::path(
    post, path = "/api/v1/reports", tag = "write",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "`{epoch}-{cycle}[-{unit}]`; with one report only, and not needed if that tells epoch and cycle")),
    request_body(content = OneOrMore, description = "A report, or an array of reports"),
    responses(
        (status = 201, description = "It is kept", body = Became),
        (status = 200, description = "It was kept before; or what became of each of an array", body = OneOrBatch),
        (status = 400, description = "It is not understood: nothing is kept", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "Problem `conflict`: the key is recorded with another mean; \
            problem `stale`: a later epoch has reported this cycle", body = Problem,
            content_type = "application/problem+json"),
        (status = 413, description = "It is too long", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Its Content-Type is another", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "It is not kept, or not known to be: try again", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn post_reports(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = key(&headers)?;
    if content_type(&headers) != "application/json" || !is_plain(&headers) {
        return Err(unsupported("application/json"));
    }
    let body = receive(&app, body).await?;
    let received = Timestamp::now();
    let reporter = reporter(&headers);
    if body.trim_ascii_start().first() != Some(&b'[') {
        let report = json::<Incoming>(&body)?.accept(key, received, reporter)?;
        return keep_one(&app, report, StatusCode::CREATED).await;
    }
    if key.is_some() {
        return Err(Problem::invalid(
            "an Idempotency-Key is for one report: those of an array tell epoch and cycle",
        ));
    }
    let batch: Vec<Incoming> = json(&body)?;
    if batch.len() > app.limits.batch {
        return Err(Problem::invalid(format!("{} reports are taken at once at most", app.limits.batch)));
    }
    let reports = batch
        .into_iter()
        .enumerate()
        .map(|(at, incoming)| {
            let report = incoming.accept(None, received, reporter);
            report.map_err(|invalid| Problem::invalid(format!("report {at}: {invalid}")))
        })
        .collect::<Result<Vec<Report>, Problem>>()?;
    let outcomes = keep(&app, reports).await?;
    Ok(Json(Batch { results: outcomes.iter().map(Became::from).collect() }).into_response())
}

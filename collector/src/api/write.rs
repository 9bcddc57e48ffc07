//! Routes that receive reports. A successful answer means that the reports are stored on the disk.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::warn;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::auth::TokenParam;
use crate::body::{content_type, is_plain, json, receive, require_json, unsupported};
use crate::fleet_name::{FleetName, ZoneName};
use crate::fleets::two_fleets;
use crate::params::{Name, Number, Params, from_form};
use crate::plausibility::Clock;
use crate::problem::Problem;
use crate::report::{Incoming, Key, Report};
use crate::rivals::Sighting;
use crate::store::Outcome;

/// Average in the address or in a form. Other parameters are ignored.
#[derive(Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub(crate) struct Average {
    /// Average, a finite number.
    dato: Number,
    /// Quantity that was averaged, such as `temperature`.
    #[schema(nullable = false)]
    quantity: Option<Name>,
    /// Unit of the quantity, such as `Cel`.
    #[schema(nullable = false)]
    unit: Option<Name>,
    /// Name of the fleet, by default `default`.
    #[schema(nullable = false)]
    fleet: Option<FleetName>,
    /// Zone of the fleet, by default none.
    #[schema(nullable = false)]
    zone: Option<ZoneName>,
}

/// Average in the address of a request that may have a body instead.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OptionalAverage {
    /// Average, a finite number; required if the request has no body.
    dato: Option<Number>,
    /// Quantity that was averaged. Ignored if the request has a body.
    quantity: Option<Name>,
    /// Unit of the quantity. Ignored if the request has a body.
    unit: Option<Name>,
    /// Name of the fleet. Ignored if the request has a body.
    fleet: Option<FleetName>,
    /// Zone of the fleet. Ignored if the request has a body.
    zone: Option<ZoneName>,
}

impl From<Average> for Incoming {
    fn from(average: Average) -> Incoming {
        let [quantity, unit] = [average.quantity, average.unit].map(|name| name.map(|Name(name)| name));
        let zone = average.zone.map(|zone| zone.to_string());
        Incoming { fleet: average.fleet, zone, quantity, unit, ..Incoming::bare(average.dato.0) }
    }
}

/// Result of recording a report.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(crate) enum RecordStatus {
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
    results: Vec<RecordStatus>,
}

/// Body of `/api/v1/reports`, only for the OpenAPI document: the first character decides which one it is.
#[derive(serde::Deserialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, clippy::large_enum_variant, reason = "for the OpenAPI document")]
pub(crate) enum OneOrMore {
    One(Box<Incoming>),
    More(Vec<Incoming>),
}

/// Answer of `/api/v1/reports`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "for the OpenAPI document")]
pub(crate) enum OneOrBatch {
    One(RecordStatus),
    More(Batch),
}

impl From<&Outcome> for RecordStatus {
    fn from(outcome: &Outcome) -> RecordStatus {
        match *outcome {
            Outcome::Recorded(id) => RecordStatus::Recorded { id },
            Outcome::Repeated => RecordStatus::Repeated,
            Outcome::Conflict(kept) => RecordStatus::Conflict { kept },
            Outcome::Stale(stale) => {
                RecordStatus::Stale { epoch: stale.epoch, first_cycle: stale.first_cycle }
            }
        }
    }
}

fn answer(outcome: &Outcome, created: StatusCode) -> Result<Response, Problem> {
    match *outcome {
        Outcome::Recorded(_) => Ok((created, Json(RecordStatus::from(outcome))).into_response()),
        Outcome::Repeated => Ok(Json(RecordStatus::from(outcome)).into_response()),
        Outcome::Conflict(kept) => Err(Problem::conflict(kept)),
        Outcome::Stale(stale) => Err(Problem::stale(stale)),
    }
}

async fn highest_epoch(app: &App, fleet: &FleetName) -> Result<Option<i64>, Problem> {
    Ok(app.with_store_timeout(app.store.epochs(fleet, 1)).await?.first().map(|epoch| epoch.epoch))
}

/// Refuses reports of a fleet whose time or epoch is ahead of the collector's clock, before any of them is recorded.
async fn check_clocks(
    app: &App,
    fleet: &FleetName,
    reports: &[Report],
    received: Timestamp,
) -> Result<(), Problem> {
    let clock = Clock::new(received, app.options.limits.max_clock_skew);
    for (at, report) in reports.iter().enumerate() {
        clock.check_time(report.time).map_err(|invalid| match reports.len() {
            1 => Problem::from(invalid),
            _ => Problem::from(invalid.of(format_args!("report {at}"))),
        })?;
    }
    let Some(epoch) = reports.iter().filter_map(|report| report.epoch).max() else { return Ok(()) };
    if clock.check_epoch(epoch, None).is_ok() {
        return Ok(());
    }
    let highest = highest_epoch(app, fleet).await?;
    clock.check_epoch(epoch, highest).map_err(|ahead| Problem::ahead(ahead, &clock.skew()))
}

/// Stores reports, and notifies the streams. Nothing is stored if one of them is not plausible. Consecutive reports of
/// one fleet are stored together.
async fn record(app: &App, reports: Vec<Report>) -> Result<Vec<Outcome>, Problem> {
    let mut runs: Vec<(FleetName, Vec<Report>)> = Vec::new();
    for report in reports {
        match runs.last_mut() {
            Some((fleet, run)) if *fleet == report.fleet => run.push(report),
            _ => runs.push((report.fleet.clone(), vec![report])),
        }
    }
    for (fleet, run) in &runs {
        app.admit_fleet(fleet).await?;
        // A run is never empty. All reports of a request have the same time of arrival; before 1970 or not, a clock before
        // 2025 was never set, and refuses nothing.
        let Some(first) = run.first() else { continue };
        check_clocks(app, fleet, run, first.received).await?;
    }
    let mut outcomes = Vec::new();
    for (fleet, run) in runs {
        outcomes.extend(record_run(app, &fleet, run).await?);
    }
    Ok(outcomes)
}

/// Stores reports of one fleet, and notifies the streams.
async fn record_run(app: &App, fleet: &FleetName, reports: Vec<Report>) -> Result<Vec<Outcome>, Problem> {
    let reporter = reports.first().and_then(|report| report.reporter.clone());
    let sightings: Vec<Sighting> = reports.iter().map(Sighting::of).collect();
    let outcomes = app.with_store_timeout(app.store.record(reports)).await?;
    note_outcomes(app, fleet, reporter.as_deref(), sightings.into_iter().zip(&outcomes));
    for outcome in &outcomes {
        app.metrics.count_outcome(outcome);
        if let Outcome::Recorded(id) = *outcome {
            app.newest.send_if_modified(|newest| {
                let newer = id > *newest;
                *newest = id.max(*newest);
                newer
            });
        }
    }
    Ok(outcomes)
}

/// Records arrivals, and contradictions between two fleets of one name.
fn note_outcomes<'a>(
    app: &App,
    fleet: &FleetName,
    reporter: Option<&str>,
    outcomes: impl Iterator<Item = (Sighting, &'a Outcome)>,
) {
    let now = Instant::now();
    let mut are_two = false;
    if let Some(known) = app.fleets().get_mut(fleet) {
        for (sighting, outcome) in outcomes {
            if let Outcome::Recorded(id) = *outcome {
                known.note_arrival(id, now);
            }
            are_two |= known.rivals.note(sighting, reporter, outcome, now);
        }
    }
    if are_two {
        warn!("{}", two_fleets(fleet));
    }
}

async fn record_one(app: &App, report: Report, created: StatusCode) -> Result<Response, Problem> {
    let (epoch, fleet) = (report.epoch, report.fleet.clone());
    let outcomes = record(app, vec![report]).await?;
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
            let highest = highest_epoch(app, &fleet).await.ok().flatten();
            let warning = app.fleets().warning(&fleet, Instant::now());
            Err(problem.with_epochs(epoch, highest.max(later)).with_warning(warning))
        }
    }
}

/// Header with the key of a report.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IdempotencyKey {
    /// `{epoch}-{cycle}[-{unit}]`. Not with an array, and not needed if the report contains epoch and cycle.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, example = "7-3",
        pattern = "^[1-9][0-9]{0,17}-[0-9]{1,18}(-[!#-~]{1,64})?$")]
    key: Option<Key>,
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<IdempotencyKey, Problem> {
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let Some(first) = keys.next() else { return Ok(IdempotencyKey { key: None }) };
        if keys.next().is_some() {
            return Err(Problem::invalid("Idempotency-Key occurs more than once"));
        }
        let text = std::str::from_utf8(first.as_bytes())
            .map_err(|_| Problem::invalid("Idempotency-Key is not UTF-8"))?;
        Ok(IdempotencyKey { key: Some(Key::parse(text)?) })
    }
}

pub(crate) fn reporter(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).filter(|agent| !agent.is_empty())
}

/// Records an average as existing fleets send it. Without an `Idempotency-Key` each request is a separate report.
#[utoipa::path(
    get, path = "/nuevo", tag = "write", params(Average, TokenParam, IdempotencyKey),
    responses((status = 200, description = "Recorded now or earlier", body = RecordStatus)),
)]
pub(super) async fn nuevo_get(
    method: Method,
    State(app): State<Arc<App>>,
    Params(average): Params<Average>,
    IdempotencyKey { key }: IdempotencyKey,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // A `HEAD` request must not record a report.
    if method == Method::HEAD {
        return Err(Problem::method_not_allowed());
    }
    let report = Incoming::from(average).accept(key, Timestamp::now(), reporter(&headers))?;
    record_one(&app, report, StatusCode::OK).await
}

/// Records an average that is sent as a form, as JSON with `dato` or with all fields, or in the address.
#[utoipa::path(
    post, path = "/nuevo", tag = "write", params(OptionalAverage, TokenParam, IdempotencyKey),
    request_body(content((Incoming = "application/json"), (Average = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "Recorded now or earlier", body = RecordStatus)),
)]
pub(super) async fn nuevo_post(
    State(app): State<Arc<App>>,
    Params(OptionalAverage { dato, quantity, unit, fleet, zone }): Params<OptionalAverage>,
    IdempotencyKey { key }: IdempotencyKey,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = receive(&app.options.limits, body).await?;
    let incoming = match (body.is_empty(), dato) {
        (true, Some(dato)) => Incoming::from(Average { dato, quantity, unit, fleet, zone }),
        (true, None) => return Err(Problem::invalid("missing field `dato`")),
        (false, Some(_)) => {
            return Err(Problem::invalid("dato is in the address, and the request has a body"));
        }
        (false, None) => match content_type(&headers).as_str() {
            _ if !is_plain(&headers) => return Err(unsupported("application/json")),
            "application/json" => json(&body)?,
            "application/x-www-form-urlencoded" => from_form::<Average>(body).await?.into(),
            _ => return Err(unsupported("application/json or application/x-www-form-urlencoded")),
        },
    };
    let report = incoming.accept(key, Timestamp::now(), reporter(&headers))?;
    record_one(&app, report, StatusCode::OK).await
}

/// Records one report, or an array of reports: either all of them or none.
#[utoipa::path(
    post, path = "/api/v1/reports", tag = "write", params(IdempotencyKey),
    request_body(content = OneOrMore, description = "A report, or an array of reports"),
    responses(
        (status = 201, description = "Recorded", body = RecordStatus),
        (status = 200, description = "Recorded earlier, or the results of an array", body = OneOrBatch),
    ),
)]
pub(super) async fn post_reports(
    State(app): State<Arc<App>>,
    IdempotencyKey { key }: IdempotencyKey,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    require_json(&headers)?;
    let body = receive(&app.options.limits, body).await?;
    let received = Timestamp::now();
    let reporter = reporter(&headers);
    if body.trim_ascii_start().first() != Some(&b'[') {
        let report = json::<Incoming>(&body)?.accept(key, received, reporter)?;
        return record_one(&app, report, StatusCode::CREATED).await;
    }
    if key.is_some() {
        return Err(Problem::invalid(
            "an Idempotency-Key is for one report: those of an array contain their own",
        ));
    }
    let batch: Vec<Incoming> = json(&body)?;
    let max = app.options.limits.batch;
    if batch.len() > max {
        return Err(Problem::invalid(format!("more than {max} reports in an array")));
    }
    let accept = |(at, incoming): (usize, Incoming)| {
        let report = incoming.accept(None, received, reporter);
        report.map_err(|invalid| Problem::from(invalid.of(format_args!("report {at}"))))
    };
    let reports = batch.into_iter().enumerate().map(accept).collect::<Result<Vec<Report>, Problem>>()?;
    let outcomes = record(&app, reports).await?;
    Ok(Json(Batch { results: outcomes.iter().map(RecordStatus::from).collect() }).into_response())
}

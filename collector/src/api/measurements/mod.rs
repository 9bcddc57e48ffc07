//! Routes of the measurements of single sensors. A successful answer to a batch means that its samples are on the disk.

mod csv;
mod parse;
mod rows;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::csv::{latest_measurements_csv, measurements_csv};
use self::parse::{ParsedBatch, RefusedSample, all_refused, parse};
use self::rows::{MeasurementSeries, page};
use super::accept::{csv_or_json, prefers_csv};
use crate::app::App;
use crate::body::{content_type, is_gzip, is_plain, receive, unpack, unsupported_coding};
use crate::fleet_name::ZoneName;
use crate::measurements::{
    DEFAULT_FLEET, LatestSample, MAX_SERIES, MINUTE, Resolution, SampleOutcome, Selection, SeriesQuery,
};
use crate::params::{Limit, Name, Params, SampleResolution, SensorName, Time, Wanted, default_step};
use crate::plausibility::Clock;
use crate::problem::Problem;

/// Maximum size of an unpacked body, in bytes.
const MAX_UNPACKED: usize = 16 << 20;
/// Maximum number of refused samples that an answer lists.
const MAX_LISTED: usize = 100;
/// Maximum number of rows of all series in an answer.
const MAX_ROWS: usize = 100_000;

type RowLimit = Limit<5_000, 20_000>;

/// Batch of samples of one node and boot. Other fields are ignored.
#[derive(ToSchema)]
#[allow(dead_code, reason = "for the OpenAPI document")]
pub(crate) struct MeasurementBatch {
    /// Name of the fleet; the default is `default`.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    fleet: Option<String>,
    /// Zone of the fleet; the default is none.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    zone: Option<String>,
    /// Name of the node.
    #[schema(min_length = 1)]
    node: String,
    /// Identifier of one run of the sequence of numbers.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    boot: String,
    /// At most 10 000 samples, each a `Measurement`. One that is not valid is refused alone.
    samples: Vec<serde_json::Value>,
}

/// Sample in a batch. Other fields are ignored.
#[derive(ToSchema)]
#[allow(dead_code, reason = "for the OpenAPI document")]
pub(crate) struct Measurement {
    /// Number of the sample. Within a series and boot, numbers increase: one that is not above the highest accepted one
    /// is a repeat.
    #[schema(minimum = 0)]
    seq: i64,
    /// Name of the sensor.
    #[schema(min_length = 1, max_length = 128)]
    sensor: String,
    /// Measured quantity.
    #[schema(min_length = 1, max_length = 128)]
    quantity: String,
    /// Unit of the value.
    #[schema(max_length = 32)]
    unit: Option<String>,
    /// Measured value, a finite number.
    value: f64,
    /// Time by the node's clock, in milliseconds since 1970: not before 2000, unless the clock is not synchronised, and
    /// at most a day ahead of the collector's clock.
    #[schema(minimum = 0)]
    time_ms: i64,
    /// State of the node's clock.
    clock: crate::measurements::ClockState,
}

/// Result of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchResult {
    /// Number of samples that were stored.
    accepted: usize,
    /// Number of samples that were stored earlier.
    repeated: usize,
    /// Samples that will never be accepted, at most 100.
    refused: Vec<RefusedSample>,
    /// Number of all refused samples.
    refused_count: usize,
}

/// Latest sample of each series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LatestMeasurements {
    measurements: Vec<LatestSample>,
}

/// Rows of each series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Measurements {
    from: Timestamp,
    to: Timestamp,
    /// Seconds from one row to the next; null: the rows are samples.
    step: Option<f64>,
    series: Vec<MeasurementSeries>,
}

/// Format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Json,
    Csv,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LatestParams {
    /// Name of the fleet. The default is all fleets.
    fleet: Option<Name>,
    /// Zone of the fleet, or of `default` if there is no `fleet`. With a fleet, the default is none.
    zone: Option<ZoneName>,
    /// Name of the node. The default is all nodes.
    node: Option<Name>,
    /// Format, instead of the header `Accept`.
    #[param(inline)]
    format: Option<Format>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct MeasurementsParams {
    /// Name of the fleet. The default is all fleets.
    fleet: Option<Name>,
    /// Zone of the fleet, or of `default` if there is no `fleet`. With a fleet, the default is none.
    zone: Option<ZoneName>,
    /// Name of the node. The default is all nodes.
    node: Option<Name>,
    /// Name of the sensor. The default is all sensors.
    sensor: Option<SensorName>,
    /// Measured quantity. The default is all quantities.
    quantity: Option<SensorName>,
    /// Earliest time, inclusive. The default is a day before `to`.
    from: Option<Time>,
    /// Latest time, exclusive. The default is the current time.
    to: Option<Time>,
    /// `raw` for samples, `minute`, `hour`, `day` or whole minutes such as `5m` for sums, or `auto`, the default.
    resolution: Option<SampleResolution>,
    /// Maximum number of rows of each series.
    #[param(inline)]
    #[serde(default)]
    limit: RowLimit,
    /// Format, instead of the header `Accept`.
    #[param(inline)]
    format: Option<Format>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeParams {
    /// Name of the fleet; the default is `default`.
    fleet: Option<Name>,
    /// Zone of the fleet; the default is none.
    zone: Option<ZoneName>,
    /// Name of the node.
    node: Name,
}

/// Adds samples of one node. Each is stored, was stored earlier, or is refused with the reason; after a success none has
/// to be sent again.
#[utoipa::path(
    post, path = "/api/v1/measurements", tag = "write",
    request_body(content = MeasurementBatch, description = "JSON, may be compressed with gzip"),
    responses((status = 200, description = "All samples that are not refused are stored", body = BatchResult)),
)]
pub(super) async fn post_measurements(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BatchResult>, Problem> {
    let is_packed = is_gzip(&headers);
    if content_type(&headers) != "application/json" || !(is_packed || is_plain(&headers)) {
        return Err(unsupported_coding("application/json", "not compressed, or with gzip"));
    }
    let body = receive(&app.options.limits, body).await?;
    let received = Timestamp::now();
    let clock = Clock::new(received, app.options.limits.max_clock_skew);
    let permit = Arc::clone(&app.parsers).acquire_owned().await;
    let permit = permit.map_err(|error| Problem::unavailable(error.to_string()))?;
    let parsed = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        match is_packed {
            true => parse(&unpack(&body, MAX_UNPACKED)?, received, &clock),
            false => parse(&body, received, &clock),
        }
    });
    let parsed = parsed.await.map_err(|error| Problem::unavailable(error.to_string()))??;
    let ParsedBatch { batch, positions, refused } = parsed;
    let outcomes = match batch.samples.is_empty() {
        true => Vec::new(),
        false => app.with_store_timeout(app.store.measurements().add_samples(batch)).await?,
    };
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    let (accepted, repeated) = (count(SampleOutcome::Accepted), count(SampleOutcome::Repeated));
    let mut refused = all_refused(refused, &positions, &outcomes);
    let refused_count = refused.len();
    app.metrics.count_samples(accepted as u64, repeated as u64, refused_count as u64);
    refused.truncate(MAX_LISTED);
    Ok(Json(BatchResult { accepted, repeated, refused, refused_count }))
}

/// Deletes all measurements of a node. Samples that it sends later are accepted.
#[utoipa::path(
    delete, path = "/api/v1/measurements", tag = "write", params(NodeParams),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "The node has no measurements", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete_measurements(
    State(app): State<Arc<App>>,
    Params(NodeParams { fleet, zone, node: Name(node) }): Params<NodeParams>,
) -> Result<StatusCode, Problem> {
    let fleet = fleet.map_or_else(|| DEFAULT_FLEET.to_owned(), |Name(fleet)| fleet);
    let fleet = key(fleet, zone.as_ref());
    match app.with_store_timeout(app.store.measurements().forget_node(fleet, node)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("the node has no measurements")),
    }
}

/// Returns the latest sample of each series, by fleet, node, sensor and quantity.
#[utoipa::path(
    get, path = "/api/v1/measurements/latest", tag = "read", params(LatestParams),
    responses((status = 200, description = "Latest samples", content((LatestMeasurements = "application/json"), (String = "text/csv")))),
)]
pub(super) async fn get_latest_measurements(
    State(app): State<Arc<App>>,
    Params(LatestParams { fleet, zone, node, format }): Params<LatestParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (fleet, node) = (selected_fleet(fleet, zone.as_ref()), node.map(|Name(node)| node));
    let selection = Selection { fleet, node, ..Selection::default() };
    let latest = app.store.measurements().latest_samples(selection, MAX_SERIES);
    let measurements = app.with_store_timeout(latest).await?;
    let latest = LatestMeasurements { measurements };
    Ok(csv_or_json(is_csv(format, &headers), latest, |latest| latest_measurements_csv(&latest.measurements)))
}

/// Returns the key of the measurements of a fleet or zone.
fn key(fleet: String, zone: Option<&ZoneName>) -> String {
    zone.map(|zone| format!("{fleet}/{zone}")).unwrap_or(fleet)
}

/// Returns the key that a request selects; `None` for all fleets.
fn selected_fleet(fleet: Option<Name>, zone: Option<&ZoneName>) -> Option<String> {
    let fleet = fleet.map(|Name(fleet)| fleet).or_else(|| zone.map(|_| DEFAULT_FLEET.to_owned()));
    fleet.map(|fleet| key(fleet, zone))
}

fn is_csv(format: Option<Format>, headers: &HeaderMap) -> bool {
    format.map_or_else(|| prefers_csv(headers), |format| format == Format::Csv)
}

/// Returns samples, or min, mean and max per time step, of each selected series. Data past the retention has a lower
/// resolution.
#[utoipa::path(
    get, path = "/api/v1/measurements", tag = "read", params(MeasurementsParams),
    responses((status = 200, description = "Rows of each series", content((Measurements = "application/json"), (String = "text/csv")))),
)]
pub(super) async fn get_measurements(
    State(app): State<Arc<App>>,
    Params(params): Params<MeasurementsParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = params.format;
    let query = query(&app, params)?;
    let limit = query.limit.saturating_sub(1);
    let series = app.with_store_timeout(app.store.measurements().sample_series(query.clone())).await?;
    if series.iter().map(|series| series.rows.len()).sum::<usize>() > MAX_ROWS {
        let detail = format!("more than {MAX_ROWS} rows: request fewer series, or a lower resolution");
        return Err(Problem::invalid(detail));
    }
    let series: Vec<MeasurementSeries> = series.into_iter().map(|series| page(series, limit)).collect();
    if is_csv(format, &headers) {
        return Ok(measurements_csv(&series, query.resolution == Resolution::Samples));
    }
    let [from, to] = [query.from, query.to].map(rows::timestamp);
    #[allow(clippy::cast_precision_loss, reason = "366 days at most")]
    let step = match query.resolution {
        Resolution::Samples => None,
        Resolution::Step { length, .. } => Some(length as f64 / 1e3),
    };
    Ok(Json(Measurements { from, to, step, series }).into_response())
}

/// Returns the query of these parameters, with one row more than the limit, which shows whether there is a next page.
fn query(app: &App, params: MeasurementsParams) -> Result<SeriesQuery, Problem> {
    let MeasurementsParams { fleet, zone, node, sensor, quantity, from, to, resolution, limit, .. } = params;
    let now = Timestamp::now();
    let to = to.map_or(now, |Time(to)| to);
    let from = match from {
        Some(Time(from)) => from,
        None => {
            to.checked_sub(SignedDuration::from_hours(24)).map_err(|_| Problem::invalid("to: too early"))?
        }
    };
    let (from, to) = (from.as_millisecond().max(0), to.as_millisecond());
    if from >= to {
        return Err(Problem::invalid("from is not before to, or to is before 1970"));
    }
    let kept = app.options.measurements.retention(now);
    let Limit(limit) = limit;
    // With one sample a second.
    let fits = i64::try_from(limit).is_ok_and(|limit| (to - from) / 1_000 <= limit);
    let wanted = match resolution.map_or(Wanted::Auto, |SampleResolution(wanted)| wanted) {
        Wanted::Auto if fits && kept.samples.is_none_or(|kept| from >= kept) => Wanted::Raw,
        Wanted::Auto => Wanted::Step((default_step((to - from).saturating_mul(1_000)) / 1_000).max(MINUTE)),
        given => given,
    };
    let (from, resolution) = match wanted {
        Wanted::Step(length) => (from - from % length, kept.steps(length)),
        Wanted::Raw | Wanted::Auto => (from, Resolution::Samples),
    };
    let (fleet, node) = (selected_fleet(fleet, zone.as_ref()), node.map(|Name(node)| node));
    let [sensor, quantity] = [sensor, quantity].map(|name| name.map(|SensorName(name)| name));
    let selections = vec![Selection { fleet, node, sensor, quantity }];
    Ok(SeriesQuery { selections, from, to, resolution, limit: limit + 1, max_rows: MAX_ROWS + 1 })
}

//! Routes that return reports, as JSON or, if the client prefers it, as CSV.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::accept::{csv_or_json, prefers_csv, prefers_json};
use super::csv::{combined_csv, reports_csv, series_csv};
use crate::app::App;
use crate::fleet_name::{FleetName, ZoneName};
use crate::params::{After, Limit, Name, Order, Params, Step, Time, ZoneChoice, default_step, filter};
use crate::problem::Problem;
use crate::report::Record;
use crate::store::{Cursor, Filter, Page, Point};
use crate::zones::{self, CombinedPoint};

/// Maximum number of time steps of a series.
const MAX_STEPS: i64 = 5_000;
/// Maximum number of points of a series, over all quantities and units.
const MAX_POINTS: usize = 20_000;

type PageLimit = Limit<100, 5_000>;
type ListLimit = Limit<1_000, 10_000>;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportsParams {
    /// Name of the fleet, by default `default`.
    fleet: Option<FleetName>,
    /// Zone of the fleet, by default none.
    zone: Option<ZoneName>,
    /// Earliest time, inclusive.
    from: Option<Time>,
    /// Latest time, exclusive.
    to: Option<Time>,
    /// Quantity of the reports.
    quantity: Option<Name>,
    /// Unit of the reports.
    unit: Option<Name>,
    /// Order by time: `asc`, the oldest first, is the default.
    order: Option<Order>,
    /// Maximum number of reports.
    #[param(inline)]
    #[serde(default)]
    limit: PageLimit,
    /// `next` of the previous page.
    cursor: Option<After>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesParams {
    /// Name of the fleet, by default `default`.
    fleet: Option<FleetName>,
    /// Zone of the fleet, by default none; `*` combines all zones.
    zone: Option<ZoneChoice>,
    /// Earliest time, inclusive. The default is a day before `to`.
    from: Option<Time>,
    /// Latest time, exclusive. The default is the current time.
    to: Option<Time>,
    /// Length of a step, such as `30`, `5m`, `1h` or `1d`. The default results in at most 500 steps.
    step: Option<Step>,
    /// Quantity of the reports.
    quantity: Option<Name>,
    /// Unit of the reports.
    unit: Option<Name>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Name of the fleet, by default `default`.
    fleet: Option<FleetName>,
    /// Zone of the fleet, by default none.
    zone: Option<ZoneName>,
    /// Earliest time, inclusive.
    from: Option<Time>,
    /// Latest time, exclusive.
    to: Option<Time>,
    /// Quantity of the reports.
    quantity: Option<Name>,
    /// Unit of the reports.
    unit: Option<Name>,
    /// Maximum number of averages.
    #[param(inline)]
    #[serde(default)]
    limit: ListLimit,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LatestParams {
    /// Name of the fleet, by default `default`.
    fleet: Option<FleetName>,
    /// Zone of the fleet, by default none.
    zone: Option<ZoneName>,
}

/// Page of reports.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reports {
    reports: Vec<Record>,
    /// Value of `cursor` for the next page; null if this is the last one. Also sent as a `Link` with `rel="next"`.
    next: Option<String>,
}

/// Series of points.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Series {
    from: Timestamp,
    to: Timestamp,
    /// Seconds from one point to the next.
    step: f64,
    points: Vec<Point>,
}

/// Series of points over all zones.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CombinedSeries {
    from: Timestamp,
    to: Timestamp,
    /// Seconds from one point to the next.
    step: f64,
    points: Vec<CombinedPoint>,
}

/// Answer of `/api/v1/series`, for the OpenAPI document. A combined series without points is a series, too.
pub(crate) struct AnySeries;

impl PartialSchema for AnySeries {
    fn schema() -> RefOr<Schema> {
        let of = |name| Ref::from_schema_name(name);
        let any = AnyOfBuilder::new().item(of(Series::name())).item(of(CombinedSeries::name()));
        Schema::AnyOf(any.build()).into()
    }
}

impl ToSchema for AnySeries {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Series::schemas(schemas);
        CombinedSeries::schemas(schemas);
        schemas.push((Series::name().into_owned(), Series::schema()));
        schemas.push((CombinedSeries::name().into_owned(), CombinedSeries::schema()));
    }
}

/// Latest report of each quantity and unit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Latest {
    reports: Vec<Record>,
}

/// Returns reports ordered by the time at which the fleet was read, one page per request.
#[utoipa::path(
    get, path = "/api/v1/reports", tag = "read", params(ReportsParams),
    responses((status = 200, description = "Page of reports", content((Reports = "application/json"), (String = "text/csv")))),
)]
pub(super) async fn get_reports(
    State(app): State<Arc<App>>,
    Params(params): Params<ReportsParams>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let ReportsParams { fleet, zone, from, to, quantity, unit, order, limit: Limit(limit), cursor } = params;
    let page = Page {
        filter: filter((fleet, zone), (from, to), quantity, unit),
        after: cursor.map(|After(cursor)| cursor),
        newest_first: order == Some(Order::Desc),
        limit,
    };
    let reports = app.with_store_timeout(app.store.page(page)).await?;
    let next = reports
        .last()
        .filter(|_| reports.len() == limit)
        .map(|last| After(Cursor { time: last.report.time.as_microsecond(), id: last.id }).to_string());
    let link = next.as_ref().and_then(|next| {
        let query = query.unwrap_or_default();
        let mut link = form_urlencoded::Serializer::new(String::new());
        link.extend_pairs(form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "cursor"));
        let query = link.append_pair("cursor", next).finish();
        // Relative to the address of the request, which may be below a prefix that a proxy has removed.
        HeaderValue::from_str(&format!("<?{query}>; rel=\"next\"")).ok()
    });
    let answer = Reports { reports, next };
    let mut response = csv_or_json(prefers_csv(&headers), answer, |answer| reports_csv(&answer.reports));
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Returns min, mean and max per time step, quantity and unit. Data past the retention has a resolution of one hour. With
/// `zone=*`, the values are those of all readings of all zones: of reports whose main value is their mean, and that have
/// the number of readings.
#[utoipa::path(
    get, path = "/api/v1/series", tag = "read", params(SeriesParams),
    responses((status = 200, description = "Series", content((AnySeries = "application/json"), (String = "text/csv")))),
)]
pub(super) async fn get_series(
    State(app): State<Arc<App>>,
    Params(params): Params<SeriesParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let SeriesParams { fleet, zone, from, to, step, quantity, unit } = params;
    let is_combined = matches!(zone, Some(ZoneChoice(None)));
    let zone = zone.and_then(|ZoneChoice(zone)| zone);
    let filter = filter((fleet, zone), (from, to), quantity, unit);
    let to = filter.to.unwrap_or_else(Timestamp::now);
    let day = SignedDuration::from_hours(24);
    let from = match filter.from {
        Some(from) => from,
        None => to.checked_sub(day).map_err(|_| Problem::invalid("to: too early"))?,
    };
    let span = to.as_microsecond() - from.as_microsecond();
    if span <= 0 {
        return Err(Problem::invalid("from is not before to"));
    }
    let step = step.map_or_else(|| default_step(span), |Step(step)| step);
    if span / step > MAX_STEPS {
        return Err(Problem::invalid(format!("more than {MAX_STEPS} steps: request longer ones")));
    }
    let filter = Filter { from: Some(from), to: Some(to), ..filter };
    let check = |points: usize| match points > MAX_POINTS {
        true => {
            Err(Problem::invalid(format!("more than {MAX_POINTS} points: request longer steps, or one unit")))
        }
        false => Ok(()),
    };
    #[allow(clippy::cast_precision_loss, reason = "366 days at most")]
    let seconds = step as f64 / 1e6;
    if is_combined {
        let zones = zones::sums(&app, &filter, step, MAX_POINTS + 1).await?;
        check(zones.iter().map(|zone| zone.sums.len()).max().unwrap_or_default())?;
        let points = zones::combine(&zones, step);
        let series = CombinedSeries { from, to, step: seconds, points };
        return Ok(csv_or_json(prefers_csv(&headers), series, |series| combined_csv(&series.points)));
    }
    let points = app.with_store_timeout(app.store.series(filter, step, MAX_POINTS + 1)).await?;
    check(points.len())?;
    let series = Series { from, to, step: seconds, points };
    Ok(csv_or_json(prefers_csv(&headers), series, |series| series_csv(&series.points)))
}

/// Returns the latest report of each quantity and unit, by epoch and cycle, or otherwise by arrival.
#[utoipa::path(
    get, path = "/api/v1/latest", tag = "read", params(LatestParams),
    responses((status = 200, description = "Latest reports", content((Latest = "application/json"), (String = "text/csv")))),
)]
pub(super) async fn get_latest(
    State(app): State<Arc<App>>,
    Params(LatestParams { fleet, zone }): Params<LatestParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let fleet = fleet.unwrap_or_default().in_zone(zone.as_ref());
    let reports = app.with_store_timeout(app.store.latest(&fleet)).await?;
    Ok(csv_or_json(prefers_csv(&headers), Latest { reports }, |latest| reports_csv(&latest.reports)))
}

/// Returns the newest reports, the newest last. A time ahead of the collector's clock counts as the time of arrival,
/// so that a report of a wrong clock does not stay the newest.
async fn newest(app: &App, filter: Filter, limit: usize) -> Result<Vec<Record>, Problem> {
    let now = Timestamp::now();
    let ahead = Filter { from: filter.from.max(Some(now)), ..filter.clone() };
    let to = filter.to.map_or(now, |to| to.min(now));
    let page = |filter| Page { filter, after: None, newest_first: true, limit };
    let mut reports = app.with_store_timeout(app.store.page(page(ahead))).await?;
    let past = page(Filter { to: Some(to), ..filter });
    reports.extend(app.with_store_timeout(app.store.page(past)).await?);
    reports.sort_by_key(|Record { id, report }| (report.time.min(report.received), *id));
    reports.drain(..reports.len().saturating_sub(limit));
    Ok(reports)
}

/// Returns the newest averages, oldest first: one number per line, or an array if the client prefers JSON.
#[utoipa::path(
    get, path = "/listar", tag = "read", params(ListParams),
    responses((status = 200, description = "List of averages", content((String = "text/plain"), (Vec<f64> = "application/json")))),
)]
pub(super) async fn listar(
    State(app): State<Arc<App>>,
    Params(params): Params<ListParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ListParams { fleet, zone, from, to, quantity, unit, limit: Limit(limit) } = params;
    let newest = newest(&app, filter((fleet, zone), (from, to), quantity, unit), limit).await?;
    let means = newest.iter().map(|record| record.report.mean);
    Ok(match prefers_json(&headers) {
        true => Json(means.collect::<Vec<_>>()).into_response(),
        false => means.map(|mean| format!("{mean}\n")).collect::<String>().into_response(),
    })
}

//! Routes that return reports, as JSON or, if the client prefers it, as CSV.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::App;
use super::problem::Problem;
use super::query::{Query, cursor_text, prefers};
use crate::report::Record;
use crate::store::{Cursor, Filter, Page, Point, StoreError};

/// Maximum number of reports per page.
const PAGE: usize = 5_000;
/// Maximum number of time steps of a series.
const STEPS: i64 = 5_000;
/// Maximum number of points of a series, over all quantities and units.
const POINTS: usize = 20_000;
/// Maximum number of averages in the plain list.
const LIST: usize = 10_000;

/// Page of reports.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reports {
    reports: Vec<Record>,
    /// Parameters of the next page; null if there is none. Also sent as a `Link` with `rel="next"`.
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

/// Latest report of each quantity and unit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Latest {
    reports: Vec<Record>,
}

/// Waits for the store, but no longer than the time limit for answers.
pub(crate) async fn within<T>(
    app: &App,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, Problem> {
    let answered = timeout(app.limits.answer, answer).await;
    Ok(answered.map_err(|_| Problem::unavailable("the store has not answered in time"))??)
}

fn accept(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok())
}

fn wants_csv(headers: &HeaderMap) -> bool {
    prefers(accept(headers), "text/csv", "application/json")
}

/// Cell of a CSV table.
struct Cell(String);

impl Cell {
    fn plain<T: ToString>(value: T) -> Cell {
        Cell(value.to_string())
    }

    /// Returns an empty cell for `None`.
    fn number<T: ToString>(value: Option<T>) -> Cell {
        Cell(value.map(|value| value.to_string()).unwrap_or_default())
    }

    /// Returns a cell for text of other programs; empty for `None`. Spreadsheets run text as a formula if it starts
    /// with one of a few characters: an apostrophe before it prevents that.
    fn text(value: Option<&str>) -> Cell {
        let value = value.unwrap_or_default();
        let starts_formula = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
        let is_formula = value.starts_with(starts_formula) || value.trim_start().starts_with(starts_formula);
        Cell(if is_formula { format!("'{value}") } else { value.to_owned() })
    }
}

impl AsRef<[u8]> for Cell {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn csv<const N: usize>(names: [&str; N], rows: impl IntoIterator<Item = [Cell; N]>) -> Response {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail, and all rows are of one length.
    let _ = writer.write_record(names);
    for row in rows {
        let _ = writer.write_record(row);
    }
    let body = writer.into_inner().unwrap_or_default();
    let kind = HeaderValue::from_static("text/csv; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn reports_csv(records: &[Record]) -> Response {
    let names = [
        "id", "epoch", "cycle", "time", "quantity", "unit", "mean", "min", "max", "stddev", "count",
        "excluded", "received", "reporter",
    ];
    let row = |Record { id, report }: &Record| {
        [
            Cell::plain(id),
            Cell::number(report.epoch),
            Cell::number(report.cycle),
            Cell::plain(report.time),
            Cell::text(report.quantity.as_deref()),
            Cell::text(report.unit.as_deref()),
            Cell::plain(report.mean),
            Cell::number(report.min),
            Cell::number(report.max),
            Cell::number(report.stddev),
            Cell::number(report.count),
            Cell::number(report.excluded),
            Cell::plain(report.received),
            Cell::text(report.reporter.as_deref()),
        ]
    };
    csv(names, records.iter().map(row))
}

/// Returns reports ordered by the time at which the fleet was read, one page per request.
#[utoipa::path(
    get, path = "/api/v1/reports", tag = "read",
    params(
        ("from" = Option<String>, Query, description = "From this time on, RFC 3339"),
        ("to" = Option<String>, Query, description = "Before this time, RFC 3339"),
        ("quantity" = Option<String>, Query, description = "Of this quantity"),
        ("unit" = Option<String>, Query, description = "In this unit"),
        ("order" = Option<String>, Query, description = "`asc`, the oldest first (unless told otherwise), or `desc`"),
        ("limit" = Option<u32>, Query, description = "So many at most: 1 to 5000, 100 unless told otherwise"),
        ("cursor" = Option<String>, Query, description = "What `next` was on the page before"),
    ),
    responses(
        (status = 200, description = "A page", content((Reports = "application/json"), (String = "text/csv"))),
        (status = 400, description = "It is not understood", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get_reports(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(asked): RawQuery,
) -> Result<Response, Problem> {
    let asked = asked.unwrap_or_default();
    let mut query = Query::parse(asked.as_bytes())?;
    let filter = query.filter()?;
    let newest_first = match query.take("order")?.as_deref() {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(_) => return Err(Problem::invalid("order: neither asc nor desc")),
    };
    let limit = query.limit(100, PAGE)?;
    let after = query.cursor()?;
    query.finish()?;
    let reports = within(&app, app.store.page(Page { filter, after, newest_first, limit })).await?;
    let next = reports
        .last()
        .filter(|_| reports.len() == limit)
        .map(|last| cursor_text(Cursor { time: last.report.time.as_microsecond(), id: last.id }));
    let link = next.as_ref().and_then(|next| {
        let mut link = form_urlencoded::Serializer::new(String::new());
        link.extend_pairs(form_urlencoded::parse(asked.as_bytes()).filter(|(name, _)| name != "cursor"));
        let query = link.append_pair("cursor", next).finish();
        // Relative to the address of the request, which may be below a prefix that a proxy has removed.
        HeaderValue::from_str(&format!("<?{query}>; rel=\"next\"")).ok()
    });
    let mut response = match wants_csv(&headers) {
        true => reports_csv(&reports),
        false => Json(Reports { reports, next }).into_response(),
    };
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Returns min, mean and max per time step, quantity and unit. Data past the retention has a resolution of one hour.
#[utoipa::path(
    get, path = "/api/v1/series", tag = "read",
    params(
        ("from" = Option<String>, Query, description = "From this time on, RFC 3339; a day before `to`"),
        ("to" = Option<String>, Query, description = "Before this time, RFC 3339; now"),
        ("step" = Option<String>, Query, description = "Such as `30`, `5m`, `1h` or `1d`; what comes to 500 steps at most"),
        ("quantity" = Option<String>, Query, description = "Of this quantity"),
        ("unit" = Option<String>, Query, description = "In this unit"),
    ),
    responses(
        (status = 200, description = "The series", content((Series = "application/json"), (String = "text/csv"))),
        (status = 400, description = "It is not understood", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get_series(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(asked): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::parse(asked.unwrap_or_default().as_bytes())?;
    let filter = query.filter()?;
    let step = query.step()?;
    query.finish()?;
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
    let step = step.unwrap_or_else(|| usual_step(span));
    if span / step > STEPS {
        return Err(Problem::invalid(format!("that is more than {STEPS} steps: ask for longer ones")));
    }
    let filter = Filter { from: Some(from), to: Some(to), ..filter };
    let points = within(&app, app.store.series(filter, step, POINTS + 1)).await?;
    if points.len() > POINTS {
        let detail = format!("that is more than {POINTS} points: ask for longer steps, or one unit");
        return Err(Problem::invalid(detail));
    }
    if wants_csv(&headers) {
        let names = ["time", "quantity", "unit", "reports", "mean", "min", "max"];
        return Ok(csv(
            names,
            points.iter().map(|point| {
                [
                    Cell::plain(point.time),
                    Cell::text(point.quantity.as_deref()),
                    Cell::text(point.unit.as_deref()),
                    Cell::plain(point.reports),
                    Cell::plain(point.mean),
                    Cell::plain(point.min),
                    Cell::plain(point.max),
                ]
            }),
        ));
    }
    #[allow(clippy::cast_precision_loss, reason = "366 days at most")]
    let step = step as f64 / 1e6;
    Ok(Json(Series { from, to, step, points }).into_response())
}

/// Returns the shortest usual step that divides `span` microseconds into at most 500 points.
pub(crate) fn usual_step(span: i64) -> i64 {
    const SECONDS: [i64; 16] =
        [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 10_800, 21_600, 86_400];
    let least = span / 500;
    let usual = SECONDS.iter().map(|seconds| seconds * 1_000_000).find(|step| *step >= least);
    usual.unwrap_or_else(|| (least / 86_400_000_000 + 1) * 86_400_000_000)
}

/// Returns the latest report of each quantity and unit, by epoch and cycle, or otherwise by arrival.
#[utoipa::path(
    get, path = "/api/v1/latest", tag = "read",
    responses(
        (status = 200, description = "One of each", content((Latest = "application/json"), (String = "text/csv"))),
        (status = 503, description = "Try again", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get_latest(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    let reports = within(&app, app.store.latest()).await?;
    Ok(match wants_csv(&headers) {
        true => reports_csv(&reports),
        false => Json(Latest { reports }).into_response(),
    })
}

/// Returns the newest reports, the newest last. A time ahead of the collector's clock counts as the time of arrival,
/// so that a report of a wrong clock does not stay the newest.
async fn newest(app: &App, filter: Filter, limit: usize) -> Result<Vec<Record>, Problem> {
    let now = Timestamp::now();
    let ahead = Filter { from: filter.from.max(Some(now)), ..filter.clone() };
    let to = filter.to.map_or(now, |to| to.min(now));
    let page = |filter| Page { filter, after: None, newest_first: true, limit };
    let mut reports = within(app, app.store.page(page(ahead))).await?;
    reports.extend(within(app, app.store.page(page(Filter { to: Some(to), ..filter }))).await?);
    reports.sort_by_key(|Record { id, report }| (report.time.min(report.received), *id));
    reports.drain(..reports.len().saturating_sub(limit));
    Ok(reports)
}

/// Returns the newest averages, oldest first: one number per line, or an array if the client prefers JSON.
#[utoipa::path(
    get, path = "/listar", tag = "read",
    params(
        ("limit" = Option<u32>, Query, description = "So many at most: 1 to 10000, 1000 unless told otherwise"),
        ("quantity" = Option<String>, Query, description = "Of this quantity"),
        ("unit" = Option<String>, Query, description = "In this unit"),
    ),
    responses(
        (status = 200, description = "The list", content((String = "text/plain"), (Vec<f64> = "application/json"))),
        (status = 400, description = "It is not understood", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn listar(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(asked): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::parse(asked.unwrap_or_default().as_bytes())?;
    let filter = query.filter()?;
    let limit = query.limit(1_000, LIST)?;
    let newest = newest(&app, filter, limit).await?;
    let means = newest.iter().map(|record| record.report.mean);
    Ok(match prefers(accept(&headers), "application/json", "text/plain") {
        true => Json(means.collect::<Vec<_>>()).into_response(),
        false => means.map(|mean| format!("{mean}\n")).collect::<String>().into_response(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_that_people_count_in() {
        for (seconds, step) in
            [(1, 1), (500, 1), (501, 2), (86_400, 300), (7 * 86_400, 1_800), (366 * 86_400, 86_400)]
        {
            assert_eq!(usual_step(seconds * 1_000_000), step * 1_000_000, "{seconds}");
        }
        let longest = Timestamp::MAX.as_microsecond() - Timestamp::MIN.as_microsecond();
        assert!(longest / usual_step(longest) <= 500);
    }
}

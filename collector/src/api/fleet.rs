//! Routes of the fleet status and of the epochs.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::App;
use super::problem::Problem;
use super::query::Query;
use super::read::within;
use super::write::{content_type, is_plain, json, receive, reporter, unsupported};
use crate::fence::Epoch;
use crate::fleet::{Status, Told};
use crate::future::Clock;

/// Maximum number of epochs.
const EPOCHS: usize = 1_000;
/// Time limit for reading the newest epoch from the store: a status that arrives later is worthless.
const FENCE: Duration = Duration::from_secs(1);

/// The fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fleet {
    /// Last fleet status; null: none was received since the collector was started.
    status: Option<Aged>,
    /// Epochs, newest first.
    epochs: Vec<Epoch>,
}

/// Fleet status and the time of its arrival.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Aged {
    #[serde(flatten)]
    status: Status,
    /// Seconds since its arrival.
    received_ago: f64,
    /// Time of its arrival, by the collector's clock.
    received: Timestamp,
    /// `User-Agent` of the sender.
    reporter: Option<String>,
}

impl Aged {
    fn of(told: &Told, now: Instant) -> Aged {
        let Told { status, received, reporter, .. } = told.clone();
        Aged { status, received_ago: told.age(now).as_secs_f64(), received, reporter }
    }
}

/// Returns the last fleet status, and the newest epochs with their cycles.
#[utoipa::path(
    get, path = "/api/v1/fleet", tag = "read",
    params(("limit" = Option<u32>, Query, description = "So many epochs at most: 1 to 1000, 10 unless told otherwise")),
    responses(
        (status = 200, description = "The status, and the newest epochs", body = Fleet),
        (status = 400, description = "It is not understood", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get_fleet(
    State(app): State<Arc<App>>,
    RawQuery(asked): RawQuery,
) -> Result<Json<Fleet>, Problem> {
    let mut query = Query::parse(asked.unwrap_or_default().as_bytes())?;
    let limit = query.limit(10, EPOCHS)?;
    query.finish()?;
    let epochs = within(&app, app.store.epochs(limit)).await?;
    let fleet = app.fleet.lock().unwrap_or_else(PoisonError::into_inner);
    let status = fleet.told().map(|told| Aged::of(told, Instant::now()));
    Ok(Json(Fleet { status, epochs }))
}

/// Receives the fleet status from the leader. Only the newest one is kept, in memory.
#[utoipa::path(
    post, path = "/api/v1/fleet", tag = "write",
    request_body = Status,
    responses(
        (status = 204, description = "It is the newest"),
        (status = 400, description = "It is not understood", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Of a deposed leader, or older than what is known", body = Problem,
            content_type = "application/problem+json"),
        (status = 413, description = "It is too long", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Its Content-Type is another", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn post_fleet(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    if content_type(&headers) != "application/json" || !is_plain(&headers) {
        return Err(unsupported("application/json"));
    }
    let status: Status = json(&receive(&app, body).await?)?;
    let received = Timestamp::now();
    status.check()?;
    let (clock, sent) = (Clock::new(received, app.limits.max_clock_skew), status.epoch);
    // If the store fails, the fleet status is still accepted.
    let newest = timeout(FENCE, app.store.epochs(1)).await.ok().and_then(Result::ok);
    let newest = newest.and_then(|epochs| Some(epochs.first()?.epoch));
    clock.check_epoch(sent, newest).map_err(|ahead| Problem::ahead(ahead, &clock.skew()))?;
    let mut fleet = app.fleet.lock().unwrap_or_else(PoisonError::into_inner);
    let told = fleet.tell(status, newest, reporter(&headers), (received, Instant::now()));
    told.map_err(|epoch| Problem::newer_status(epoch).with_epochs(Some(sent), newest.max(Some(epoch))))?;
    Ok(StatusCode::NO_CONTENT)
}

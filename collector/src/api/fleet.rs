//! Routes of the fleet status and of the epochs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::write::reporter;
use crate::app::App;
use crate::body::{json, receive, require_json};
use crate::fence::Epoch;
use crate::fleet::{FleetSnapshot, Status};
use crate::fleet_name::{FleetName, ZoneName};
use crate::params::{Limit, Params};
use crate::plausibility::Clock;
use crate::problem::Problem;

type EpochLimit = Limit<10, 1_000>;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct FleetParams {
    /// Name of the fleet, by default `default`.
    fleet: Option<FleetName>,
    /// Zone of the fleet, by default none.
    zone: Option<ZoneName>,
    /// Maximum number of epochs.
    #[param(inline)]
    #[serde(default)]
    limit: EpochLimit,
}

/// Time limit for reading the newest epoch from the store: a status that arrives later is worthless.
const EPOCH_TIMEOUT: Duration = Duration::from_secs(1);

/// The fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fleet {
    /// Problem of the fleet, for people: two fleets report under its name.
    warning: Option<String>,
    /// Last fleet status; null: none was received since the collector was started.
    status: Option<ReceivedStatus>,
    /// Epochs, newest first.
    epochs: Vec<Epoch>,
}

/// Fleet status and the time of its arrival.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceivedStatus {
    #[serde(flatten)]
    status: Status,
    /// Seconds since its arrival.
    received_ago: f64,
    /// Time of its arrival, by the collector's clock.
    received: Timestamp,
    /// `User-Agent` of the sender.
    reporter: Option<String>,
}

impl ReceivedStatus {
    fn of(snapshot: &FleetSnapshot, now: Instant) -> ReceivedStatus {
        let FleetSnapshot { status, received, reporter, .. } = snapshot.clone();
        ReceivedStatus { status, received_ago: snapshot.age(now).as_secs_f64(), received, reporter }
    }
}

/// Returns the last fleet status, and the newest epochs with their cycles.
#[utoipa::path(
    get, path = "/api/v1/fleet", tag = "read", params(FleetParams),
    responses((status = 200, description = "Fleet status, and the newest epochs", body = Fleet)),
)]
pub(super) async fn get_fleet(
    State(app): State<Arc<App>>,
    Params(FleetParams { fleet, zone, limit: Limit(limit) }): Params<FleetParams>,
) -> Result<Json<Fleet>, Problem> {
    let (fleet, now) = (fleet.unwrap_or_default().in_zone(zone.as_ref()), Instant::now());
    let epochs = app.with_store_timeout(app.store.epochs(&fleet, limit)).await?;
    let fleets = app.fleets();
    let status = fleets.get(&fleet).and_then(|known| known.status.as_ref());
    let status = status.map(|snapshot| ReceivedStatus::of(snapshot, now));
    Ok(Json(Fleet { warning: fleets.warning(&fleet, now), status, epochs }))
}

/// Receives the fleet status from the leader. Only the newest one of each fleet is kept, in memory.
#[utoipa::path(
    post, path = "/api/v1/fleet", tag = "write", request_body = Status,
    responses((status = 204, description = "Accepted as the newest status")),
)]
pub(super) async fn post_fleet(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    require_json(&headers)?;
    let status: Status = json(&receive(&app.options.limits, body).await?)?;
    let received = Timestamp::now();
    status.check()?;
    let fleet = status.fleet.in_zone(status.zone.as_ref());
    app.admit_fleet(&fleet).await?;
    let (clock, sent) = (Clock::new(received, app.options.limits.max_clock_skew), status.epoch);
    // If the store fails, the fleet status is still accepted.
    let newest = timeout(EPOCH_TIMEOUT, app.store.epochs(&fleet, 1)).await.ok().and_then(Result::ok);
    let newest = newest.and_then(|epochs| Some(epochs.first()?.epoch));
    clock.check_epoch(sent, newest).map_err(|ahead| Problem::ahead(ahead, &clock.skew()))?;
    let mut fleets = app.fleets();
    let Some(known) = fleets.get_mut(&fleet) else { return Ok(StatusCode::NO_CONTENT) };
    let (reporter, arrival) = (reporter(&headers), (received, Instant::now()));
    let updated = FleetSnapshot::update(&mut known.status, status, newest, reporter, arrival);
    updated.map_err(|epoch| Problem::newer_status(epoch).with_epochs(Some(sent), newest.max(Some(epoch))))?;
    Ok(StatusCode::NO_CONTENT)
}

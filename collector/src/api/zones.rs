//! Routes of the zones of a fleet.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::accept::{csv_or_json, prefers_csv};
use super::csv::{Cell, csv};
use crate::app::App;
use crate::fleet_name::{FleetName, ZoneName};
use crate::measurements::{MAX_SERIES, Selection};
use crate::params::Params;
use crate::problem::Problem;
use crate::zones::{Zone, names, zones};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ZonesParams {
    /// Name of the fleet, by default `default`.
    fleet: Option<FleetName>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ZoneParams {
    /// Name of the fleet, by default `default`.
    fleet: Option<FleetName>,
    /// Zone of the fleet.
    zone: ZoneName,
}

/// Zones of a fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Zones {
    fleet: FleetName,
    /// Zones by name. The first one may have an empty name: the reports without a zone.
    zones: Vec<ListedZone>,
}

/// Zone and its last report.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedZone {
    /// Name of the zone; empty for reports without one.
    zone: String,
    /// True if no report has arrived for three periods, or for 30 s if the period is not known.
    late: bool,
    /// Seconds from one report to the next, if known.
    period: Option<f64>,
    /// Id of the report that was recorded last.
    id: i64,
    /// Epoch of that report.
    epoch: Option<i64>,
    /// Cycle of that report.
    cycle: Option<i64>,
    /// Time at which the zone was read for that report, by the sender's clock.
    time: Timestamp,
    /// Time of its arrival, by the collector's clock.
    received: Timestamp,
    /// Seconds since its arrival.
    received_ago: f64,
    /// `User-Agent` of its sender.
    reporter: Option<String>,
}

impl From<Zone> for ListedZone {
    fn from(zone: Zone) -> ListedZone {
        let (name, late) = (zone.zone(), zone.is_late());
        let Zone { last, age, period, .. } = zone;
        let report = last.report;
        ListedZone {
            zone: name,
            late,
            period,
            id: last.id,
            epoch: report.epoch,
            cycle: report.cycle,
            time: report.time,
            received: report.received,
            received_ago: age,
            reporter: report.reporter,
        }
    }
}

/// Returns the zones of a fleet that have reports within the retention, with the last report of each.
#[utoipa::path(
    get, path = "/api/v1/zones", tag = "read", params(ZonesParams),
    responses((status = 200, description = "Zones by name", content((Zones = "application/json"), (String = "text/csv")))),
)]
pub(super) async fn get_zones(
    State(app): State<Arc<App>>,
    Params(ZonesParams { fleet }): Params<ZonesParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let fleet = fleet.unwrap_or_default();
    let zones: Vec<ListedZone> = zones(&app, &fleet).await?.into_iter().map(ListedZone::from).collect();
    Ok(csv_or_json(prefers_csv(&headers), Zones { fleet, zones }, |all| zones_csv(&all.zones)))
}

fn zones_csv(zones: &[ListedZone]) -> Response {
    let names = ["zone", "late", "period", "id", "epoch", "cycle", "time", "received", "reporter"];
    let row = |zone: &ListedZone| {
        [
            Cell::text(Some(&zone.zone)),
            Cell::plain(zone.late),
            Cell::number(zone.period),
            Cell::plain(zone.id),
            Cell::number(zone.epoch),
            Cell::number(zone.cycle),
            Cell::plain(zone.time),
            Cell::plain(zone.received),
            Cell::text(zone.reporter.as_deref()),
        ]
    };
    csv(names, zones.iter().map(row))
}

/// Deletes all reports and measurements of a zone, with its epochs and keys, for example after it was renamed. Reports
/// that it sends later are accepted: a zone that still reports exists again. Send the request again if it fails.
#[utoipa::path(
    delete, path = "/api/v1/zones", tag = "write", params(ZoneParams),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "The zone has no data", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete_zone(
    State(app): State<Arc<App>>,
    Params(ZoneParams { fleet, zone }): Params<ZoneParams>,
) -> Result<StatusCode, Problem> {
    let fleet = fleet.unwrap_or_default();
    let name = fleet.in_zone(Some(&zone));
    let selection = Selection { fleet: Some(name.to_string()), ..Selection::default() };
    let measurements = app.store.measurements();
    let samples = app.with_store_timeout(measurements.latest_samples(selection, MAX_SERIES)).await?;
    let mut nodes: Vec<String> = samples.into_iter().map(|sample| sample.node).collect();
    nodes.dedup();
    if nodes.is_empty() && !names(&app, &fleet).await?.contains(&name) {
        return Err(Problem::not_found("the zone has no data"));
    }
    for node in nodes {
        app.with_store_timeout(measurements.forget_node(name.to_string(), node)).await?;
    }
    // Each call deletes a bounded number of reports, so that calls to record do not wait for long.
    while app.with_store_timeout(app.store.forget_fleet(&name)).await? > 0 {}
    app.fleets().remove(&name);
    Ok(StatusCode::NO_CONTENT)
}

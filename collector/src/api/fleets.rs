//! Route of the list of fleets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::fleet_name::FleetName;
use crate::measurements::FleetSummary;
use crate::problem::Problem;

/// Fleets by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fleets {
    fleets: Vec<ListedFleet>,
}

/// Fleet with reports, with measurements, or with both.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct ListedFleet {
    /// Name of the fleet.
    fleet: String,
    /// True if it has sent reports.
    reports: bool,
    /// Number of its zones with reports or measurements; missing if it has none.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    zones: usize,
    /// Number of nodes with measurements, over all zones.
    nodes: i64,
    /// Number of series of measurements, over all zones.
    series: i64,
    /// Time at which its newest measurement was received, by the collector's clock; null if it has none.
    received: Option<Timestamp>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Returns all fleets with reports or measurements.
#[utoipa::path(
    get, path = "/api/v1/fleets", tag = "read",
    responses((status = 200, description = "Fleets by name", body = Fleets)),
)]
pub(super) async fn get_fleets(State(app): State<Arc<App>>) -> Result<Json<Fleets>, Problem> {
    let default = FleetName::default();
    let (reporting, epochs, last, measuring) = futures_util::join!(
        app.with_store_timeout(app.store.fleets()),
        app.with_store_timeout(app.store.epochs(&default, 1)),
        app.with_store_timeout(app.store.last(&default, 1)),
        app.with_store_timeout(app.store.measurements().sample_fleets()),
    );
    // The store names the default fleet even if it has never sent a report.
    let (epochs, last) = (epochs?, last?);
    let has_reports = |fleet: &FleetName| !fleet.is_default() || !epochs.is_empty() || !last.is_empty();
    let reporting = reporting?.into_iter().filter(has_reports);
    let mut fleets: BTreeMap<String, (ListedFleet, BTreeSet<FleetName>)> = BTreeMap::new();
    for FleetSummary { fleet, nodes, series, received } in measuring? {
        let Ok(name) = FleetName::from_key(&fleet) else { continue };
        let (listed, zones) = entry(&mut fleets, &name);
        listed.nodes += nodes;
        listed.series += series;
        listed.received = listed.received.max(Some(received));
        zones.extend(name.zone().map(|_| name));
    }
    for name in reporting {
        let (listed, zones) = entry(&mut fleets, &name);
        listed.reports = true;
        zones.extend(name.zone().map(|_| name));
    }
    let fleets = fleets.into_values().map(|(listed, zones)| ListedFleet { zones: zones.len(), ..listed });
    Ok(Json(Fleets { fleets: fleets.collect() }))
}

/// Returns the entry of the fleet of a name.
fn entry<'a>(
    fleets: &'a mut BTreeMap<String, (ListedFleet, BTreeSet<FleetName>)>,
    name: &FleetName,
) -> &'a mut (ListedFleet, BTreeSet<FleetName>) {
    let fleet = name.fleet().to_string();
    let listed = ListedFleet { fleet: fleet.clone(), ..ListedFleet::default() };
    fleets.entry(fleet).or_insert((listed, BTreeSet::new()))
}

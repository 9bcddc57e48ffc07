//! Zones of a fleet: their last reports, and averages over all of them.

mod combine;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

pub(crate) use self::combine::{CombinedPoint, ZoneSums, combine};
use crate::app::App;
use crate::fleet_name::FleetName;
use crate::lateness::{NEWEST, age, period, stale_after};
use crate::problem::Problem;
use crate::report::Record;
use crate::store::{Filter, Page};

/// Number of zones that are read at a time.
const CONCURRENT: usize = 4;

/// Zone of a fleet that has reports.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    /// Fleet and zone; the fleet itself for reports without a zone.
    pub(crate) name: FleetName,
    pub(crate) last: Record,
    /// Seconds since its arrival.
    pub(crate) age: f64,
    /// Seconds from one report to the next, if known.
    pub(crate) period: Option<f64>,
}

impl Zone {
    /// Returns the name of the zone; empty for reports without one.
    pub(crate) fn zone(&self) -> String {
        self.name.zone().map(|zone| zone.to_string()).unwrap_or_default()
    }

    /// Returns true if reports should have arrived since the last one.
    pub(crate) fn is_late(&self) -> bool {
        self.age > stale_after(self.period)
    }
}

/// Returns the zones of a fleet whose reports are within the retention: first the reports without a zone, then by name.
pub(crate) async fn zones(app: &App, fleet: &FleetName) -> Result<Vec<Zone>, Problem> {
    let now = Timestamp::now();
    let names = names(app, fleet).await?;
    let zones = stream::iter(names).map(|name| async {
        let mut arrivals = app.with_store_timeout(app.store.last(&name, NEWEST)).await?;
        let period = {
            let fleets = app.fleets();
            let status = fleets.get(&name).and_then(|known| known.status.as_ref());
            period(status.map(|snapshot| &snapshot.status), &arrivals)
        };
        let Some(last) = arrivals.pop() else { return Ok(None) };
        let age = age(app, &name, &last, now);
        Ok::<_, Problem>(Some(Zone { name, last, age, period }))
    });
    let zones: Vec<Option<Zone>> = zones.buffered(CONCURRENT).try_collect().await?;
    Ok(zones.into_iter().flatten().collect())
}

/// Returns the names of a fleet in the store, with and without zones.
pub(crate) async fn names(app: &App, fleet: &FleetName) -> Result<Vec<FleetName>, Problem> {
    let mut names = app.with_store_timeout(app.store.fleets()).await?;
    names.retain(|name| name.fleet() == *fleet);
    Ok(names)
}

/// Returns the sums of each zone of the fleet of a filter, at most `limit` of each, for steps of `step` microseconds.
pub(crate) async fn sums(
    app: &App,
    filter: &Filter,
    step: i64,
    limit: usize,
) -> Result<Vec<ZoneSums>, Problem> {
    let names = names(app, &filter.fleet).await?;
    let zones = stream::iter(names).map(|name| async move {
        let filter = Filter { fleet: name.clone(), ..filter.clone() };
        let sums = app.with_store_timeout(app.store.sums(filter, step, limit, true)).await?;
        let reported = reported(app, &name).await?;
        let zone = name.zone().map(|zone| zone.to_string()).unwrap_or_default();
        Ok::<_, Problem>(ZoneSums { zone, sums, reported })
    });
    zones.buffered(CONCURRENT).try_collect().await
}

/// Returns the times of the first and the last report of a fleet or zone, in microseconds since 1970.
async fn reported(app: &App, name: &FleetName) -> Result<Option<(i64, i64)>, Problem> {
    let filter = Filter { fleet: name.clone(), ..Filter::default() };
    let page = |newest_first| Page { filter: filter.clone(), after: None, newest_first, limit: 1 };
    let first = app.with_store_timeout(app.store.page(page(false))).await?;
    let last = app.with_store_timeout(app.store.page(page(true))).await?;
    let time = |records: &[Record]| records.first().map(|record| record.report.time.as_microsecond());
    Ok(time(&first).zip(time(&last)))
}

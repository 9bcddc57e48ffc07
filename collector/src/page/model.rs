//! Content of the page, collected from the store and from the leader.

use std::collections::HashSet;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::chart::{Chart, Subject};
use super::params::PageParams;
use super::range::Range;
use super::status::{self, ReportStatus};
use super::zones::{self, ZoneRows};
use crate::app::App;
use crate::fence::Epoch;
use crate::fleet::FleetSnapshot;
use crate::fleet_name::FleetName;
use crate::lateness::{NEWEST, age};
use crate::measurements::{MAX_SERIES, Selection};
use crate::problem::Problem;
use crate::report::{Record, Report};
use crate::store::{Filter, Page};

/// Maximum number of points read for a chart, including other quantities that match the filter.
const MAX_POINTS: usize = 40_000;
/// Maximum number of changes of epoch that are read.
const MAX_CHANGES: usize = 200;

/// Age up to which a fleet is new, so that the shortest range contains all of its reports.
const YOUNG: SignedDuration = SignedDuration::from_mins(5);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Content of the page.
#[derive(Debug)]
pub(super) struct PageModel {
    pub(super) params: PageParams,
    pub(super) status: ReportStatus,
    /// The newest report of each quantity and unit.
    pub(super) kinds: Vec<Record>,
    /// Index of the kind that is displayed large.
    pub(super) chosen: usize,
    /// Seconds since the last report was received.
    pub(super) age: Option<f64>,
    pub(super) chart: Option<Chart>,
    /// Last fleet status and its age in seconds.
    pub(super) fleet: Option<(FleetSnapshot, f64)>,
    /// Names of the nodes with samples, if there is a fleet status.
    pub(super) sampled: HashSet<String>,
    /// Newest epoch that has reported.
    pub(super) epoch: Option<Epoch>,
    pub(super) period: Option<f64>,
    /// Zones, if the fleet has any and is displayed as a whole.
    pub(super) zones: ZoneRows,
}

impl PageModel {
    /// Returns true if the store cannot be read.
    pub(super) fn store_fails(&self) -> bool {
        matches!(self.status, ReportStatus::Store(_))
    }

    /// Returns the report that is displayed large.
    pub(super) fn report(&self) -> Option<&Report> {
        self.kinds.get(self.chosen).map(|record| &record.report)
    }
}

/// Returns the last status of a fleet, and its age in seconds.
pub(super) fn last_status(app: &App, fleet: &FleetName) -> Option<(FleetSnapshot, f64)> {
    let fleets = app.fleets();
    let status = fleets.get(fleet)?.status.as_ref()?;
    Some((status.clone(), status.age(Instant::now()).as_secs_f64()))
}

/// Reads the content. If the store fails, the status contains the error.
pub(super) async fn load(app: &App, params: PageParams) -> PageModel {
    let fleet = last_status(app, &params.fleet);
    let mut model = PageModel {
        params,
        status: ReportStatus::Empty,
        kinds: Vec::new(),
        chosen: 0,
        age: None,
        chart: None,
        fleet,
        sampled: HashSet::new(),
        epoch: None,
        period: None,
        zones: ZoneRows::default(),
    };
    if let Err(problem) = fill(app, &mut model).await {
        model.status = ReportStatus::Store(problem.detail().to_owned());
    }
    model
}

async fn fill(app: &App, model: &mut PageModel) -> Result<(), Problem> {
    if zones::are_wanted(app, &model.params).await? {
        return fill_zones(app, model).await;
    }
    let fleet = model.params.fleet.clone();
    let (kinds, arrivals, epochs, sampled) = futures_util::join!(
        app.store.latest(&fleet),
        app.store.last(&fleet, NEWEST),
        app.store.epochs(&fleet, 1),
        sampled_nodes(app, &fleet, model.fleet.is_some()),
    );
    model.sampled = sampled?;
    model.kinds = kinds?;
    model.epoch = epochs?.pop();
    let arrivals = arrivals?;
    model.period = status::period(model.fleet.as_ref().map(|(fleet, _)| &fleet.status), &arrivals);
    model.chosen = chosen(&model.kinds, &model.params);
    let now = Timestamp::now();
    // The clocks of the fleet do not matter: arrival times decide whether reports arrive.
    let last = arrivals.last().or_else(|| model.kinds.iter().max_by_key(|record| record.id));
    model.age = last.map(|record| age(app, &fleet, record, now));
    model.status =
        ReportStatus::of(model.age, last.map_or(0.0, |record| status::delay(&record.report)), model.period);
    let Some(Report { quantity, unit, .. }) = model.report().cloned() else { return Ok(()) };

    let (quantity_of, unit_of) = (quantity.clone(), unit.clone());
    let filter = Filter { fleet: fleet.clone(), quantity: quantity_of, unit: unit_of, ..Filter::default() };
    let is_new = !model.params.has_range && model.age.is_some_and(|age| age < YOUNG.as_secs_f64());
    if is_new && !was_before(app, now, &filter).await? {
        // A chart of one hour would be almost empty.
        model.params.range = Range::shortest();
    }
    let window = model.params.range.window(now);
    let time = |micros| Timestamp::from_microsecond(micros).unwrap_or(now);
    let (from, to) = (time(window.from), time(window.to));
    let filter = Filter { from: Some(from), to: Some(to), ..filter };
    let (points, changes) = futures_util::join!(
        app.with_store_timeout(app.store.series(filter, window.step, MAX_POINTS)),
        app.with_store_timeout(app.store.changes(&fleet, from, to, MAX_CHANGES)),
    );
    // A filter cannot select reports without a quantity.
    let mut points = points?;
    points.retain(|point| point.quantity == quantity && point.unit == unit);
    let changes = changes?.into_iter().map(|(time, epoch)| (time.as_microsecond(), epoch)).collect();
    #[allow(clippy::cast_possible_truncation, reason = "far below 2^63")]
    let period = model.period.map(|period| (period * 1e6) as i64);
    let chart = Chart::new(Subject::Reports, window, points, model.params.offset());
    model.chart = Some(Chart { period, changes, ..chart });
    Ok(())
}

/// Reads the content for all zones of the fleet. The fleet status is that of a zone, so there is none.
async fn fill_zones(app: &App, model: &mut PageModel) -> Result<(), Problem> {
    let now = Timestamp::now();
    let mut zones = ZoneRows::load(app, &model.params.fleet).await?;
    model.fleet = None;
    model.kinds = zones.latest();
    model.chosen = chosen(&model.kinds, &model.params);
    let newest = zones.newest();
    model.age = newest.map(|zone| zone.age);
    let delay = newest.map_or(0.0, |zone| status::delay(&zone.last.report));
    model.status = ReportStatus::of(model.age, delay, newest.and_then(|zone| zone.period));
    if let Some(Report { quantity, unit, .. }) = model.report().cloned() {
        let window = model.params.range.window(now);
        let time = |micros| Timestamp::from_microsecond(micros).unwrap_or(now);
        let (from, to) = (Some(time(window.from)), Some(time(window.to)));
        let filter = Filter { fleet: model.params.fleet.clone(), from, to, quantity, unit };
        let points = zones.read(app, &filter, (window.step, MAX_POINTS)).await?;
        model.chart = Some(Chart::new(Subject::Reports, window, points, model.params.offset()));
    }
    model.zones = zones;
    Ok(())
}

/// Returns the names of the nodes with samples, if they are `wanted`.
async fn sampled_nodes(app: &App, fleet: &FleetName, wanted: bool) -> Result<HashSet<String>, Problem> {
    if !wanted {
        return Ok(HashSet::new());
    }
    let selection = Selection { fleet: Some(fleet.to_string()), ..Selection::default() };
    let latest = app.store.measurements().latest_samples(selection, MAX_SERIES).await?;
    Ok(latest.into_iter().map(|sample| sample.node).collect())
}

/// Returns true if there were reports earlier in the last hour, not only just now.
async fn was_before(app: &App, now: Timestamp, filter: &Filter) -> Result<bool, Problem> {
    let before = |ago: SignedDuration| now.checked_sub(ago).ok();
    let (from, to) = (before(HOUR), before(YOUNG));
    let filter = Filter { from, to, ..filter.clone() };
    let page = Page { filter, after: None, newest_first: true, limit: 1 };
    Ok(!app.store.page(page).await?.is_empty())
}

/// Returns the index of the kind that is displayed large: the requested one, otherwise bare numbers, otherwise
/// temperature.
fn chosen(kinds: &[Record], params: &PageParams) -> usize {
    let first = |wanted: &dyn Fn(&Report) -> bool| kinds.iter().position(|record| wanted(&record.report));
    first(&|report| params.selects(report))
        .or_else(|| first(&|report| report.quantity.is_none()))
        .or_else(|| first(&|report| report.quantity.as_deref() == Some("temperature")))
        .unwrap_or(0)
}

//! The trait [`Store`] and its parameters.

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::StoreError;
use crate::fence::{Epoch, Stale};
use crate::fleet_name::FleetName;
use crate::measurements::{
    FleetSummary, LatestSample, Pruned, Retention, SampleBatch, SampleOutcome, Selection, SeriesQuery,
    SeriesRows,
};
use crate::moments::Moments;
use crate::report::{Record, Report};

/// Result of recording a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The report was stored with this id.
    Recorded(i64),
    /// The report was stored earlier, with the same mean, or past the retention, so that its mean is no longer known.
    Repeated,
    /// A report with the same key was stored earlier with this mean, which differs.
    Conflict(f64),
    /// The leader of the report was deposed.
    Stale(Stale),
}

/// Filter for reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Fleet of the reports.
    pub fleet: FleetName,
    /// Earliest time, inclusive.
    pub from: Option<Timestamp>,
    /// Latest time, exclusive.
    pub to: Option<Timestamp>,
    /// Quantity of the reports.
    pub quantity: Option<String>,
    /// Unit of the reports.
    pub unit: Option<String>,
}

impl Filter {
    /// Returns true if the filter selects the report.
    pub fn matches(&self, report: &Report) -> bool {
        self.fleet == report.fleet
            && self.matches_time(report.time)
            && self.matches_kind(report.quantity.as_deref(), report.unit.as_deref())
    }

    pub(super) fn matches_time(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }

    pub(super) fn matches_kind(&self, quantity: Option<&str>, unit: Option<&str>) -> bool {
        let same = |wanted: &Option<String>, own| wanted.as_deref().is_none_or(|wanted| own == Some(wanted));
        same(&self.quantity, quantity) && same(&self.unit, unit)
    }
}

/// End of a page: the next page begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Time of its last report, in microseconds since 1970.
    pub time: i64,
    /// Id of its last report.
    pub id: i64,
}

/// Part of the reports, ordered by time.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Filter for the reports.
    pub filter: Filter,
    /// Cursor after which the page begins.
    pub after: Option<Cursor>,
    /// True for descending order.
    pub newest_first: bool,
    /// Maximum number of reports.
    pub limit: usize,
}

/// Step of a series.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Point {
    /// Beginning of the step.
    pub time: Timestamp,
    /// Quantity that was averaged, if known.
    pub quantity: Option<String>,
    /// Unit of the quantity, if known.
    pub unit: Option<String>,
    /// Number of reports.
    pub reports: i64,
    /// Mean of the reports' means, with equal weights.
    pub mean: f64,
    /// Smallest measurement, or smallest mean if the measurements are unknown.
    pub min: f64,
    /// Largest measurement, or largest mean if the measurements are unknown.
    pub max: f64,
}

/// Sum over the reports of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// Beginning of the step, in microseconds since 1970.
    pub time: i64,
    /// Quantity that was averaged, if known.
    pub quantity: Option<String>,
    /// Unit of the quantity, if known.
    pub unit: Option<String>,
    /// Number of reports.
    pub reports: i64,
    /// Sum of the reports' means. Infinite or NaN if it overflows.
    pub sum: f64,
    /// Smallest measurement, or smallest mean if the measurements are unknown.
    pub min: f64,
    /// Largest measurement, or largest mean if the measurements are unknown.
    pub max: f64,
    /// Moments of the readings of those reports whose readings can be combined; `None`: there are none.
    pub moments: Option<Moments>,
}

#[cfg(test)]
impl Point {
    /// Returns a point of one report of `value`, this many seconds after 1970.
    pub(crate) fn of_one(second: i64, value: f64) -> Point {
        let time = Timestamp::from_second(second).unwrap();
        Point { time, quantity: None, unit: None, reports: 1, mean: value, min: value, max: value }
    }
}

/// Retention of reports and of sums per hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Time before which reports are replaced by sums per hour.
    pub reports: Timestamp,
    /// Time before which sums per hour are deleted.
    pub hours: Option<Timestamp>,
}

/// Maximum number of reports that are pruned in one transaction: it bounds the time for which a call to record waits.
pub const PRUNE_BATCH: usize = 5_000;

/// Microseconds in an hour.
pub(super) const HOUR: i64 = 3_600_000_000;

/// Result of a call to a store, once it is available.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Store of reports. Everything except ids and the retention is separate for each fleet. A call may be cancelled: its effect is then unknown, as after a lost answer.
pub trait Store: Send + Sync + 'static {
    /// Records `reports` durably, in their order. All of them must be of one fleet.
    fn record(&self, reports: Vec<Report>) -> StoreFuture<'_, Vec<Outcome>>;

    /// Returns a part of the reports.
    fn page(&self, page: Page) -> StoreFuture<'_, Vec<Record>>;

    /// Returns at most `limit` reports that were recorded after `id`, in the order of their ids.
    fn since(&self, fleet: &FleetName, id: i64, limit: usize) -> StoreFuture<'_, Vec<Record>>;

    /// Returns the reports that were recorded last, at most `limit`, in the order of their ids.
    fn last(&self, fleet: &FleetName, limit: usize) -> StoreFuture<'_, Vec<Record>>;

    /// Returns the names of the fleets that have sent reports, and [`FleetName::default`], which is the first one.
    fn fleets(&self) -> StoreFuture<'_, Vec<FleetName>>;

    /// Returns the highest id that was recorded over all fleets, or 0 if there is none.
    fn newest(&self) -> StoreFuture<'_, i64>;

    /// Returns at most `limit` steps of `step` microseconds that have reports, by time, quantity and unit. Data past
    /// the retention has a resolution of one hour.
    fn series(&self, filter: Filter, step: i64, limit: usize) -> StoreFuture<'_, Vec<Point>> {
        let sums = self.sums(filter, step, limit, false);
        sums.map_ok(|sums| sums.into_iter().map(Sum::point).collect()).boxed()
    }

    /// Returns the steps of [`Store::series`], if requested with the moments of their readings. Data that was past the
    /// retention before collectors kept moments has none.
    fn sums(&self, filter: Filter, step: i64, limit: usize, moments: bool) -> StoreFuture<'_, Vec<Sum>>;

    /// Returns the latest report of each quantity and unit, by epoch and cycle, otherwise by arrival; see `recency.rs`.
    /// Omits a quantity whose latest report is past the retention.
    fn latest(&self, fleet: &FleetName) -> StoreFuture<'_, Vec<Record>>;

    /// Returns the newest epochs, at most `limit`.
    fn epochs(&self, fleet: &FleetName, limit: usize) -> StoreFuture<'_, Vec<Epoch>>;

    /// Returns the epochs, except the first one, that are known to begin in `[from, to)`: the time of their first
    /// report and their number, newest first, at most `limit`.
    fn changes(
        &self,
        fleet: &FleetName,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Timestamp, i64)>>;

    /// Replaces at most [`PRUNE_BATCH`] reports of all fleets past the retention by sums, and returns their number.
    fn prune(&self, horizon: Horizon) -> StoreFuture<'_, usize>;

    /// Deletes an epoch from the fence and all of its reports, and returns how many reports were deleted. Sums of
    /// reports past the retention stay, and so do their keys. Reports of lower epochs are accepted again.
    fn forget_epoch(&self, fleet: &FleetName, epoch: i64) -> StoreFuture<'_, usize>;

    /// Deletes a bounded number of reports of a fleet or zone, without sums, and returns that number. If there are none,
    /// deletes everything else about it: sums, epochs, keys and its name. Not for [`FleetName::default`], which has no name.
    fn forget_fleet(&self, fleet: &FleetName) -> StoreFuture<'_, usize>;

    /// Returns the measurements of single sensors.
    fn measurements(&self) -> &dyn Measurements;

    /// Checks whether reports can be recorded.
    fn check(&self) -> StoreFuture<'_, ()>;

    /// Closes the store after the calls that have begun.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Measurements of single sensors in a store. A call may be cancelled, as in [`Store`].
pub trait Measurements: Send + Sync {
    /// Adds the samples of a batch durably, in their order, and returns the outcome of each. All accepted ones are
    /// added together or not at all.
    fn add_samples(&self, batch: SampleBatch) -> StoreFuture<'_, Vec<SampleOutcome>>;

    /// Returns all fleets with measurements, by name.
    fn sample_fleets(&self) -> StoreFuture<'_, Vec<FleetSummary>>;

    /// Returns the latest sample of each selected series, by fleet, node, sensor and quantity, at most `limit`.
    fn latest_samples(&self, selection: Selection, limit: usize) -> StoreFuture<'_, Vec<LatestSample>>;

    /// Returns rows of each selected series, in the same order. Series after the one that reaches the maximum number of
    /// rows are left out.
    fn sample_series(&self, query: SeriesQuery) -> StoreFuture<'_, Vec<SeriesRows>>;

    /// Deletes a bounded amount of data past the retention, and of forgotten nodes, of series after number `after`.
    fn prune_samples(&self, retention: Retention, after: i64) -> StoreFuture<'_, Pruned>;

    /// Deletes all measurements of a node. They are no longer found; their space may be freed by later calls of
    /// [`Measurements::prune_samples`]. Returns false if there are none.
    fn forget_node(&self, fleet: String, node: String) -> StoreFuture<'_, bool>;
}

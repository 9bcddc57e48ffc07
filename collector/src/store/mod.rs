//! Stores of reports: a small trait, its parameters, and the guarantees of every store.
//!
//! * Reports for which [`Store::record`] returned are present after any crash, exactly once.
//! * All reports of one call are recorded together or not at all.
//! * A key is recorded once, even past the retention of its report.
//! * Ids increase in the order in which reports become visible, so a client that has read up to an id has missed
//!   nothing below it.
//! * A store that fails returns an error, loses no acknowledged report, and works again once the cause is removed.
//!
//! `suite.rs` tests them for each store.

mod jobs;
mod memory;
mod open;
mod recency;
mod redis;
mod sqlite;
#[cfg(test)]
mod suite;
mod sum;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

pub use self::redis::{RedisAccess, RedisOptions, RedisStore};
pub use memory::MemoryStore;
pub use open::{OpenError, open_store, open_store_with};
pub use sqlite::{SqliteOptions, SqliteStore};

use crate::fence::{Epoch, Stale};
use crate::report::{Record, Report, without_negative_zero};

/// Error of a store. The call may be repeated later in all cases.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The store cannot be reached or written: full, locked, damaged.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Too many calls are waiting.
    #[error("the store has too much to do")]
    Busy,
    /// The query takes too long.
    #[error("that takes too long: ask for a shorter time")]
    TooLong,
}

/// Result of recording a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The report was stored with this id.
    Recorded(i64),
    /// The report was stored earlier, with the same mean, or so long ago that its mean is no longer known.
    Repeated,
    /// A report with the same key was stored earlier with this mean, which differs.
    Conflict(f64),
    /// The leader of the report was deposed.
    Stale(Stale),
}

/// Filter for reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
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
    pub fn admits(&self, report: &Report) -> bool {
        self.admits_time(report.time) && self.admits_kind(report.quantity.as_deref(), report.unit.as_deref())
    }

    fn admits_time(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }

    fn admits_kind(&self, quantity: Option<&str>, unit: Option<&str>) -> bool {
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

/// Retention of reports and of sums per hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Time before which reports are replaced by sums per hour.
    pub reports: Timestamp,
    /// Time before which sums per hour are deleted.
    pub hours: Option<Timestamp>,
}

/// Maximum number of reports that are pruned in one transaction: it bounds the time for which a call to record waits.
pub const PRUNED_AT_ONCE: usize = 5_000;

/// Microseconds in an hour.
const HOUR: i64 = 3_600_000_000;

/// Store of reports. A call may be cancelled: its effect is then unknown, as after a lost answer.
pub trait Store: Send + Sync + 'static {
    /// Records `reports` durably, in their order.
    fn record(&self, reports: Vec<Report>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>>;

    /// Returns a part of the reports.
    fn page(&self, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Returns at most `limit` reports that were recorded after `id`, in the order of their ids.
    fn since(&self, id: i64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Returns the highest id that was recorded, or 0 if there is none.
    fn newest(&self) -> BoxFuture<'_, Result<i64, StoreError>>;

    /// Returns at most `limit` steps of `step` microseconds that have reports, by time, quantity and unit. Data past
    /// the retention has a resolution of one hour.
    fn series(
        &self,
        filter: Filter,
        step: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Point>, StoreError>>;

    /// Returns the latest report of each quantity and unit, by epoch and cycle, otherwise by arrival; see `recency.rs`.
    /// Omits a quantity whose latest report is past the retention.
    fn latest(&self) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Returns the newest epochs, at most `limit`.
    fn epochs(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Epoch>, StoreError>>;

    /// Returns the epochs, except the first one, that are known to begin in `[from, to)`: the time of their first
    /// report and their number, newest first, at most `limit`. The default implementation, for stores without these
    /// times, uses the time at which the last report of the previous epoch was received.
    fn changes(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Timestamp, i64)>, StoreError>> {
        async move {
            let epochs = self.epochs(limit.saturating_add(1)).await?;
            let changes = epochs.windows(2).map(|pair| (pair[1].received, pair[0].epoch));
            Ok(changes.filter(|(time, _)| (from..to).contains(time)).take(limit).collect())
        }
        .boxed()
    }

    /// Replaces at most [`PRUNED_AT_ONCE`] reports past the retention by sums, and returns their number.
    fn prune(&self, horizon: Horizon) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Deletes an epoch from the fence and all of its reports, and returns how many reports were deleted. Sums of
    /// reports past the retention stay, and so do their keys. Reports of lower epochs are accepted again.
    fn forget_epoch(&self, epoch: i64) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Checks whether reports can be recorded.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Closes the store after the calls that have begun.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Computes a point of `reports` reports whose means add up to `sum`. The mean lies between minimum
/// and maximum even if the sum overflows.
fn point(
    time: i64,
    (quantity, unit): (Option<String>, Option<String>),
    reports: i64,
    sum: f64,
    (min, max): (f64, f64),
) -> Point {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52 reports")]
    let mean = (sum / reports.max(1) as f64).max(min).min(max);
    let time = Timestamp::from_microsecond(time).unwrap_or(Timestamp::MAX);
    let [mean, min, max] = [mean, min, max].map(without_negative_zero);
    Point { time, quantity, unit, reports, mean, min, max }
}

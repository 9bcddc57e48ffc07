//! Where reports are kept: one small trait, what is asked of it, and the promises that every store keeps.
//!
//! * What [`Store::record`] returned is there after any crash, once.
//! * All reports of one call are recorded together or not at all.
//! * A key is recorded once, even past the retention of its report.
//! * Ids go up in the order in which reports become visible, so whoever has read up to an id has missed nothing below it.
//! * A store that fails says so, loses nothing that it acknowledged, and works again once the cause is gone.
//!
//! `suite.rs` checks them for each store.

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

/// Why a store did not do it. To ask again later is right in all cases.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It cannot be reached or written: full, locked, damaged.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// More is waiting already than it may keep waiting.
    #[error("the store has too much to do")]
    Busy,
    /// The question takes too long to answer.
    #[error("that takes too long: ask for a shorter time")]
    TooLong,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is kept, by this id.
    Recorded(i64),
    /// It was kept before, with the same mean, or so long ago that its mean is no longer known.
    Repeated,
    /// Its key was kept before with this mean, which is another one.
    Conflict(f64),
    /// Its leader was deposed.
    Stale(Stale),
}

/// Which reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// Of this quantity.
    pub quantity: Option<String>,
    /// In this unit.
    pub unit: Option<String>,
}

impl Filter {
    /// Whether a report is among them.
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

/// Where a page ends: what comes next is beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The time of its last report, in microseconds since 1970.
    pub time: i64,
    /// Its id.
    pub id: i64,
}

/// Which part of the reports, ordered by their time.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Which reports.
    pub filter: Filter,
    /// Beyond this one.
    pub after: Option<Cursor>,
    /// The newest first.
    pub newest_first: bool,
    /// So many at most.
    pub limit: usize,
}

/// A step of a series.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Point {
    /// Where it begins.
    pub time: Timestamp,
    /// What was averaged, if it is known.
    pub quantity: Option<String>,
    /// Its unit, if it is known.
    pub unit: Option<String>,
    /// How many reports.
    pub reports: i64,
    /// The mean of their averages, each counted alike.
    pub mean: f64,
    /// The smallest measurement, or average where none is known.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// What is kept for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Reports of before this time are summed up by the hour.
    pub reports: Timestamp,
    /// Hours of before this time are forgotten.
    pub hours: Option<Timestamp>,
}

/// So many reports are summed up in one transaction: whoever waits to record waits for no more than that.
pub const PRUNED_AT_ONCE: usize = 5_000;

/// Microseconds in an hour.
const HOUR: i64 = 3_600_000_000;

/// Keeps reports. A call may be cancelled: what it began is done or not, as after a lost answer.
pub trait Store: Send + Sync + 'static {
    /// Keeps `reports`, durably, in their order.
    fn record(&self, reports: Vec<Report>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>>;

    /// A part of the reports.
    fn page(&self, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// What was recorded after `id`, in that order, so many at most.
    fn since(&self, id: i64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// The highest id that was recorded; 0: none.
    fn newest(&self) -> BoxFuture<'_, Result<i64, StoreError>>;

    /// Steps of `step` microseconds that have reports, by time, quantity and unit, so many at most. What is past the
    /// retention is told by the hour.
    fn series(
        &self,
        filter: Filter,
        step: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Point>, StoreError>>;

    /// The latest report of each quantity and unit, by epoch and cycle, else by arrival; see `recency.rs`. None for a
    /// quantity whose latest report is past the retention.
    fn latest(&self) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// The newest epochs, so many at most.
    fn epochs(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Epoch>, StoreError>>;

    /// Where epochs after the first one began that are known to begin in `[from, to)`: the time of their first report, and their
    /// number; the newest first, so many at most. A store that cannot tell takes the time at which the epoch before was last
    /// heard of.
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

    /// Sums up what is past the horizon, [`PRUNED_AT_ONCE`] reports at most, and returns how many.
    fn prune(&self, horizon: Horizon) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Deletes an epoch from the fence and all of its reports, and returns how many reports were deleted. Sums of
    /// reports past the retention stay, and so do their keys. Reports of lower epochs are accepted again.
    fn forget_epoch(&self, epoch: i64) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Whether it could record.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Ends it, after what it has begun.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A point of `reports` reports whose means come to `sum`. The mean is where it must be even if the sum is beyond numbers.
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

//! Stores of reports and of measurements: small traits, their parameters, and the guarantees of every store.
//!
//! * Reports for which [`Store::record`] returned are present after any crash, exactly once.
//! * All reports of one call are recorded together or not at all.
//! * A key is recorded once, even past the retention of its report.
//! * Ids increase in the order in which reports become visible, so a client that has read up to an id has missed
//!   nothing below it.
//! * Samples for which [`Measurements::add_samples`] returned are present after any crash, exactly once.
//! * A store that fails returns an error, loses no acknowledged report, and works again once the cause is removed.
//!
//! `suite.rs` tests them for each store.

mod error;
mod interface;
mod memory;
mod open;
mod recency;
#[cfg(feature = "redis")]
mod redis;
mod redis_access;
mod rollup;
mod sqlite;
#[cfg(test)]
mod suite;
mod sums;
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only the Redis store needs all of it"))]
mod write_queue;

pub use error::{OpenError, StoreError};
pub use interface::{
    Cursor, Filter, Horizon, Measurements, Outcome, PRUNE_BATCH, Page, Point, Store, StoreFuture, Sum,
};
pub use memory::MemoryStore;
pub use open::{open_store, open_store_with};
#[cfg(feature = "redis")]
pub use redis::{RedisOptions, RedisStore};
pub use redis_access::RedisAccess;
pub use sqlite::{SqliteOptions, SqliteStore};

//! Store on a Redis server. One script stores a batch with its keys, the fence and the sums atomically; Redis answers
//! when the data is on its disk. `keys.rs` lists the keys.
//!
//! The store starts whatever the state of the server is, and tries again at every call. The timeout of each command is
//! [`RedisOptions::command_timeout`]. A command whose answer was lost may have been executed, or may be executed later by a
//! server that hangs.

mod access;
mod connection;
mod forget;
mod keys;
mod options;
mod pack;
mod reader;
mod recording;
mod samples;
mod script_arguments;
mod series;
mod server;
mod writer;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

pub use self::access::RedisAccess;
use self::connection::{Connection, Failure};
pub use self::options::RedisOptions;
use self::writer::Writer;
use super::error::StoreError;
use super::interface::{Filter, Horizon, Measurements, Outcome, Page, Point, Store, StoreFuture, Sum};
use super::write_queue::WriteQueue;
use crate::fence::Epoch;
use crate::fleet_name::FleetName;
use crate::measurements::{
    FleetSummary, LatestSample, Pruned, Retention, SampleBatch, SampleOutcome, Selection, SeriesQuery,
    SeriesRows,
};
use crate::report::{Record, Report};

/// Maximum number of concurrent reads.
const MAX_READS: usize = 4;
/// Store on a Redis server.
pub struct RedisStore {
    queue: WriteQueue,
    commits: Arc<AtomicU64>,
    options: RedisOptions,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
    /// Last error of a read, so that each one is logged once.
    last_error: Mutex<Option<String>>,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedisStore").field("options", &self.options).finish_non_exhaustive()
    }
}

type Reading<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

impl RedisStore {
    /// Starts the thread of the store. The server need not be usable yet; use [`Store::check`] to find out.
    ///
    /// # Errors
    /// Returns an error if the system cannot start another thread.
    pub fn open(options: RedisOptions) -> std::io::Result<RedisStore> {
        let (queue, jobs) = WriteQueue::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(options.clone(), Arc::clone(&commits));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("redis".to_owned())
            .spawn(move || runtime.block_on(writer.run(jobs)))?;
        Ok(RedisStore {
            queue,
            commits,
            options,
            permits: Semaphore::new(MAX_READS),
            idle: Mutex::default(),
            last_error: Mutex::default(),
        })
    }

    /// Returns the number of scripts that have stored reports, each with one write to the disk.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Calls [`RedisStore::read`], as a future of the trait.
    fn read_of<T: Send + 'static>(
        &self,
        fleet: FleetName,
        query: impl for<'a> FnOnce(&'a mut Connection, &'a str) -> Reading<'a, T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        async move { self.read(&fleet, query).await }.boxed()
    }

    /// Reads reports of a fleet.
    fn read_records(
        &self,
        fleet: FleetName,
        query: impl for<'a> FnOnce(&'a mut Connection, &'a str) -> Reading<'a, Vec<Record>> + Send + 'static,
    ) -> StoreFuture<'_, Vec<Record>> {
        async move {
            let mut records = self.read(&fleet, query).await?;
            records.iter_mut().for_each(|record| record.report.fleet = fleet.clone());
            Ok(records)
        }
        .boxed()
    }

    /// Runs `query` on a connection of its own, with the prefix of the fleet's keys.
    async fn read<T>(
        &self,
        fleet: &FleetName,
        query: impl for<'a> FnOnce(&'a mut Connection, &'a str) -> Reading<'a, T>,
    ) -> Result<T, StoreError> {
        let prefix = keys::of_fleet(&self.options.prefix, fleet);
        let limit = self.options.read_timeout;
        let permit = timeout(limit, self.permits.acquire()).await.map_err(|_| StoreError::Busy)?;
        let _permit = permit.map_err(|_| StoreError::closed())?;
        let reading = async {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let alive = match idle {
                Some(connection) => connection.if_alive().await,
                None => None,
            };
            let mut connection = match alive {
                Some(connection) => connection,
                None => Connection::open(&self.options).await?,
            };
            let answer = query(&mut connection, &prefix).await?;
            Ok((connection, answer))
        };
        let result: Result<(Connection, T), Failure> =
            timeout(limit, reading).await.map_err(|_| StoreError::TooLong)?;
        let mut last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok((connection, answer)) => {
                *last_error = None;
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                Ok(answer)
            }
            Err(error) => {
                let message = error.to_string();
                if last_error.as_ref() != Some(&message) {
                    warn!(redis = %self.options.address(), %error, "the store cannot be read");
                    *last_error = Some(message);
                }
                Err(error.to_store_error())
            }
        }
    }
}

impl Store for RedisStore {
    fn record(&self, reports: Vec<Report>) -> StoreFuture<'_, Vec<Outcome>> {
        if reports.is_empty() {
            return std::future::ready(Ok(Vec::new())).boxed();
        }
        self.queue.record(reports)
    }

    fn page(&self, page: Page) -> StoreFuture<'_, Vec<Record>> {
        let fleet = page.filter.fleet.clone();
        self.read_records(fleet, move |connection, prefix| {
            async move { reader::page(connection, prefix, &page).await }.boxed()
        })
    }

    fn since(&self, fleet: &FleetName, id: i64, limit: usize) -> StoreFuture<'_, Vec<Record>> {
        self.read_records(fleet.clone(), move |connection, prefix| {
            reader::since(connection, prefix, id, limit).boxed()
        })
    }

    fn last(&self, fleet: &FleetName, limit: usize) -> StoreFuture<'_, Vec<Record>> {
        self.read_records(fleet.clone(), move |connection, prefix| {
            reader::last(connection, prefix, limit).boxed()
        })
    }

    fn fleets(&self) -> StoreFuture<'_, Vec<FleetName>> {
        self.read_of(FleetName::default(), |connection, prefix| reader::fleets(connection, prefix).boxed())
    }

    fn newest(&self) -> StoreFuture<'_, i64> {
        self.read_of(FleetName::default(), |connection, prefix| reader::newest(connection, prefix).boxed())
    }

    fn series(&self, filter: Filter, step: i64, limit: usize) -> StoreFuture<'_, Vec<Point>> {
        self.read_of(filter.fleet.clone(), move |connection, prefix| {
            async move {
                let steps = series::series(connection, prefix, &filter, (step, limit), false).await?;
                Ok(steps.into_iter().map(|((time, kind), sum)| sum.point(time, kind)).collect())
            }
            .boxed()
        })
    }

    fn sums(&self, filter: Filter, step: i64, limit: usize) -> StoreFuture<'_, Vec<Sum>> {
        self.read_of(filter.fleet.clone(), move |connection, prefix| {
            async move {
                let steps = series::series(connection, prefix, &filter, (step, limit), true).await?;
                Ok(steps.into_iter().map(|((time, kind), sum)| sum.sum(time, kind)).collect())
            }
            .boxed()
        })
    }

    fn latest(&self, fleet: &FleetName) -> StoreFuture<'_, Vec<Record>> {
        self.read_records(fleet.clone(), |connection, prefix| reader::latest(connection, prefix).boxed())
    }

    fn epochs(&self, fleet: &FleetName, limit: usize) -> StoreFuture<'_, Vec<Epoch>> {
        self.read_of(fleet.clone(), move |connection, prefix| {
            reader::epochs(connection, prefix, limit).boxed()
        })
    }

    fn changes(
        &self,
        fleet: &FleetName,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Timestamp, i64)>> {
        self.read_of(fleet.clone(), move |connection, prefix| {
            reader::changes(connection, prefix, (from, to), limit).boxed()
        })
    }

    fn prune(&self, horizon: Horizon) -> StoreFuture<'_, usize> {
        self.queue.prune(horizon)
    }

    fn forget_epoch(&self, fleet: &FleetName, epoch: i64) -> StoreFuture<'_, usize> {
        self.queue.forget_epoch(fleet, epoch)
    }

    fn forget_fleet(&self, fleet: &FleetName) -> StoreFuture<'_, usize> {
        self.queue.forget_fleet(fleet)
    }

    fn measurements(&self) -> &dyn Measurements {
        self
    }

    fn check(&self) -> StoreFuture<'_, ()> {
        self.queue.check()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.queue.close().await;
            self.permits.close();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        .boxed()
    }
}

impl Measurements for RedisStore {
    fn add_samples(&self, batch: SampleBatch) -> StoreFuture<'_, Vec<SampleOutcome>> {
        self.queue.add_samples(batch)
    }

    fn sample_fleets(&self) -> StoreFuture<'_, Vec<FleetSummary>> {
        self.read_of(FleetName::default(), |connection, prefix| samples::fleets(connection, prefix).boxed())
    }

    fn latest_samples(&self, selection: Selection, limit: usize) -> StoreFuture<'_, Vec<LatestSample>> {
        self.read_of(FleetName::default(), move |connection, prefix| {
            async move { samples::latest(connection, prefix, &selection, limit).await }.boxed()
        })
    }

    fn sample_series(&self, query: SeriesQuery) -> StoreFuture<'_, Vec<SeriesRows>> {
        self.read_of(FleetName::default(), move |connection, prefix| {
            async move { samples::series(connection, prefix, &query).await }.boxed()
        })
    }

    fn prune_samples(&self, retention: Retention, after: i64) -> StoreFuture<'_, Pruned> {
        self.queue.prune_samples(retention, after)
    }

    fn forget_node(&self, fleet: String, node: String) -> StoreFuture<'_, bool> {
        self.queue.forget_node(fleet, node)
    }
}

#[cfg(test)]
mod tests;

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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use self::connection::{Connection, Result};
pub use self::options::RedisOptions;
use self::reader::Reader;
use self::writer::Writer;
use super::error::StoreError;
use super::interface::{Filter, Horizon, Measurements, Outcome, Page, Store, StoreFuture, Sum};
use super::write_queue::{Job, WriteQueue};
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

    /// Runs `query` on a connection of its own, for the keys of a fleet.
    fn read<T: Send + 'static>(
        &self,
        fleet: &FleetName,
        query: impl for<'a> FnOnce(Reader<'a>) -> BoxFuture<'a, Result<T>> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let fleet = fleet.clone();
        async move {
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
                let answer = query(Reader::new(&mut connection, &self.options.prefix, &fleet)).await?;
                Ok((connection, answer))
            };
            let result: Result<(Connection, T)> =
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
        .boxed()
    }
}

impl Store for RedisStore {
    fn record(&self, reports: Vec<Report>) -> StoreFuture<'_, Vec<Outcome>> {
        if reports.is_empty() {
            return std::future::ready(Ok(Vec::new())).boxed();
        }
        self.queue.call(|answer| Job::Record((reports, answer)))
    }

    fn page(&self, page: Page) -> StoreFuture<'_, Vec<Record>> {
        let fleet = page.filter.fleet.clone();
        self.read(&fleet, |reader| reader.page(page).boxed())
    }

    fn since(&self, fleet: &FleetName, id: i64, limit: usize) -> StoreFuture<'_, Vec<Record>> {
        self.read(fleet, move |reader| reader.since(id, limit).boxed())
    }

    fn last(&self, fleet: &FleetName, limit: usize) -> StoreFuture<'_, Vec<Record>> {
        self.read(fleet, move |reader| reader.last(limit).boxed())
    }

    fn fleets(&self) -> StoreFuture<'_, Vec<FleetName>> {
        self.read(&FleetName::default(), |reader| reader.fleets().boxed())
    }

    fn newest(&self) -> StoreFuture<'_, i64> {
        self.read(&FleetName::default(), |reader| reader.newest().boxed())
    }

    fn sums(&self, filter: Filter, step: i64, limit: usize, moments: bool) -> StoreFuture<'_, Vec<Sum>> {
        let fleet = filter.fleet.clone();
        self.read(&fleet, move |reader| reader.sums(filter, step, limit, moments).boxed())
    }

    fn latest(&self, fleet: &FleetName) -> StoreFuture<'_, Vec<Record>> {
        self.read(fleet, |reader| reader.latest().boxed())
    }

    fn epochs(&self, fleet: &FleetName, limit: usize) -> StoreFuture<'_, Vec<Epoch>> {
        self.read(fleet, move |reader| reader.epochs(limit).boxed())
    }

    fn changes(
        &self,
        fleet: &FleetName,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Timestamp, i64)>> {
        self.read(fleet, move |reader| reader.changes((from, to), limit).boxed())
    }

    fn prune(&self, horizon: Horizon) -> StoreFuture<'_, usize> {
        self.queue.call(move |answer| Job::Prune(horizon, answer))
    }

    fn forget_epoch(&self, fleet: &FleetName, epoch: i64) -> StoreFuture<'_, usize> {
        let fleet = fleet.clone();
        self.queue.call(move |answer| Job::Forget(fleet, epoch, answer))
    }

    fn forget_fleet(&self, fleet: &FleetName) -> StoreFuture<'_, usize> {
        let fleet = fleet.clone();
        self.queue.call(|answer| Job::ForgetFleet(fleet, answer))
    }

    fn measurements(&self) -> &dyn Measurements {
        self
    }

    fn check(&self) -> StoreFuture<'_, ()> {
        self.queue.call(Job::Check)
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
        self.queue.call(|answer| Job::AddSamples((batch, answer)))
    }

    fn sample_fleets(&self) -> StoreFuture<'_, Vec<FleetSummary>> {
        self.read(&FleetName::default(), |reader| reader.sample_fleets().boxed())
    }

    fn latest_samples(&self, selection: Selection, limit: usize) -> StoreFuture<'_, Vec<LatestSample>> {
        self.read(&FleetName::default(), move |reader| reader.latest_samples(selection, limit).boxed())
    }

    fn sample_series(&self, query: SeriesQuery) -> StoreFuture<'_, Vec<SeriesRows>> {
        self.read(&FleetName::default(), |reader| reader.sample_series(query).boxed())
    }

    fn prune_samples(&self, retention: Retention, after: i64) -> StoreFuture<'_, Pruned> {
        self.queue.call(move |answer| Job::PruneSamples(retention, after, answer))
    }

    fn forget_node(&self, fleet: String, node: String) -> StoreFuture<'_, bool> {
        self.queue.call(|answer| Job::ForgetNode(fleet, node, answer))
    }
}

#[cfg(test)]
mod tests;

//! Store in a file: SQLite with a write-ahead log. One thread writes; it executes all waiting calls in one transaction,
//! with one write to the disk (`writer.rs`). A few connections read concurrently (`reader.rs`).
//!
//! The store starts whatever the state of the file is, and tries again at every call: a disk that was full, or a file
//! that was locked or damaged, requires no restart after it is repaired.

mod file;
mod fleets;
mod forget;
mod functions;
mod latest;
mod prune;
mod reader;
mod recording;
mod rollups;
mod samples;
mod schema;
mod statements;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

pub use self::file::SqliteOptions;
use self::reader::Readers;
use self::writer::Writer;
use super::interface::{Filter, Horizon, Measurements, Outcome, Page, Store, StoreFuture, Sum};
use super::write_queue::{Job, WriteQueue};
use crate::fence::Epoch;
use crate::fleet_name::FleetName;
use crate::measurements::{
    FleetSummary, LatestSample, Pruned, Retention, SampleBatch, SampleOutcome, Selection, SeriesQuery,
    SeriesRows,
};
use crate::report::{Record, Report};

/// Store in an SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    queue: WriteQueue,
    readers: Arc<Readers>,
    commits: Arc<AtomicU64>,
}

impl SqliteStore {
    /// Starts the thread of the store. The file need not be usable yet; use [`Store::check`] to find out.
    ///
    /// # Errors
    /// Returns an error if the system cannot start another thread.
    pub fn open(options: SqliteOptions) -> std::io::Result<SqliteStore> {
        let (queue, jobs) = WriteQueue::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let readers = Arc::new(Readers::new(options.clone()));
        let writer = Writer::new(options, Arc::clone(&commits));
        std::thread::Builder::new().name("sqlite".to_owned()).spawn(move || writer.run(jobs))?;
        Ok(SqliteStore { queue, readers, commits })
    }

    /// Returns the number of committed transactions.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Store for SqliteStore {
    fn record(&self, reports: Vec<Report>) -> StoreFuture<'_, Vec<Outcome>> {
        self.queue.call(|answer| Job::Record((reports, answer)))
    }

    fn page(&self, page: Page) -> StoreFuture<'_, Vec<Record>> {
        self.readers.read(move |connection| reader::page(connection, &page)).boxed()
    }

    fn since(&self, fleet: &FleetName, id: i64, limit: usize) -> StoreFuture<'_, Vec<Record>> {
        let fleet = fleet.clone();
        self.readers.read(move |connection| reader::since(connection, &fleet, id, limit)).boxed()
    }

    fn last(&self, fleet: &FleetName, limit: usize) -> StoreFuture<'_, Vec<Record>> {
        let fleet = fleet.clone();
        self.readers.read(move |connection| reader::last(connection, &fleet, limit)).boxed()
    }

    fn fleets(&self) -> StoreFuture<'_, Vec<FleetName>> {
        self.readers.read(fleets::names).boxed()
    }

    fn newest(&self) -> StoreFuture<'_, i64> {
        self.readers.read(reader::newest).boxed()
    }

    fn sums(&self, filter: Filter, step: i64, limit: usize, moments: bool) -> StoreFuture<'_, Vec<Sum>> {
        self.readers.read(move |connection| reader::sums(connection, &filter, step, limit, moments)).boxed()
    }

    fn latest(&self, fleet: &FleetName) -> StoreFuture<'_, Vec<Record>> {
        let fleet = fleet.clone();
        self.readers.read(move |connection| reader::latest(connection, &fleet)).boxed()
    }

    fn epochs(&self, fleet: &FleetName, limit: usize) -> StoreFuture<'_, Vec<Epoch>> {
        let fleet = fleet.clone();
        self.readers.read(move |connection| reader::epochs(connection, &fleet, limit)).boxed()
    }

    fn changes(
        &self,
        fleet: &FleetName,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Timestamp, i64)>> {
        let fleet = fleet.clone();
        self.readers.read(move |connection| reader::changes(connection, &fleet, (from, to), limit)).boxed()
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
            self.readers.close();
        }
        .boxed()
    }
}

impl Measurements for SqliteStore {
    fn add_samples(&self, batch: SampleBatch) -> StoreFuture<'_, Vec<SampleOutcome>> {
        self.queue.call(|answer| Job::AddSamples((batch, answer)))
    }

    fn sample_fleets(&self) -> StoreFuture<'_, Vec<FleetSummary>> {
        self.readers.read(samples::fleets).boxed()
    }

    fn latest_samples(&self, selection: Selection, limit: usize) -> StoreFuture<'_, Vec<LatestSample>> {
        self.readers.read(move |connection| samples::latest(connection, &selection, limit)).boxed()
    }

    fn sample_series(&self, query: SeriesQuery) -> StoreFuture<'_, Vec<SeriesRows>> {
        self.readers.read(move |connection| samples::series(connection, &query)).boxed()
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

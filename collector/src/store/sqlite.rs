//! Store in a file: SQLite with a write-ahead log. One thread writes; it executes all waiting calls in one transaction,
//! with one write to the disk (`writer.rs`). A few connections read concurrently (`reader.rs`).
//!
//! The store starts whatever the state of the file is, and tries again at every call: a disk that was full, or a file
//! that was locked or damaged, requires no restart after it is repaired.

mod forget;
mod latest;
mod reader;
mod recording;
mod rollups;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use self::reader::Readers;
use self::writer::Writer;
use super::jobs::Jobs;
use super::{Filter, Horizon, Outcome, Page, Point, Store, StoreError};
use crate::fence::Epoch;
use crate::report::{Record, Report};

/// Path and options of the file.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file. Its folder must exist; SQLite creates a `-wal` and a `-shm` file beside it.
    pub path: PathBuf,
    /// Timeout while another process locks the file.
    pub patience: Duration,
    /// Timeout of a read.
    pub longest_read: Duration,
    /// Maximum size of the file, in bytes; further reports are refused until older ones are deleted.
    pub max_bytes: Option<u64>,
}

impl SqliteOptions {
    /// Returns the default options.
    pub fn new(path: impl Into<PathBuf>) -> SqliteOptions {
        SqliteOptions {
            path: path.into(),
            patience: Duration::from_secs(2),
            longest_read: Duration::from_secs(5),
            max_bytes: None,
        }
    }
}

/// Store in an SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    jobs: Jobs,
    readers: Arc<Readers>,
    commits: Arc<AtomicU64>,
}

impl SqliteStore {
    /// Starts the thread of the store. The file need not be usable yet; use [`Store::check`] to find out.
    ///
    /// # Errors
    /// Returns an error if the system cannot start another thread.
    pub fn open(options: SqliteOptions) -> std::io::Result<SqliteStore> {
        let (jobs, waiting) = Jobs::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let readers = Arc::new(Readers::new(options.clone()));
        let writer = Writer::new(options, Arc::clone(&commits));
        std::thread::Builder::new().name("sqlite".to_owned()).spawn(move || writer.run(waiting))?;
        Ok(SqliteStore { jobs, readers, commits })
    }

    /// Returns the number of committed transactions.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

/// Returns the identity of the file at a path. It changes if the file is moved away or replaced.
#[cfg(unix)]
fn file_id(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// On other systems an open file cannot be moved away.
#[cfg(not(unix))]
fn file_id(path: &Path) -> Option<(u64, u64)> {
    path.exists().then_some((0, 0))
}

/// Returns the error for the client: the reason without the path.
fn unavailable(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => StoreError::TooLong,
        Some(rusqlite::ErrorCode::DiskFull) => StoreError::Unavailable("the disk is full".to_owned()),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            StoreError::Unavailable("another program has locked it".to_owned())
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            StoreError::Unavailable("its file is damaged".to_owned())
        }
        Some(rusqlite::ErrorCode::CannotOpen) => {
            StoreError::Unavailable("its file cannot be opened".to_owned())
        }
        Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::PermissionDenied) => {
            StoreError::Unavailable("its file cannot be written".to_owned())
        }
        _ => StoreError::Unavailable("its file cannot be used".to_owned()),
    }
}

impl Store for SqliteStore {
    fn record(&self, reports: Vec<Report>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        self.jobs.record(reports)
    }

    fn page(&self, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.readers.read(move |connection| reader::page(connection, &page)).boxed()
    }

    fn since(&self, id: i64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.readers.read(move |connection| reader::since(connection, id, limit)).boxed()
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, StoreError>> {
        self.readers.read(reader::newest).boxed()
    }

    fn series(
        &self,
        filter: Filter,
        step: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Point>, StoreError>> {
        self.readers.read(move |connection| reader::series(connection, &filter, step, limit)).boxed()
    }

    fn latest(&self) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.readers.read(reader::latest).boxed()
    }

    fn epochs(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Epoch>, StoreError>> {
        self.readers.read(move |connection| reader::epochs(connection, limit)).boxed()
    }

    fn changes(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Timestamp, i64)>, StoreError>> {
        self.readers.read(move |connection| reader::changes(connection, (from, to), limit)).boxed()
    }

    fn prune(&self, horizon: Horizon) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.jobs.prune(horizon)
    }

    fn forget_epoch(&self, epoch: i64) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.jobs.forget_epoch(epoch)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.jobs.check()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.jobs.close().await;
            self.readers.close();
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;

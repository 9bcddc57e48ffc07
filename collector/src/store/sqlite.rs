//! A file that anyone can open: SQLite with a write-ahead log. One thread writes, and takes all that wait into one
//! transaction: one trip to the disk for many (`writer.rs`). A few connections read beside it (`reader.rs`).
//!
//! It starts with whatever state the file is in, and tries again at every call: a disk that was full, a file that was
//! locked, damaged and put right, needs no restart.

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

/// Where the file is, and how it is used.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file. Its folder must exist; beside it stand a `-wal` and a `-shm`.
    pub path: PathBuf,
    /// How long to wait while another process locks it.
    pub patience: Duration,
    /// How long a question may take.
    pub longest_read: Duration,
    /// The file does not grow beyond so many bytes; what comes then is refused until something is forgotten.
    pub max_bytes: Option<u64>,
}

impl SqliteOptions {
    /// The usual ones.
    pub fn new(path: impl Into<PathBuf>) -> SqliteOptions {
        SqliteOptions {
            path: path.into(),
            patience: Duration::from_secs(2),
            longest_read: Duration::from_secs(5),
            max_bytes: None,
        }
    }
}

/// A file that anyone can open.
#[derive(Debug)]
pub struct SqliteStore {
    jobs: Jobs,
    readers: Arc<Readers>,
    commits: Arc<AtomicU64>,
}

impl SqliteStore {
    /// Starts its thread. The file need not be usable yet: [`Store::check`] tells.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn open(options: SqliteOptions) -> std::io::Result<SqliteStore> {
        let (jobs, waiting) = Jobs::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let readers = Arc::new(Readers::new(options.clone()));
        let writer = Writer::new(options, Arc::clone(&commits));
        std::thread::Builder::new().name("sqlite".to_owned()).spawn(move || writer.run(waiting))?;
        Ok(SqliteStore { jobs, readers, commits })
    }

    /// How many transactions were committed.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

/// Which file a path names: another one after it was moved away or replaced.
#[cfg(unix)]
fn file_id(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Elsewhere an open file cannot be moved away.
#[cfg(not(unix))]
fn file_id(path: &Path) -> Option<(u64, u64)> {
    path.exists().then_some((0, 0))
}

/// As it is told to whoever asked: what is wrong, not where.
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

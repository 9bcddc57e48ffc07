//! The thread that writes to SQLite.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tracing::{info, warn};

use super::file::{SqliteOptions, file_id, to_store_error};
use super::forget::{forget_epoch, forget_fleet};
use super::prune::prune;
use super::recording::record;
use super::samples::{self, Cache};
use super::schema;
use crate::store::error::StoreError;
use crate::store::write_queue::{Job, Receiver, answer_samples};

/// Maximum number of reports per transaction; the last call may exceed it.
const MAX_BATCH: usize = 4096;
/// Maximum number of samples per transaction; the last call may exceed it.
const MAX_SAMPLES: usize = 16_384;

/// Owner of the connection that writes.
pub(super) struct Writer {
    options: SqliteOptions,
    commits: Arc<AtomicU64>,
    connection: Option<Opened>,
    /// Last error, so that each one is logged once.
    last_error: Option<String>,
}

struct Opened {
    connection: Connection,
    file: Option<(u64, u64)>,
    cache: Cache,
}

impl Writer {
    pub(super) fn new(options: SqliteOptions, commits: Arc<AtomicU64>) -> Writer {
        Writer { options, commits, connection: None, last_error: None }
    }

    /// Runs until the store is closed or dropped.
    pub(super) fn run(mut self, mut jobs: Receiver) {
        // Migrating an older file takes a while, so it starts now. Errors are returned to the first call.
        let _ = self.write(|transaction, _| check(transaction, false));
        while let Some(job) = jobs.blocking_next() {
            match job {
                Job::Record(call) => {
                    let batch = jobs.batch(call, MAX_BATCH);
                    if !batch.is_empty() {
                        let written = self.write(|transaction, _| record(transaction, batch.reports()));
                        batch.answer(written);
                    }
                }
                Job::Prune(horizon, answer) => {
                    let _ = answer.send(self.write(|transaction, _| prune(transaction, horizon)));
                }
                Job::Forget(fleet, epoch, answer) => {
                    let _ =
                        answer.send(self.write(|transaction, _| forget_epoch(transaction, &fleet, epoch)));
                }
                Job::ForgetFleet(fleet, answer) => {
                    let _ = answer.send(self.write(|transaction, _| forget_fleet(transaction, &fleet)));
                }
                Job::AddSamples(call) => {
                    let calls = jobs.sample_calls(call, MAX_SAMPLES);
                    if !calls.is_empty() {
                        let batches = calls.iter().map(|(batch, _)| batch);
                        let added =
                            self.write(|transaction, cache| samples::add(transaction, cache, batches));
                        answer_samples(calls, added);
                    }
                }
                Job::PruneSamples(retention, after, answer) => {
                    let _ =
                        answer.send(self.write(|transaction, cache| {
                            samples::prune(transaction, cache, retention, after)
                        }));
                }
                Job::ForgetNode(fleet, node, answer) => {
                    let _ =
                        answer.send(self.write(|transaction, cache| {
                            samples::forget_node(transaction, cache, &fleet, &node)
                        }));
                }
                Job::Check(answer) => {
                    let failed = self.last_error.is_some();
                    let _ = answer.send(self.write(|transaction, _| check(transaction, failed)));
                }
                Job::Close(answer) => {
                    // The last connection merges the write-ahead log into the file.
                    self.connection = None;
                    jobs.close();
                    let _ = answer.send(());
                    return;
                }
            }
        }
    }

    /// Runs `work` in a transaction. If it succeeds, its changes are on the disk.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Cache) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        match self.try_write(work) {
            Ok(done) => {
                if self.last_error.take().is_some() {
                    info!("the store works again");
                }
                Ok(done)
            }
            Err(error) => {
                // After any error the next call opens the file again.
                self.connection = None;
                let message = error.to_string();
                if self.last_error.as_ref() != Some(&message) {
                    warn!(path = %self.options.path.display(), %error, "reports cannot be recorded");
                    self.last_error = Some(message);
                }
                Err(to_store_error(&error))
            }
        }
    }

    fn try_write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Cache) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        // Data that is written to a file that was moved away would be lost.
        let path = self.options.path.clone();
        let same = |opened: &Opened| file_id(&path) == opened.file;
        let opened = match self.connection.take().filter(same) {
            Some(opened) => self.connection.insert(opened),
            None => {
                let connection =
                    schema::open_to_write(&path, self.options.lock_timeout, self.options.max_bytes)?;
                self.connection.insert(Opened { connection, file: file_id(&path), cache: Cache::default() })
            }
        };
        let transaction = opened.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction, &mut opened.cache)?;
        transaction.commit()?;
        if !same(opened) {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
            return Err(rusqlite::Error::SqliteFailure(code, Some("the file was moved away".to_owned())));
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(done)
    }
}

/// Checks that the file can be locked, without a write to the disk. After a failure, additionally checks that there is
/// space for a page of reports: a full disk is ready again only then.
fn check(transaction: &Transaction<'_>, failed: bool) -> rusqlite::Result<()> {
    if failed {
        transaction.execute_batch(
            "CREATE TABLE probe (data BLOB); INSERT INTO probe VALUES (zeroblob(65536)); DROP TABLE probe;",
        )?;
    }
    transaction.execute("DELETE FROM kinds WHERE 0", [])?;
    Ok(())
}

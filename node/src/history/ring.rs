//! The ring: a file of SQLite with the samples that not all consumers have yet, bounded by age and size. Blocking; used by
//! the keeper's thread only.
//!
//! Samples have consecutive ids and leave only at the front, so the ring is a range of ids, and the samples that one
//! consumer does not have are the end of it, see [`super::cursors`]. Each call is one transaction in the write-ahead log,
//! which a killed process does not lose; [`Ring::sync`] makes the log safe against a power cut. The log's frames have
//! checksums, so a torn write at its end is not read.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, ffi, params};

use super::clock::ClockReading;
use super::cursors::{self, Cursors};
use crate::model::sample::{Batch, ClockState, StoredSample};
use crate::process::state_dir;

/// Version of the tables, in `user_version`. Version 1 has one consumer, the collector, and no tables of consumers.
const VERSION: i64 = 2;
/// Size of a page in bytes. A small one: each sample writes at least one page.
const PAGE_SIZE: u64 = 1024;
/// Part of the samples that is dropped at once when the ring is full.
const DROPPED_PART: i64 = 64;

const TABLE: &str = "
CREATE TABLE samples (
    id            INTEGER PRIMARY KEY,
    boot          TEXT NOT NULL,
    seq           INTEGER NOT NULL,
    sensor        TEXT NOT NULL,
    quantity      TEXT NOT NULL,
    unit          TEXT NOT NULL,
    value         REAL NOT NULL,
    time_ms       INTEGER NOT NULL,
    since_boot_ms INTEGER NOT NULL,
    clock         INTEGER NOT NULL
) STRICT;
";

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) keep: Duration,
    /// In bytes.
    pub(super) max_size: u64,
    /// Interval of syncs. Zero: SQLite syncs each transaction.
    pub(super) sync: Duration,
}

/// Number of samples that the bounds have dropped before a consumer had them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) by_age: u64,
    pub(super) by_size: u64,
}

#[derive(Debug)]
pub(super) struct Ring {
    connection: Connection,
    path: PathBuf,
    limits: Limits,
    /// The lowest one is the id of the oldest sample.
    cursors: Cursors,
    /// Id of the next sample.
    next: i64,
}

/// Returns true if the file is damaged and cannot be used any more.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Renames a damaged file and its log. Replaces those that were set aside before.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = with_suffix(path, ".damaged");
    for suffix in ["-wal", ""] {
        let to = with_suffix(&aside, suffix);
        match fs::rename(with_suffix(path, suffix), &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::remove_file(&to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
            renamed => renamed?,
        }
    }
    Ok(aside)
}

impl Ring {
    /// Opens the file, or creates it. New samples get ids from `next` on at least. Consumers that are not in the file
    /// get the samples that are appended from now on.
    pub(super) fn open(
        path: &Path,
        limits: Limits,
        next: i64,
        consumers: &[String],
    ) -> rusqlite::Result<Ring> {
        let cannot_open = |error: io::Error| failure(ffi::SQLITE_CANTOPEN, error.to_string());
        // Private, and no symbolic link: the rules of the state folder.
        state_dir::create_private(path).map_err(cannot_open)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut connection = Connection::open_with_flags(path, flags)?;
        // No other process uses the file, so no shared memory is needed. The log stays below about 1 MiB.
        let synchronous = if limits.sync.is_zero() { "FULL" } else { "NORMAL" };
        connection.execute_batch(&format!(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA page_size = {PAGE_SIZE}; PRAGMA journal_mode = WAL;
             PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -256; PRAGMA temp_store = MEMORY;
             PRAGMA journal_size_limit = 1048576;"
        ))?;
        let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(failure(ffi::SQLITE_CORRUPT, check));
        }
        let transaction = connection.transaction()?;
        migrate(&transaction)?;
        let range = "SELECT min(id), max(id) FROM samples";
        let (first, last): (Option<i64>, Option<i64>) =
            transaction.query_row(range, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let next = next.max(last.map_or(1, |last| last + 1)).max(Cursors::highest(&transaction)?);
        let cursors = Cursors::read(&transaction, consumers, (first.unwrap_or(next), next))?;
        let cursors = cursors.write(&transaction)?;
        transaction.commit()?;
        let ring = Ring { connection, path: path.to_owned(), limits, cursors, next };
        // The file's name must survive a power cut as well.
        let folder = path.parent().ok_or_else(|| cannot_open(io::ErrorKind::NotFound.into()))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(cannot_open)?;
        Ok(ring)
    }

    /// Returns the id of the first sample that a consumer does not have.
    pub(super) fn cursor(&self, consumer: usize) -> i64 {
        self.cursors.get(consumer)
    }

    pub(super) fn next_id(&self) -> i64 {
        self.next
    }

    /// Returns the number of samples that a consumer does not have.
    pub(super) fn depth(&self, consumer: usize) -> u64 {
        self.next.abs_diff(self.cursor(consumer))
    }

    /// Returns the size of all samples in bytes. The file may be larger: it keeps its size after samples have left.
    pub(super) fn size(&self) -> rusqlite::Result<u64> {
        used_size(&self.connection)
    }

    /// Returns the age of the oldest sample that a consumer does not have.
    pub(super) fn oldest_age(&self, consumer: usize, now: ClockReading) -> rusqlite::Result<Duration> {
        if self.depth(consumer) == 0 {
            return Ok(Duration::ZERO);
        }
        let query = "SELECT time_ms FROM samples WHERE id >= ? ORDER BY id LIMIT 1";
        let mut statement = self.connection.prepare_cached(query)?;
        let time_ms: Option<i64> =
            statement.query_row([self.cursor(consumer)], |row| row.get(0)).optional()?;
        let age = time_ms.map_or(0, |time_ms| now.time_ms.saturating_sub(time_ms).max(0));
        Ok(Duration::from_millis(age.unsigned_abs()))
    }

    /// Appends samples of the run `boot`, and drops the oldest ones beyond the bounds. Of these samples, each consumer
    /// that has all samples of the file has the first ones already, by number. Returns the number of dropped samples that
    /// each consumer did not have.
    pub(super) fn append<'a>(
        &mut self,
        boot: &str,
        samples: impl IntoIterator<Item = &'a StoredSample>,
        delivered: &[usize],
        now: ClockReading,
    ) -> rusqlite::Result<Vec<Dropped>> {
        let (mut cursors, mut next) = (self.cursors.clone(), self.next);
        let transaction = self.connection.transaction()?;
        let mut insert = transaction
            .prepare_cached("INSERT INTO samples VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
        for sample in samples {
            insert.execute(params![
                next,
                boot,
                sample.seq,
                sample.sensor,
                sample.quantity,
                sample.unit,
                sample.value,
                sample.time_ms,
                sample.since_boot_ms,
                sample.clock as i64
            ])?;
            next += 1;
        }
        drop(insert);
        for (cursor, delivered) in
            cursors.iter_mut().zip(delivered).filter(|(cursor, _)| **cursor == self.next)
        {
            *cursor = next.min(cursor.saturating_add_unsigned(*delivered as u64));
        }
        let (aged, first) = drop_oldest(&transaction, (cursors.first(), next), &self.limits, now)?;
        let drop_before = |cursor: &mut i64| {
            let by_age = aged.saturating_sub(*cursor).max(0).unsigned_abs();
            let by_size = first.saturating_sub(aged.max(*cursor)).max(0).unsigned_abs();
            *cursor = first.max(*cursor);
            Dropped { by_age, by_size }
        };
        let dropped = cursors.iter_mut().map(drop_before).collect();
        // Also deletes those that were delivered while the file could not be written.
        let cursors = cursors.write(&transaction)?;
        transaction.commit()?;
        (self.cursors, self.next) = (cursors, next);
        Ok(dropped)
    }

    /// Returns the oldest samples of one run that a consumer does not have, at most `max`, up to the first for which
    /// `is_held` is true, and the id after them.
    pub(super) fn read(
        &self,
        consumer: usize,
        max: usize,
        is_held: impl Fn(&str, &StoredSample) -> bool,
    ) -> rusqlite::Result<Option<(Batch, i64)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, sensor, quantity, unit, value, time_ms, since_boot_ms, clock, boot FROM samples
             WHERE id >= ? ORDER BY id",
        )?;
        let (mut batch, mut end) = (None::<Batch>, self.cursor(consumer));
        let mut rows = statement.query([end])?;
        while let Some(row) = rows.next()? {
            let (sample, boot) = (to_sample(row)?, row.get_ref(8)?.as_str()?);
            let empty = || Batch { boot: boot.to_owned(), samples: Vec::new(), has_more: false };
            let batch = batch.get_or_insert_with(empty);
            batch.has_more = batch.boot != boot || batch.samples.len() == max || is_held(boot, &sample);
            if batch.has_more {
                break;
            }
            batch.samples.push(sample);
            end += 1;
        }
        Ok(batch.filter(|batch| !batch.samples.is_empty()).map(|batch| (batch, end)))
    }

    /// Records that a consumer has the samples before id `end`, except those that it can never accept, by sequence number
    /// and with the reason. Deletes the samples that all consumers have. After an error, the file has the samples, but
    /// this process does not read them again.
    pub(super) fn advance(
        &mut self,
        consumer: usize,
        end: i64,
        refused: &[(i64, String)],
    ) -> rusqlite::Result<()> {
        let before = self.cursors.clone();
        self.cursors.advance(consumer, end.min(self.next));
        let transaction = self.connection.transaction()?;
        if !refused.is_empty() {
            before.keep_refused(&transaction, consumer, end, refused)?;
        }
        let cursors = self.cursors.write(&transaction)?;
        transaction.commit()?;
        self.cursors = cursors;
        Ok(())
    }

    /// Corrects the times of samples that were taken before the clock was set, of runs whose names begin with `runs`.
    pub(super) fn correct(&self, runs: &str, offset_ms: i64) -> rusqlite::Result<usize> {
        self.connection.execute(
            "UPDATE samples SET time_ms = since_boot_ms + ?1, clock = ?2
             WHERE clock = ?3 AND substr(boot, 1, length(?4)) = ?4",
            params![offset_ms, ClockState::Corrected as i64, ClockState::Unsynchronised as i64, runs],
        )
    }

    /// Waits until all samples are on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match File::open(with_suffix(&self.path, "-wal")) {
            Ok(log) => log.sync_data(),
            Err(error) => Err(error),
        }
    }
}

fn failure(code: i32, text: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(text))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn used_size(connection: &Connection) -> rusqlite::Result<u64> {
    let pages = |query: &str| connection.prepare_cached(query)?.query_row([], |row| row.get::<_, i64>(0));
    let used = pages("PRAGMA page_count")? - pages("PRAGMA freelist_count")?;
    Ok(used.max(0).unsigned_abs() * PAGE_SIZE)
}

/// Creates the tables, or those that an older version does not have.
fn migrate(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let version = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => transaction.execute_batch(TABLE)?,
        1 | VERSION => {}
        version => return Err(failure(ffi::SQLITE_NOTADB, format!("it has the unknown version {version}"))),
    }
    if version != VERSION {
        transaction.execute_batch(cursors::TABLES)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    if version == 1 {
        transaction.execute("INSERT INTO consumers VALUES (?, 0)", [cursors::COLLECTOR])?;
    }
    Ok(())
}

/// Returns the ids of the oldest sample that is not too old, and of the oldest one that the size allows, after deleting
/// those before it.
fn drop_oldest(
    transaction: &Transaction<'_>,
    (mut first, next): (i64, i64),
    limits: &Limits,
    now: ClockReading,
) -> rusqlite::Result<(i64, i64)> {
    if now.is_synchronised {
        let oldest = now.time_ms.saturating_sub_unsigned(milliseconds(limits.keep));
        first = first_since(transaction, first, oldest)?.unwrap_or(next);
    }
    let aged = first;
    let delete = |first| transaction.prepare_cached("DELETE FROM samples WHERE id < ?")?.execute([first]);
    delete(first)?;
    // Samples that can be delivered need the space more than those that a consumer refused.
    if used_size(transaction)? > limits.max_size {
        transaction.execute("DELETE FROM refused", [])?;
    }
    while first < next && used_size(transaction)? > limits.max_size {
        first += ((next - first) / DROPPED_PART).max(1);
        delete(first)?;
    }
    Ok((aged, first))
}

/// Returns the first sample from id `first` on that is not older than `time_ms`. The age of one that was taken before
/// the clock was set is not known, so it counts as new.
fn first_since(transaction: &Transaction<'_>, first: i64, time_ms: i64) -> rusqlite::Result<Option<i64>> {
    let query = "SELECT id FROM samples WHERE id >= ?1 AND (time_ms >= ?2 OR clock = ?3) ORDER BY id LIMIT 1";
    let arguments = params![first, time_ms, ClockState::Unsynchronised as i64];
    transaction.prepare_cached(query)?.query_row(arguments, |row| row.get(0)).optional()
}

fn to_sample(row: &Row<'_>) -> rusqlite::Result<StoredSample> {
    Ok(StoredSample {
        seq: row.get(0)?,
        sensor: row.get(1)?,
        quantity: row.get(2)?,
        unit: row.get(3)?,
        value: row.get(4)?,
        time_ms: row.get(5)?,
        since_boot_ms: row.get(6)?,
        clock: ClockState::from(row.get::<_, i64>(7)?),
    })
}

#[cfg(test)]
#[path = "ring_tests.rs"]
pub(super) mod tests;

#[cfg(test)]
#[path = "cursors_tests.rs"]
mod cursors_tests;

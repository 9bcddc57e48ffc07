//! Positions of the consumers in the ring, which its file stores: the collector and the outputs that send measurements.
//!
//! The position of a consumer is the id of the first sample that it does not have. It is written in the transaction that
//! deletes the samples that all consumers have, so a crash keeps both or neither. After a power cut it may be older than
//! the truth, never newer: samples are then sent again, with the same keys.
//!
//! A position at the oldest sample is not written, because no sample before it exists. A single consumer therefore costs
//! no writes.

use rusqlite::{OptionalExtension, Transaction, params};
use tracing::info;

/// Name of the collector in the file. An output cannot have it.
pub(super) const COLLECTOR: &str = "@collector";

/// Maximum number of refused samples that are kept per consumer.
pub(super) const MAX_REFUSED: i64 = 1_000;

pub(super) const TABLES: &str = "
CREATE TABLE consumers (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE refused (
    number   INTEGER PRIMARY KEY,
    consumer TEXT NOT NULL,
    reason   TEXT NOT NULL,
    boot     TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    sensor   TEXT NOT NULL,
    quantity TEXT NOT NULL,
    unit     TEXT NOT NULL,
    value    REAL NOT NULL,
    time_ms  INTEGER NOT NULL
) STRICT;
";

#[derive(Clone, Debug)]
struct Cursor {
    name: String,
    /// Id of the first sample that the consumer does not have.
    next: i64,
    /// The same in the file.
    stored: i64,
}

/// Positions of all consumers, in the order in which they were given.
#[derive(Clone, Debug)]
pub(super) struct Cursors(Vec<Cursor>);

impl Cursors {
    /// Returns the highest position in the file. Ids of new samples are not below it.
    pub(super) fn highest(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
        transaction.query_row("SELECT ifnull(max(next), 1) FROM consumers", [], |row| row.get(0))
    }

    /// Reads the positions of these consumers. The samples are those from `first` up to `next`, without it. A new
    /// consumer starts at `next`; one that is not in `names` is deleted.
    pub(super) fn read(
        transaction: &Transaction<'_>,
        names: &[String],
        (first, next): (i64, i64),
    ) -> rusqlite::Result<Cursors> {
        let mut select = transaction.prepare("SELECT name, next FROM consumers")?;
        let known = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let known = known.collect::<rusqlite::Result<Vec<_>>>()?;
        for (name, position) in known.iter().filter(|(name, _)| !names.contains(name)) {
            transaction.execute("DELETE FROM consumers WHERE name = ?", [name])?;
            transaction.execute("DELETE FROM refused WHERE consumer = ?", [name])?;
            let samples = next - (*position).max(first);
            info!(consumer = name, samples, "no samples are kept any more for a consumer that was removed");
        }
        let cursor = |name: &String| {
            let position = known.iter().find(|(known, _)| known == name).map(|(_, position)| *position);
            if position.is_none() {
                transaction.execute("INSERT INTO consumers VALUES (?1, ?2)", params![name, next])?;
            }
            let stored = position.unwrap_or(next);
            Ok(Cursor { name: name.clone(), next: stored.max(first).min(next), stored })
        };
        names.iter().map(cursor).collect::<rusqlite::Result<_>>().map(Cursors)
    }

    pub(super) fn get(&self, consumer: usize) -> i64 {
        self.0[consumer].next
    }

    /// Returns the lowest position, which is that of the oldest sample.
    pub(super) fn first(&self) -> i64 {
        self.0.iter().map(|cursor| cursor.next).min().unwrap_or_default()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut i64> {
        self.0.iter_mut().map(|cursor| &mut cursor.next)
    }

    /// Moves the position of one consumer forward to `next`.
    pub(super) fn advance(&mut self, consumer: usize, next: i64) {
        let cursor = &mut self.0[consumer];
        cursor.next = cursor.next.max(next);
    }

    /// Writes the positions that have changed, and deletes the samples that all consumers have. Returns the positions
    /// as they are once the transaction is committed.
    pub(super) fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<Cursors> {
        let (mut written, first) = (self.clone(), self.first());
        for cursor in &mut written.0 {
            if cursor.next > first && cursor.next != cursor.stored {
                let update = "UPDATE consumers SET next = ?2 WHERE name = ?1";
                transaction.prepare_cached(update)?.execute(params![cursor.name, cursor.next])?;
                cursor.stored = cursor.next;
            }
        }
        transaction.prepare_cached("DELETE FROM samples WHERE id < ?")?.execute([first])?;
        Ok(written)
    }

    /// Keeps samples that a consumer can never accept, with the reasons: those of its next samples, before the id `end`,
    /// that have these sequence numbers. Deletes the oldest ones beyond a bound.
    pub(super) fn keep_refused(
        &self,
        transaction: &Transaction<'_>,
        consumer: usize,
        end: i64,
        refused: &[(i64, String)],
    ) -> rusqlite::Result<()> {
        let Cursor { name, next, .. } = &self.0[consumer];
        let mut find = transaction.prepare_cached("SELECT id, seq FROM samples WHERE id >= ? AND id < ?")?;
        let ids = find.query_map([*next, end], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let ids = ids.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO refused SELECT NULL, ?2, ?3, boot, seq, sensor, quantity, unit, value, time_ms
             FROM samples WHERE id = ?1",
        )?;
        for (seq, reason) in refused {
            // The bounds may have dropped it meanwhile.
            if let Ok(at) = ids.binary_search_by_key(seq, |(_, seq)| *seq) {
                insert.execute(params![ids[at].0, name, reason])?;
            }
        }
        let newest = "SELECT number FROM refused WHERE consumer = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2";
        let mut newest = transaction.prepare_cached(newest)?;
        let surplus: Option<i64> =
            newest.query_row(params![name, MAX_REFUSED], |row| row.get(0)).optional()?;
        let delete = "DELETE FROM refused WHERE consumer = ?1 AND number <= ?2";
        transaction.prepare_cached(delete)?.execute(params![name, surplus.unwrap_or(0)])?;
        Ok(())
    }
}

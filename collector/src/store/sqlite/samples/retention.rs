//! Deletion of measurements: past the retention, and of forgotten nodes. A forgotten node loses its fleet and its marks
//! at once, so it is no longer found; its data is deleted like data past the retention, in bounded transactions.

use rusqlite::{Result, Transaction};

use super::super::statements::{change, count, find, rows};
use super::cache::{Cache, delete_boot};
use crate::measurements::{ClockState, Pruned, Retention};
use crate::store::interface::PRUNE_BATCH;

/// Maximum number of series per transaction.
const MAX_SERIES: usize = 500;
/// Maximum number of boots per transaction.
const MAX_BOOTS: usize = 1_000;

/// Forgets a node. Returns false if it is unknown.
pub(crate) fn forget_node(
    transaction: &Transaction<'_>,
    cache: &mut Cache,
    fleet: &str,
    node: &str,
) -> Result<bool> {
    let id = "SELECT id FROM nodes WHERE fleet = ? AND fleet <> '' AND node = ?";
    let id: Option<i64> = find(transaction, id, (fleet, node), |row| row.get(0))?;
    let Some(id) = id else { return Ok(false) };
    cache.clear();
    transaction.execute("UPDATE nodes SET fleet = '', node = id WHERE id = ?", [id])?;
    transaction.execute("DELETE FROM marks WHERE boot IN (SELECT id FROM boots WHERE node = ?)", [id])?;
    transaction.execute("DELETE FROM boots WHERE node = ?", [id])?;
    Ok(true)
}

/// Deletes at most about [`PRUNE_BATCH`] samples and sums, of series after number `after`.
pub(crate) fn prune(
    transaction: &Transaction<'_>,
    cache: &mut Cache,
    retention: Retention,
    after: i64,
) -> Result<Pruned> {
    let series =
        "SELECT series.id, time, clock, received, fleet = '' FROM series JOIN nodes ON nodes.id = series.node
        WHERE series.id > ? ORDER BY series.id LIMIT ?";
    let series: Vec<(i64, Retention, bool)> = rows(transaction, series, (after, count(MAX_SERIES)), |row| {
        let clock = ClockState::of_number(row.get(2)?);
        Ok((row.get(0)?, retention.of_series(row.get(1)?, clock, row.get(3)?), row.get(4)?))
    })?;
    let (mut deleted, mut done) = (0, after);
    for &(id, own, is_forgotten) in &series {
        for (table, before) in
            [("samples", own.samples), ("sample_minutes", own.minutes), ("sample_hours", own.hours)]
        {
            let Some(before) = (if is_forgotten { Some(i64::MAX) } else { before }) else { continue };
            let max = PRUNE_BATCH.saturating_sub(deleted);
            let now = delete_before(transaction, table, id, before, max)?;
            deleted += now;
            if now >= max {
                return Ok(Pruned { deleted, next: Some(done) });
            }
        }
        if is_forgotten {
            change(transaction, "DELETE FROM series WHERE id = ?", [id])?;
        }
        done = id;
    }
    if series.len() == MAX_SERIES {
        return Ok(Pruned { deleted, next: Some(done) });
    }
    transaction.execute(
        "DELETE FROM nodes WHERE fleet = '' AND NOT EXISTS (SELECT 1 FROM series WHERE series.node = nodes.id)",
        [],
    )?;
    if delete_boots(transaction, retention.samples)? > 0 {
        cache.clear();
    }
    Ok(Pruned { deleted, next: None })
}

/// Deletes the oldest rows of a series before a time, at most `max` and those of the same time as the last one.
fn delete_before(
    transaction: &Transaction<'_>,
    table: &str,
    series: i64,
    before: i64,
    max: usize,
) -> Result<usize> {
    let last = format!(
        "SELECT max(time) FROM (SELECT time FROM {table} WHERE series = ? AND time < ? ORDER BY time LIMIT ?)"
    );
    let last = find(transaction, &last, (series, before, count(max)), |row| row.get::<_, Option<i64>>(0))?;
    let Some(last) = last.flatten() else { return Ok(0) };
    let delete = format!("DELETE FROM {table} WHERE series = ? AND time <= ?");
    change(transaction, &delete, (series, last))
}

/// Deletes boots that have sent nothing since a time, except those of the latest sample of a series: a node that was
/// away for long first sends the unacknowledged samples again.
fn delete_boots(transaction: &Transaction<'_>, before: Option<i64>) -> Result<usize> {
    let Some(before) = before else { return Ok(0) };
    let boots = "SELECT id FROM boots WHERE received < ? AND NOT EXISTS
        (SELECT 1 FROM series WHERE series.node = boots.node AND series.boot = boots.id) LIMIT ?";
    let boots: Vec<i64> = rows(transaction, boots, (before, count(MAX_BOOTS)), |row| row.get(0))?;
    boots.iter().try_for_each(|boot| delete_boot(transaction, *boot))?;
    Ok(boots.len())
}

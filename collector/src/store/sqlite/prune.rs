//! Replacement of the reports past the retention by sums per hour.

use rusqlite::{Result, Transaction, named_params};

use super::rollups::OF_REPORT;
use super::statements::{change, count, find, rows};
use super::{fleets, latest, rollups};
use crate::interval_set::IntervalSet;
use crate::store::interface::{HOUR, Horizon, PRUNE_BATCH};

/// Replaces at most [`PRUNE_BATCH`] reports of all fleets, and returns their number.
pub(super) fn prune(transaction: &Transaction<'_>, horizon: Horizon) -> Result<usize> {
    let mut left = PRUNE_BATCH;
    for fleet in fleets::numbers(transaction)? {
        left -= prune_fleet(transaction, fleet, horizon, left)?;
        if let Some(hours) = horizon.hours {
            let hours = hours.as_microsecond();
            transaction.execute("DELETE FROM hours WHERE fleet = ? AND hour < ?", [fleet, hours])?;
        }
    }
    if left < PRUNE_BATCH {
        latest::delete_orphans(transaction)?;
    }
    Ok(PRUNE_BATCH - left)
}

/// Replaces at most `max` reports of a fleet, and returns their number.
fn prune_fleet(transaction: &Transaction<'_>, fleet: i64, horizon: Horizon, max: usize) -> Result<usize> {
    const PAST: &str = "fleet = :fleet AND (time, id) <= (:time, :id)";
    let Some(last) = last_pruned(transaction, fleet, horizon, max)? else { return Ok(0) };
    let end = named_params! { ":fleet": fleet, ":time": last.0, ":id": last.1 };
    transaction.execute(
        &format!(
            "INSERT INTO hours
             SELECT :fleet, time - time % {HOUR}, ifnull(quantity, ''), ifnull(unit, ''), count(*), ifnull(sum(mean), 0.0),
                    min(ifnull(min, mean)), max(ifnull(max, mean)), all_moments({OF_REPORT})
             FROM reports WHERE {PAST} GROUP BY 2, 3, 4
             ON CONFLICT (fleet, hour, quantity, unit) DO UPDATE SET
                reports = reports + excluded.reports, sum = ifnull(sum + excluded.sum, 0.0),
                min = min(min, excluded.min), max = max(max, excluded.max),
                moments = merge_moments(moments, excluded.moments)"
        ),
        end,
    )?;
    let mut current: Option<Line> = None;
    let mut keys = transaction.prepare(&format!(
        "SELECT epoch, ifnull(unit, ''), cycle FROM reports WHERE {PAST} AND epoch IS NOT NULL ORDER BY 1, 2, 3"
    ))?;
    let mut rows = keys.query(end)?;
    let mut cycles = IntervalSet::default();
    while let Some(row) = rows.next()? {
        let line: Line = (fleet, row.get(0)?, row.get(1)?);
        if current.as_ref() != Some(&line) {
            if let Some(before) = current {
                store_pruned_cycles(transaction, &before, &cycles)?;
            }
            cycles = pruned_cycles(transaction, &line)?;
            current = Some(line);
        }
        let cycle = row.get(2)?;
        cycles.insert(cycle, cycle);
    }
    if let Some(last) = current {
        store_pruned_cycles(transaction, &last, &cycles)?;
    }
    let pruned = transaction.execute(&format!("DELETE FROM reports WHERE {PAST}"), end)?;
    rollups::delete_until(transaction, fleet, last.0)?;
    Ok(pruned)
}

/// Returns time and id of the last report to be pruned this time.
fn last_pruned(
    transaction: &Transaction<'_>,
    fleet: i64,
    horizon: Horizon,
    max: usize,
) -> Result<Option<(i64, i64)>> {
    let last = "SELECT time, id FROM
            (SELECT time, id FROM reports WHERE fleet = ? AND time < ? ORDER BY time, id LIMIT ?)
        ORDER BY time DESC, id DESC LIMIT 1";
    let values = [fleet, horizon.reports.as_microsecond(), count(max)];
    find(transaction, last, values, |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Fleet, epoch and unit.
type Line = (i64, i64, String);

/// Returns the cycles of an epoch and unit that have been pruned already.
fn pruned_cycles(transaction: &Transaction<'_>, line: &Line) -> Result<IntervalSet> {
    let pruned = "SELECT first_cycle, last_cycle FROM pruned WHERE fleet = ? AND epoch = ? AND unit = ?";
    rows(transaction, pruned, (line.0, line.1, &line.2), |row| Ok((row.get(0)?, row.get(1)?)))
}

fn store_pruned_cycles(transaction: &Transaction<'_>, line: &Line, cycles: &IntervalSet) -> Result<()> {
    let (fleet, epoch, unit) = line;
    let delete = "DELETE FROM pruned WHERE fleet = ? AND epoch = ? AND unit = ?";
    change(transaction, delete, (fleet, epoch, unit))?;
    for (first, last) in cycles.iter() {
        let values = (fleet, epoch, unit, first, last);
        change(transaction, "INSERT INTO pruned VALUES (?, ?, ?, ?, ?)", values)?;
    }
    Ok(())
}

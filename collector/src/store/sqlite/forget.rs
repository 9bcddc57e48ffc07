//! Deletion of an epoch, or of a whole fleet or zone.

use rusqlite::{Result, Transaction};

use super::statements::count;
use super::{fleets, latest, rollups, schema};
use crate::fleet_name::FleetName;
use crate::store::interface::PRUNE_BATCH;

/// Deletes `epoch` of a fleet from the fence and all of its reports, and recomputes the sums that contained them.
pub(super) fn forget_epoch(transaction: &Transaction<'_>, fleet: &FleetName, epoch: i64) -> Result<usize> {
    let fleet = fleets::number(transaction, fleet)?;
    let steps = rollups::steps_of(transaction, fleet, epoch)?;
    let deleted = transaction.execute("DELETE FROM reports WHERE fleet = ? AND epoch = ?", [fleet, epoch])?;
    rollups::recompute(transaction, fleet, &steps)?;
    transaction.execute("DELETE FROM epochs WHERE fleet = ? AND epoch = ?", [fleet, epoch])?;
    latest::delete_orphans(transaction)?;
    latest::fill(transaction)?;
    Ok(deleted)
}

/// Deletes at most [`PRUNE_BATCH`] reports of a fleet, and returns their number. If there are none, deletes everything
/// else about the fleet.
pub(super) fn forget_fleet(transaction: &Transaction<'_>, fleet: &FleetName) -> Result<usize> {
    let number = fleets::number(transaction, fleet)?;
    let deleted = transaction.execute(
        "DELETE FROM reports WHERE id IN (SELECT id FROM reports WHERE fleet = ? ORDER BY id LIMIT ?)",
        [number, count(PRUNE_BATCH)],
    )?;
    if deleted == 0 {
        for table in schema::other_tables() {
            transaction.execute(&format!("DELETE FROM {table} WHERE fleet = ?"), [number])?;
        }
        transaction.execute("DELETE FROM fleets WHERE number = ? AND number > 0", [number])?;
    }
    Ok(deleted)
}

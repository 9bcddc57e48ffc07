//! Deletion of an epoch.

use rusqlite::Transaction;

use super::{fleets, latest, rollups};
use crate::fleet_name::FleetName;

/// Deletes `epoch` of a fleet from the fence and all of its reports, and recomputes the sums that contained them.
pub(super) fn forget_epoch(
    transaction: &Transaction<'_>,
    fleet: &FleetName,
    epoch: i64,
) -> rusqlite::Result<usize> {
    let fleet = fleets::number(transaction, fleet)?;
    let steps = rollups::steps_of(transaction, fleet, epoch)?;
    let deleted = transaction.execute("DELETE FROM reports WHERE fleet = ? AND epoch = ?", [fleet, epoch])?;
    rollups::recompute(transaction, fleet, &steps)?;
    transaction.execute("DELETE FROM epochs WHERE fleet = ? AND epoch = ?", [fleet, epoch])?;
    latest::delete_orphans(transaction)?;
    latest::fill(transaction)?;
    Ok(deleted)
}

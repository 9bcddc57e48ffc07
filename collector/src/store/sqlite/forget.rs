//! Deletion of an epoch.

use rusqlite::Transaction;

use super::{latest, rollups};

/// Deletes `epoch` from the fence and all of its reports, and recomputes the sums that contained them.
pub(super) fn forget_epoch(transaction: &Transaction<'_>, epoch: i64) -> rusqlite::Result<usize> {
    let steps = rollups::steps_of(transaction, epoch)?;
    let deleted = transaction.execute("DELETE FROM reports WHERE epoch = ?", [epoch])?;
    rollups::recompute(transaction, &steps)?;
    transaction.execute("DELETE FROM epochs WHERE epoch = ?", [epoch])?;
    latest::delete_orphans(transaction)?;
    latest::fill(transaction)?;
    Ok(deleted)
}

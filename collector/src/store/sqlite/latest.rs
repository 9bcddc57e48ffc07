//! Table `latest`: the id of the latest report of each quantity and unit of a fleet.

use rusqlite::{Result, Row, Transaction};

use super::statements::{change, find, rows};
use crate::store::recency::Recency;

/// Reads the order of the latest report of a fleet, quantity and unit.
pub(super) const READ: &str = "SELECT epoch, cycle, time, received FROM latest JOIN reports USING (id)
    WHERE latest.fleet = ? AND latest.quantity = ? AND latest.unit = ?";

/// Returns the order of the latest report of a fleet, quantity and unit; `''` stands for none.
pub(super) fn read(transaction: &Transaction<'_>, kind: (i64, &str, &str)) -> Result<Option<Recency>> {
    find(transaction, READ, kind, |row| recency(row, 0))
}

/// Makes report `id` the latest of its fleet, quantity and unit.
pub(super) fn write(
    transaction: &Transaction<'_>,
    (fleet, quantity, unit): (i64, &str, &str),
    id: i64,
) -> Result<usize> {
    let replace = "INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?)";
    change(transaction, replace, (fleet, quantity, unit, id))
}

/// Removes the rows whose report was deleted.
pub(super) fn delete_orphans(transaction: &Transaction<'_>) -> Result<usize> {
    let orphans = "DELETE FROM latest WHERE NOT EXISTS (SELECT 1 FROM reports WHERE reports.id = latest.id)";
    transaction.execute(orphans, [])
}

/// Finds the latest report of each fleet, quantity and unit that has none in the table. Reads all of their reports.
pub(super) fn fill(transaction: &Transaction<'_>) -> Result<()> {
    let missing = "SELECT fleet, quantity, unit FROM kinds EXCEPT SELECT fleet, quantity, unit FROM latest";
    let kinds: Vec<(i64, String, String)> =
        rows(transaction, missing, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for (fleet, quantity, unit) in kinds {
        let mut latest: Option<(Recency, i64)> = None;
        let mut reports = transaction.prepare_cached(
            "SELECT id, epoch, cycle, time, received FROM reports
             WHERE fleet = ? AND quantity IS nullif(?, '') AND unit IS nullif(?, '') ORDER BY id",
        )?;
        let mut rows = reports.query((fleet, &quantity, &unit))?;
        while let Some(row) = rows.next()? {
            let own = recency(row, 1)?;
            if latest.is_none_or(|(latest, _)| own.supersedes(&latest)) {
                latest = Some((own, row.get(0)?));
            }
        }
        if let Some((_, id)) = latest {
            write(transaction, (fleet, &quantity, &unit), id)?;
        }
    }
    Ok(())
}

/// Reads epoch, cycle, time and time of arrival, from column `first` on.
fn recency(row: &Row<'_>, first: usize) -> Result<Recency> {
    let (epoch, cycle): (Option<i64>, Option<i64>) = (row.get(first)?, row.get(first + 1)?);
    Ok(Recency { key: epoch.zip(cycle), time: row.get(first + 2)?, received: row.get(first + 3)? })
}

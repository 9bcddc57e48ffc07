//! Table `fleets`: the number of each fleet and zone, which stands for its name in the other tables.

use rusqlite::{Connection, Result, Row, Transaction};

use super::statements::{find, rows};
use crate::fleet_name::FleetName;

/// Number of the fleet `default`, and of all reports of earlier versions.
const DEFAULT: i64 = 0;
/// Number that no fleet has.
const UNKNOWN: i64 = -1;

/// Returns the number of a fleet; that of no fleet if the fleet has never sent a report.
pub(super) fn number(connection: &Connection, fleet: &FleetName) -> Result<i64> {
    if fleet.is_default() {
        return Ok(DEFAULT);
    }
    let number = "SELECT number FROM fleets WHERE name = ?";
    Ok(find(connection, number, [fleet.as_str()], |row| row.get(0))?.unwrap_or(UNKNOWN))
}

/// Returns the number of a fleet. Assigns one to a new fleet.
pub(super) fn assign_number(transaction: &Transaction<'_>, fleet: &FleetName) -> Result<i64> {
    match number(transaction, fleet)? {
        UNKNOWN => {
            transaction.execute("INSERT INTO fleets (name) VALUES (?)", [fleet.as_str()])?;
            Ok(transaction.last_insert_rowid())
        }
        number => Ok(number),
    }
}

/// Returns the numbers of all fleets.
pub(super) fn numbers(connection: &Connection) -> Result<Vec<i64>> {
    rows(connection, "SELECT number FROM fleets", [], |row| row.get(0))
}

/// Returns the names of all fleets, that of the default one first.
pub(super) fn names(connection: &Connection) -> Result<Vec<FleetName>> {
    let mut names: Vec<FleetName> = rows(connection, "SELECT name FROM fleets", [], name)?;
    names.sort();
    Ok(names)
}

/// Reads a name.
fn name(row: &Row<'_>) -> Result<FleetName> {
    FleetName::from_key(row.get_ref(0)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}

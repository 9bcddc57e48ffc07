//! Table `fleets`: the number of each fleet and zone, which stands for its name in the other tables.

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::fleet_name::FleetName;

/// Number of the fleet `default`, and of all reports of earlier versions.
const DEFAULT: i64 = 0;
/// Number that no fleet has.
const UNKNOWN: i64 = -1;

/// Returns the number of a fleet; that of no fleet if the fleet has never sent a report.
pub(super) fn number(connection: &Connection, fleet: &FleetName) -> rusqlite::Result<i64> {
    if fleet.is_default() {
        return Ok(DEFAULT);
    }
    let number = connection
        .prepare_cached("SELECT number FROM fleets WHERE name = ?")?
        .query_row([fleet.as_str()], |row| row.get(0))
        .optional()?;
    Ok(number.unwrap_or(UNKNOWN))
}

/// Returns the number of a fleet. Assigns one to a new fleet.
pub(super) fn assign_number(transaction: &Transaction<'_>, fleet: &FleetName) -> rusqlite::Result<i64> {
    match number(transaction, fleet)? {
        UNKNOWN => {
            transaction.execute("INSERT INTO fleets (name) VALUES (?)", [fleet.as_str()])?;
            Ok(transaction.last_insert_rowid())
        }
        number => Ok(number),
    }
}

/// Returns the numbers of all fleets.
pub(super) fn numbers(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    connection.prepare_cached("SELECT number FROM fleets")?.query_map([], |row| row.get(0))?.collect()
}

/// Returns the names of all fleets, that of the default one first.
pub(super) fn names(connection: &Connection) -> rusqlite::Result<Vec<FleetName>> {
    let mut names = connection
        .prepare_cached("SELECT name FROM fleets")?
        .query_map([], |row| name(row, 0))?
        .collect::<rusqlite::Result<Vec<FleetName>>>()?;
    names.sort();
    Ok(names)
}

/// Reads a name.
fn name(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<FleetName> {
    FleetName::from_key(row.get_ref(column)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
    })
}

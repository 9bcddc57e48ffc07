//! Statements that a connection keeps compiled.

use rusqlite::{Connection, OptionalExtension, Params, Result, Row};

/// Returns a number as SQLite represents it.
pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Executes a statement, and returns the number of changed rows.
pub(super) fn change(connection: &Connection, sql: &str, values: impl Params) -> Result<usize> {
    connection.prepare_cached(sql)?.execute(values)
}

/// Returns the first row of a query, if there is one.
pub(super) fn find<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    connection.prepare_cached(sql)?.query_row(values, read).optional()
}

/// Returns all rows of a query.
pub(super) fn rows<T, C: FromIterator<T>>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<C> {
    connection.prepare_cached(sql)?.query_map(values, read)?.collect()
}

//! Reading of measurements.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Result, Row as SqlRow, params_from_iter};

use super::super::statements::{count, rows};
use crate::measurements::{
    ClockState, FleetSummary, LatestSample, Resolution, Row, Selection, SeriesQuery, SeriesRows,
};
use crate::store::rollup::Rollup;
use crate::store::sums::{Steps, Sums};

fn timestamp(row: &SqlRow<'_>, column: usize) -> Result<Timestamp> {
    let millis = row.get(column)?;
    Timestamp::from_millisecond(millis).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, millis))
}

/// Returns the conditions of a selection, without forgotten nodes, and the values of their placeholders.
fn conditions(selection: &Selection) -> (String, Vec<Value>) {
    let Selection { fleet, node, sensor, quantity } = selection;
    let mut sql = "fleet <> ''".to_owned();
    let mut values = Vec::new();
    for (column, wanted) in [
        ("nodes.fleet", fleet),
        ("nodes.node", node),
        ("series.sensor", sensor),
        ("series.quantity", quantity),
    ] {
        if let Some(wanted) = wanted {
            sql = format!("{sql} AND {column} = ?");
            values.push(Value::from(wanted.clone()));
        }
    }
    (sql, values)
}

pub(crate) fn fleets(connection: &Connection) -> Result<Vec<FleetSummary>> {
    let sql = "SELECT fleet, count(DISTINCT nodes.id), count(*), max(received)
        FROM nodes JOIN series ON series.node = nodes.id WHERE fleet <> '' GROUP BY fleet ORDER BY fleet";
    rows(connection, sql, [], |row| {
        let (fleet, nodes, series) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(FleetSummary { fleet, nodes, series, received: timestamp(row, 3)? })
    })
}

pub(crate) fn latest(
    connection: &Connection,
    selection: &Selection,
    limit: usize,
) -> Result<Vec<LatestSample>> {
    let (conditions, mut values) = conditions(selection);
    values.push(Value::from(count(limit)));
    let sql = format!(
        "SELECT fleet, nodes.node, sensor, quantity, unit, value, time, clock, received
         FROM nodes JOIN series ON series.node = nodes.id WHERE {conditions}
         ORDER BY fleet, nodes.node, sensor, quantity LIMIT ?"
    );
    rows(connection, &sql, params_from_iter(values), |row| {
        Ok(LatestSample {
            fleet: row.get(0)?,
            node: row.get(1)?,
            sensor: row.get(2)?,
            quantity: row.get(3)?,
            unit: row.get(4)?,
            value: row.get(5)?,
            time: timestamp(row, 6)?,
            clock: ClockState::of_number(row.get(7)?),
            received: timestamp(row, 8)?,
        })
    })
}

pub(crate) fn series(connection: &Connection, query: &SeriesQuery) -> Result<Vec<SeriesRows>> {
    let (mut all, mut total) = (Vec::new(), 0);
    for selection in &query.selections {
        let (conditions, values) = conditions(selection);
        let mut selected = connection.prepare_cached(&format!(
            "SELECT fleet, nodes.node, sensor, quantity, unit, series.id
             FROM nodes JOIN series ON series.node = nodes.id WHERE {conditions}
             ORDER BY fleet, nodes.node, sensor, quantity"
        ))?;
        let mut selected = selected.query(params_from_iter(values))?;
        while total < query.max_rows
            && let Some(row) = selected.next()?
        {
            let id = row.get(5)?;
            let rows = match query.resolution {
                Resolution::Samples => samples(connection, id, query)?,
                Resolution::Step { length, .. } => steps(connection, id, query, length)?,
            };
            total += rows.len();
            all.push(SeriesRows {
                fleet: row.get(0)?,
                node: row.get(1)?,
                sensor: row.get(2)?,
                quantity: row.get(3)?,
                unit: row.get(4)?,
                rows,
            });
        }
    }
    Ok(all)
}

fn samples(connection: &Connection, series: i64, query: &SeriesQuery) -> Result<Vec<Row>> {
    let sql = "SELECT time, value, clock, boots.boot, seq
        FROM samples LEFT JOIN boots ON boots.id = samples.boot
        WHERE series = ? AND time >= ? AND time < ? ORDER BY time, samples.boot, seq LIMIT ?";
    rows(connection, sql, (series, query.from, query.to, count(query.limit)), |row| {
        let clock = ClockState::of_number(row.get(2)?);
        Ok(Row::of_sample(row.get(0)?, row.get(1)?, clock, row.get(3)?, row.get(4)?))
    })
}

fn steps(connection: &Connection, series: i64, query: &SeriesQuery, length: i64) -> Result<Vec<Row>> {
    let edge = query.edge();
    let mut steps = Steps::new(length);
    for (table, from, to) in [("sample_hours", query.from, edge), ("sample_minutes", edge, query.to)] {
        if from >= to {
            continue;
        }
        let mut statement = connection.prepare_cached(&format!(
            "SELECT time, count, sum, min, max, clock FROM {table}
             WHERE series = ? AND time >= ? AND time < ? ORDER BY time"
        ))?;
        let mut rows = statement.query((series, from, to))?;
        while steps.len() <= query.limit
            && let Some(row) = rows.next()?
        {
            let (reports, sum, min, max) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            let rollup = Rollup { reports, sum, min, max, moments: None };
            steps.add(row.get(0)?, Sums { rollup, clock: ClockState::of_number(row.get(5)?) });
        }
    }
    Ok(steps.rows(query.limit))
}

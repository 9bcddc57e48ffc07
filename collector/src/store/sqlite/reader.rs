//! Connections that read from SQLite: a few, opened on demand, with a timeout for each read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Result, Row, ToSql, params_from_iter};
use tokio::sync::Semaphore;
use tracing::warn;

use super::file::{SqliteOptions, file_id, to_store_error};
use super::statements::{count, find, rows};
use super::{fleets, rollups, schema};
use crate::fence::Epoch;
use crate::fleet_name::FleetName;
use crate::moments::Moments;
use crate::report::{Record, Report};
use crate::store::error::StoreError;
use crate::store::interface::{Cursor, Filter, Page, Sum};

/// Maximum number of concurrent reads.
const MAX_READS: usize = 4;
/// Number of instructions of SQLite's virtual machine between two checks of the timeout.
const CHECK_INTERVAL: i32 = 10_000;

/// Maximum number of quantities and units that are returned.
const MAX_KINDS: i64 = 1_000;

const COLUMNS: &str = "id, epoch, cycle, time, quantity, unit, mean, min, max, stddev, count, excluded, received, reporter, \
     aggregate";

/// Connections that are not in use.
#[derive(Debug)]
pub(super) struct Readers {
    options: SqliteOptions,
    permits: Semaphore,
    idle: Mutex<Vec<Idle>>,
    /// Last error, so that each one is logged once.
    last_error: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    file: Option<(u64, u64)>,
}

impl Readers {
    pub(super) fn new(options: SqliteOptions) -> Readers {
        Readers {
            options,
            permits: Semaphore::new(MAX_READS),
            idle: Mutex::default(),
            last_error: Mutex::default(),
        }
    }

    /// Runs `query` on a connection of its own.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(self);
        let permit = tokio::time::timeout(self.options.read_timeout, self.permits.acquire());
        let permit = permit.await.map_err(|_| StoreError::Busy)?;
        let _permit = permit.map_err(|_| StoreError::closed())?;
        let answer = tokio::task::spawn_blocking(move || readers.run(query));
        answer.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
    }

    fn run<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T, StoreError> {
        let result = self.take().and_then(|mut idle| {
            let end = Instant::now() + self.options.read_timeout;
            idle.connection.progress_handler(CHECK_INTERVAL, Some(move || Instant::now() > end))?;
            let answer = query(&idle.connection)?;
            Ok((answer, idle))
        });
        match result {
            Ok((answer, idle)) => {
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
                Ok(answer)
            }
            Err(error) => {
                let message = error.to_string();
                let mut last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
                if last_error.as_ref() != Some(&message) {
                    warn!(path = %self.options.path.display(), %error, "the store cannot be read");
                    *last_error = Some(message);
                }
                Err(to_store_error(&error))
            }
        }
    }

    fn take(&self) -> Result<Idle> {
        let file = file_id(&self.options.path);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Connections to a file that was moved away are closed.
        idle.retain(|idle| idle.file == file);
        if let Some(idle) = idle.pop() {
            return Ok(idle);
        }
        drop(idle);
        let lock_timeout = self.options.lock_timeout.min(Duration::from_secs(1));
        Ok(Idle { connection: schema::open_to_read(&self.options.path, lock_timeout)?, file })
    }

    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn timestamp(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    let micros = row.get(column)?;
    Timestamp::from_microsecond(micros).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, micros))
}

fn record(row: &Row<'_>, fleet: &FleetName) -> Result<Record> {
    Ok(Record {
        id: row.get(0)?,
        report: Report {
            fleet: fleet.clone(),
            epoch: row.get(1)?,
            cycle: row.get(2)?,
            time: timestamp(row, 3)?,
            quantity: row.get(4)?,
            unit: row.get(5)?,
            mean: row.get(6)?,
            min: row.get(7)?,
            max: row.get(8)?,
            stddev: row.get(9)?,
            count: row.get(10)?,
            excluded: row.get(11)?,
            received: timestamp(row, 12)?,
            reporter: row.get(13)?,
            aggregate: row.get(14)?,
        },
    })
}

fn records(
    connection: &Connection,
    fleet: &FleetName,
    sql: &str,
    values: impl IntoIterator<Item = impl ToSql>,
) -> Result<Vec<Record>> {
    rows(connection, sql, params_from_iter(values), |row| record(row, fleet))
}

/// Conditions, and the values of their placeholders.
#[derive(Default)]
struct Where {
    conditions: Vec<&'static str>,
    values: Vec<Value>,
}

impl Where {
    /// Returns the conditions of a filter. `fleet`: number of its fleet.
    fn of(filter: &Filter, fleet: i64, times: [&'static str; 2]) -> Where {
        let mut all = Where::kinds(filter, fleet);
        let micros = |time: Timestamp| Value::from(time.as_microsecond());
        all.add(times[0], filter.from.map(micros));
        all.add(times[1], filter.to.map(micros));
        all
    }

    /// Returns the conditions without the times.
    fn kinds(filter: &Filter, fleet: i64) -> Where {
        let mut all = Where::default();
        all.add("fleet = ?", Some(Value::from(fleet)));
        all.add("quantity = ?", filter.quantity.clone().map(Value::from));
        all.add("unit = ?", filter.unit.clone().map(Value::from));
        all
    }

    fn add(&mut self, condition: &'static str, value: Option<Value>) {
        if let Some(value) = value {
            self.conditions.push(condition);
            self.values.push(value);
        }
    }

    fn sql(&self) -> String {
        self.conditions.join(" AND ")
    }
}

pub(super) fn page(connection: &Connection, page: &Page) -> Result<Vec<Record>> {
    let fleet = &page.filter.fleet;
    let mut wanted = Where::of(&page.filter, fleets::number(connection, fleet)?, ["time >= ?", "time < ?"]);
    if let Some(Cursor { time, id }) = page.after {
        wanted.conditions.push(if page.newest_first { "(time, id) < (?, ?)" } else { "(time, id) > (?, ?)" });
        wanted.values.extend([Value::from(time), Value::from(id)]);
    }
    let order = if page.newest_first { "time DESC, id DESC" } else { "time, id" };
    let sql = format!("SELECT {COLUMNS} FROM reports WHERE {} ORDER BY {order} LIMIT ?", wanted.sql());
    wanted.values.push(Value::from(count(page.limit)));
    records(connection, fleet, &sql, wanted.values)
}

pub(super) fn since(
    connection: &Connection,
    fleet: &FleetName,
    id: i64,
    limit: usize,
) -> Result<Vec<Record>> {
    let sql = format!("SELECT {COLUMNS} FROM reports WHERE fleet = ? AND id > ? ORDER BY id LIMIT ?");
    records(connection, fleet, &sql, [fleets::number(connection, fleet)?, id, count(limit)])
}

pub(super) fn last(connection: &Connection, fleet: &FleetName, limit: usize) -> Result<Vec<Record>> {
    let sql = format!("SELECT {COLUMNS} FROM reports WHERE fleet = ? ORDER BY id DESC LIMIT ?");
    let mut last = records(connection, fleet, &sql, [fleets::number(connection, fleet)?, count(limit)])?;
    last.reverse();
    Ok(last)
}

pub(super) fn newest(connection: &Connection) -> Result<i64> {
    // Not max(id): the newest report may be past the retention.
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'reports'";
    Ok(find(connection, sql, [], |row| row.get(0))?.unwrap_or(0))
}

pub(super) fn sums(
    connection: &Connection,
    filter: &Filter,
    step: i64,
    limit: usize,
    with_moments: bool,
) -> Result<Vec<Sum>> {
    let (moments, all_moments) =
        if with_moments { ("moments", "all_moments(moments)") } else { ("NULL AS moments", "NULL") };
    let fleet = fleets::number(connection, &filter.fleet)?;
    let kinds = Where::kinds(filter, fleet);
    let hours = Where::of(filter, fleet, ["hour >= ?", "hour < ?"]);
    let mut parts = vec![format!(
        "SELECT hour AS time, quantity, unit, reports, sum, min, max, {moments} FROM hours WHERE {}",
        hours.sql()
    )];
    let mut values = vec![Value::from(step)];
    values.extend(hours.values);
    let micros = |time: Option<Timestamp>| time.map(|time| time.as_microsecond());
    for piece in rollups::pieces(micros(filter.from), micros(filter.to), step) {
        let (part, part_values) = rollups::select(&piece, &kinds.sql(), &kinds.values, with_moments);
        parts.push(part);
        values.extend(part_values);
    }
    let sql = format!(
        "SELECT time - time % ?, quantity, unit, sum(reports), ifnull(sum(sum), 0.0), min(min), max(max), {all_moments}
         FROM ({}) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT ?",
        parts.join(" UNION ALL ")
    );
    values.push(Value::from(count(limit)));
    let named = |name: String| (!name.is_empty()).then_some(name);
    rows(connection, &sql, params_from_iter(values), |row| {
        Ok(Sum {
            time: row.get(0)?,
            quantity: named(row.get(1)?),
            unit: named(row.get(2)?),
            reports: row.get(3)?,
            sum: row.get(4)?,
            min: row.get(5)?,
            max: row.get(6)?,
            moments: row.get_ref(7)?.as_blob_or_null()?.and_then(Moments::from_bytes),
        })
    })
}

pub(super) fn changes(
    connection: &Connection,
    fleet: &FleetName,
    (from, to): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<(Timestamp, i64)>> {
    // An epoch whose first report is past the retention began earlier.
    // `+` keeps SQLite from using the index of times, in which it would read all reports before the one with this key.
    let sql = "SELECT time, epoch FROM (
            SELECT epoch, (SELECT min(+time) FROM reports
                           WHERE reports.fleet = ?1 AND reports.epoch = epochs.epoch
                                 AND reports.cycle = epochs.first_cycle) AS time
            FROM epochs WHERE fleet = ?1 AND epoch > (SELECT min(epoch) FROM epochs WHERE fleet = ?1)
         ) WHERE time >= ?2 AND time < ?3 ORDER BY epoch DESC LIMIT ?4";
    let fleet = fleets::number(connection, fleet)?;
    let values = (fleet, from.as_microsecond(), to.as_microsecond(), count(limit));
    rows(connection, sql, values, |row| Ok((timestamp(row, 0)?, row.get(1)?)))
}

pub(super) fn latest(connection: &Connection, fleet: &FleetName) -> Result<Vec<Record>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM reports WHERE id IN (SELECT id FROM latest WHERE fleet = ? LIMIT ?)
         ORDER BY quantity, unit"
    );
    records(connection, fleet, &sql, [fleets::number(connection, fleet)?, MAX_KINDS])
}

pub(super) fn epochs(connection: &Connection, fleet: &FleetName, limit: usize) -> Result<Vec<Epoch>> {
    let sql = "SELECT epoch, first_cycle, last_cycle, reports, received, reporter FROM epochs
         WHERE fleet = ? ORDER BY epoch DESC LIMIT ?";
    rows(connection, sql, [fleets::number(connection, fleet)?, count(limit)], |row| {
        Ok(Epoch {
            epoch: row.get(0)?,
            first_cycle: row.get(1)?,
            last_cycle: row.get(2)?,
            reports: row.get(3)?,
            received: timestamp(row, 4)?,
            reporter: row.get(5)?,
        })
    })
}

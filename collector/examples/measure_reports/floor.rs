//! The same rows as a store writes, written without a check.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_collector::Report;
use redis::aio::MultiplexedConnection;
use rusqlite::{Connection, params};

use super::{Failure, Turn};

/// Bare database.
pub(super) enum Floor {
    Sqlite(Connection),
    Redis { connection: MultiplexedConnection, newest: i64 },
}

impl Floor {
    /// Opens a database beside that of the store, or other keys in the same Redis.
    pub(super) async fn open(name: &str) -> Result<Floor, Failure> {
        if let Some(path) = name.strip_prefix("sqlite:") {
            let connection = Connection::open(format!("{path}.floor"))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.execute_batch(
                "CREATE TABLE reports (id INTEGER PRIMARY KEY AUTOINCREMENT, fleet INTEGER, epoch INTEGER, cycle INTEGER,
                 time INTEGER, quantity TEXT, unit TEXT, mean REAL, min REAL, max REAL, stddev REAL, count INTEGER,
                 excluded INTEGER, received INTEGER, reporter TEXT) STRICT;
                 CREATE UNIQUE INDEX by_key ON reports (fleet, epoch, cycle, ifnull(unit, '')) WHERE epoch IS NOT NULL;
                 CREATE INDEX by_time ON reports (fleet, time, id);
                 CREATE INDEX by_kind ON reports (fleet, quantity, unit, time, id);
                 CREATE INDEX by_fleet ON reports (fleet);
                 CREATE TABLE sums (step INTEGER, start INTEGER, reports INTEGER, sum REAL, PRIMARY KEY (step, start));",
            )?;
            return Ok(Floor::Sqlite(connection));
        }
        let connection = redis::Client::open(name)?.get_multiplexed_async_connection().await?;
        Ok(Floor::Redis { connection, newest: 0 })
    }

    /// Writes the reports of all clients together until the end of the turn. Returns the duration of each transaction.
    pub(super) async fn run(&mut self, turn: &Arc<Turn>) -> Result<Vec<Duration>, Failure> {
        let mut durations = Vec::new();
        loop {
            let mut reports = Vec::new();
            for _ in 0..turn.clients {
                let Some(cycles) = turn.next() else { return Ok(durations) };
                reports.extend(cycles.map(|cycle| turn.report(cycle)));
            }
            let begin = Instant::now();
            match self {
                Floor::Sqlite(connection) => tokio::task::block_in_place(|| insert(connection, &reports))?,
                Floor::Redis { connection, newest } => add(connection, newest, &reports).await?,
            }
            durations.push(begin.elapsed());
        }
    }
}

fn insert(connection: &mut Connection, reports: &[Report]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut row = transaction.prepare_cached(
        "INSERT INTO reports (fleet, epoch, cycle, time, quantity, unit, mean, min, max, stddev, count, excluded, received,
         reporter) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for report in reports {
        row.execute(params![
            report.epoch,
            report.cycle,
            report.time.as_microsecond(),
            report.quantity,
            report.unit,
            report.mean,
            report.min,
            report.max,
            report.stddev,
            report.count,
            report.excluded,
            report.received.as_microsecond(),
            report.reporter,
        ])?;
    }
    drop(row);
    for step in [60, 3_600] {
        let mut sum = transaction.prepare_cached(
            "INSERT INTO sums VALUES (?, ?, ?, 1.0) ON CONFLICT DO UPDATE SET reports = reports + excluded.reports",
        )?;
        let start = reports.first().map_or(0, |report| report.time.as_second() / step);
        sum.execute(params![step, start, reports.len() as i64])?;
    }
    transaction.commit()
}

async fn add(
    connection: &mut MultiplexedConnection,
    newest: &mut i64,
    reports: &[Report],
) -> Result<(), Failure> {
    let mut all = redis::pipe();
    all.atomic();
    let mut members = redis::cmd("ZADD");
    members.arg("floor:times");
    let mut keys = std::collections::BTreeMap::new();
    for report in reports {
        *newest += 1;
        let (epoch, cycle) = (report.epoch.unwrap_or_default(), report.cycle.unwrap_or_default());
        let time = report.time.as_microsecond();
        let entry = all.cmd("XADD").arg("floor:reports").arg(format!("{newest}-0"));
        entry.arg("epoch").arg(epoch).arg("cycle").arg(cycle).arg("time").arg(time);
        entry.arg("quantity").arg(&report.quantity).arg("unit").arg(&report.unit);
        entry.arg("mean").arg(report.mean).arg("min").arg(report.min).arg("max").arg(report.max);
        entry
            .arg("stddev")
            .arg(report.stddev)
            .arg("count")
            .arg(report.count)
            .arg("excluded")
            .arg(report.excluded);
        entry.arg("received").arg(report.received.as_microsecond()).arg("reporter").arg(&report.reporter);
        members.arg(0).arg(format!("{time:018}:{newest:016}:1"));
        let key = keys.entry((epoch, cycle / 100)).or_insert_with(|| {
            let mut key = redis::cmd("HSET");
            key.arg(format!("floor:keys:{epoch:019}:Cel:{:017}", cycle / 100));
            key
        });
        key.arg(format!("{:02}", cycle % 100)).arg(report.mean);
    }
    all.add_command(members);
    for key in keys.into_values() {
        all.add_command(key);
    }
    let hour = reports.first().map_or(0, |report| report.time.as_second() / 3_600);
    for (key, field) in [("hour", "1"), ("minutes", "12:1"), ("latest", "1")] {
        all.cmd("HSET")
            .arg(format!("floor:{key}:{hour}"))
            .arg(field)
            .arg(format!("{newest} 1234.5 20.25 31.25"));
    }
    let epoch = reports.first().and_then(|report| report.epoch).unwrap_or_default();
    all.cmd("HSET")
        .arg(format!("floor:epoch:{epoch:019}"))
        .arg("last")
        .arg(*newest)
        .arg("reports")
        .arg(*newest);
    all.cmd("HSET").arg("floor:meta").arg("newest").arg(*newest);
    all.query_async::<()>(connection).await?;
    Ok(())
}

//! Benchmark of the pages with 1,000 nodes that send a sample every five seconds, after 30 days: `cargo bench -p
//! atalaya-collector --bench month [-- NODES] [redis]`.
//!
//! The file contains what a collector with the default settings has then: the samples of 7 days, sums per minute and per
//! hour of 30 days, and reports of 30 days. It is filled by SQL, which takes minutes, and needs 8 GB. It is kept in the
//! target folder, and filled again if its newest sample is older than an hour. With `redis` the same data is in a Redis,
//! which takes 6 GB of memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]

#[path = "../tests/browser/mod.rs"]
mod browser;
mod pages;
#[path = "month/redis.rs"]
mod redis_data;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use atalaya_collector::report::Incoming;
use atalaya_collector::{RedisOptions, RedisStore, SqliteOptions, SqliteStore, Store};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use serde_json::json;

/// Seconds between two samples of a node, and between two reports.
const PERIOD: i64 = 5;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Maximum number of reports per call.
const BATCH: i64 = 4_096;

/// Fills the tables of measurements up to the current time.
fn fill_samples(path: &Path, nodes: i64, now: i64) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "synchronous", "off")?;
    connection.pragma_update(None, "cache_size", -200_000)?;
    connection.execute_batch(
        "CREATE TEMP TABLE ticks (n INTEGER PRIMARY KEY);
         WITH RECURSIVE count(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM count WHERE n < 200000)
         INSERT INTO ticks SELECT n FROM count;",
    )?;
    // Daily and hourly waves, as whole numbers of hundredths.
    let value = "(2000 + :node % 700 + abs(:time / 60000 % 1440 - 720) / 2 + abs(:time / 1000 % 3600 - 1800) / 20) / 100.0";
    let samples = format!(
        "INSERT INTO samples SELECT :node, time, :node, n, {}, 0 FROM
            (SELECT n, :from + n * :step AS time FROM ticks WHERE n <= (:to - :from) / :step)",
        value.replace(":time", "time")
    );
    let sums = |table: &str| {
        let mean = value.replace(":time", "time");
        format!(
            "INSERT INTO {table} SELECT :node, time, :count, mean * :count, mean - 0.5, mean + 0.5, 0 FROM
                (SELECT time, {mean} AS mean FROM
                    (SELECT :from + n * :step AS time FROM ticks WHERE n <= (:to - :from) / :step))"
        )
    };
    let step = PERIOD * 1_000;
    for (first, last) in (1..=nodes).step_by(50).map(|first| (first, (first + 49).min(nodes))) {
        let transaction = connection.transaction()?;
        for node in first..=last {
            let name = format!("node-{node}");
            transaction.execute(
                "INSERT INTO nodes (id, fleet, node) VALUES (?, 'default', ?)",
                params![node, name],
            )?;
            transaction.execute(
                "INSERT INTO boots (id, node, boot, received) VALUES (?1, ?1, 'b', ?2)",
                [node, now],
            )?;
            transaction.execute(
                "INSERT INTO series (id, node, sensor, quantity, unit, time, boot, value, clock, received)
                 VALUES (?1, ?1, 'roof', 'temperature', 'Cel', ?2, ?1, 21.5, 0, ?2)",
                [node, now],
            )?;
            transaction.execute("INSERT INTO marks VALUES (?1, ?1, ?2)", [node, 7 * DAY / step])?;
            let from = now - 7 * DAY;
            transaction
                .prepare_cached(&samples)?
                .execute(rusqlite::named_params! {":node": node, ":from": from, ":to": now, ":step": step})?;
            for (table, step) in [("sample_minutes", MINUTE), ("sample_hours", HOUR)] {
                let (from, count) = ((now - 30 * DAY) / step * step, step / (PERIOD * 1_000));
                transaction.prepare_cached(&sums(table))?.execute(
                    rusqlite::named_params! {":node": node, ":from": from, ":to": now, ":step": step, ":count": count},
                )?;
            }
        }
        transaction.commit()?;
    }
    Ok(())
}

async fn fill_reports(store: &impl Store, now: Timestamp) {
    let count = 30 * DAY / (PERIOD * 1_000);
    let report = |cycle: i64| {
        let time = now - SignedDuration::from_secs((count - cycle) * PERIOD);
        let mean = 21.0 + (cycle % 17_280 - 8_640).abs() as f64 / 2_000.0;
        let incoming = Incoming {
            epoch: Some(1 + cycle / 200_000),
            cycle: Some(cycle),
            time: Some(time),
            quantity: Some("temperature".to_owned()),
            unit: Some("Cel".to_owned()),
            min: Some(mean - 3.0),
            max: Some(mean + 3.0),
            stddev: Some(0.5),
            count: Some(1_000),
            excluded: Some(0),
            ..Incoming::bare(mean)
        };
        incoming.accept(None, time, Some("bench (node node-1)")).unwrap()
    };
    for first in (0..count).step_by(usize::try_from(BATCH).unwrap()) {
        store.record((first..(first + BATCH).min(count)).map(report).collect()).await.unwrap();
    }
}

/// Returns the store, filled for this number of nodes.
async fn filled(path: &Path, nodes: i64) -> SqliteStore {
    let now = Timestamp::now();
    let newest = Connection::open(path).and_then(|old| {
        old.query_row("SELECT min(time), count(*) FROM series", [], |row| Ok((row.get(0)?, row.get(1)?)))
    });
    if newest.is_ok_and(|(time, count): (Option<i64>, i64)| {
        count == nodes && time.is_some_and(|time| now.as_millisecond() - time < HOUR)
    }) {
        let store = SqliteStore::open(SqliteOptions::new(path)).unwrap();
        if store.newest().await.unwrap() == 0 {
            fill_reports(&store, now).await;
        }
        return store;
    }
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
    let began = Instant::now();
    let store = SqliteStore::open(SqliteOptions::new(path)).unwrap();
    fill_reports(&store, now).await;
    store.close().await;
    let own = path.to_owned();
    tokio::task::spawn_blocking(move || fill_samples(&own, nodes, now.as_millisecond()))
        .await
        .unwrap()
        .unwrap();
    println!("filled in {:.0?}", began.elapsed());
    SqliteStore::open(SqliteOptions::new(path)).unwrap()
}

/// Prints how many rows the file has.
fn describe(path: &Path) {
    let connection = Connection::open(path).unwrap();
    for table in ["nodes", "series", "samples", "sample_minutes", "sample_hours", "reports"] {
        let count: i64 =
            connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        println!("{table:<15} {count:>12} rows");
    }
    println!("file            {:>12} MiB", std::fs::metadata(path).unwrap().len() >> 20);
}

#[tokio::main]
async fn main() {
    let nodes = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000);
    let server = std::env::args().any(|argument| argument == "redis").then(redis_data::start);
    let store: Arc<dyn Store> = match &server {
        Some(server) => {
            let (now, began) = (Timestamp::now(), Instant::now());
            let store = RedisStore::open(RedisOptions::new(&server.url()).unwrap()).unwrap();
            fill_reports(&store, now).await;
            redis_data::fill_samples(server, nodes, now.as_millisecond()).await;
            println!("filled in {:.0?}", began.elapsed());
            redis_data::describe(server);
            Arc::new(store)
        }
        None => {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("month");
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join("reports.db");
            let store = Arc::new(filled(&path, nodes).await);
            describe(&path);
            store
        }
    };
    let served = pages::serve(store).await;
    let listed: Vec<_> = (1..=nodes.min(1_000))
        .map(|node| {
            json!({"id": format!("node-{node}"), "age": 0.5, "health": "ok",
            "readings": [{"value": 21.5, "unit": "Cel"}]})
        })
        .collect();
    let status = json!({"epoch": 1_000, "cycle": 1_000_000, "leader": "node-1", "period": 5.0, "nodes": listed,
        "more": nodes - nodes.min(1_000)});
    let sent = served.client.post(format!("{}/api/v1/fleet", served.url)).json(&status).send().await.unwrap();
    println!("fleet status: {}", sent.status());
    let pages = [
        "",
        "?range=24h",
        "?range=30d",
        "nodes",
        "nodes?range=24h",
        "nodes?range=7d",
        "nodes?range=30d",
        "nodes?sort=highest&page=10",
        "nodes?find=99",
        "node?node=node-500&range=5m",
        "node?node=node-500",
        "node?node=node-500&range=24h",
        "node?node=node-500&range=7d",
        "node?node=node-500&range=30d",
    ];
    served.measure(&pages).await;
}

//! `cargo run --release -p atalaya-collector --example measure_samples -- STORE [CLIENTS] [BATCHES]`: measures how many
//! samples a store takes from nodes that each send batches of 1,000 and wait for the answer. STORE is a name for
//! `open_store`, and should be empty. With a SQLite store, the same rows are then written to a file beside it by bare
//! rusqlite, in transactions with one batch of each client.
#![allow(clippy::print_stderr, reason = "the example has no log")]

use std::error::Error;
use std::time::{Duration, Instant};

use atalaya_collector::measurements::{ClockState, Sample, SampleBatch, SampleOutcome, SeriesName};
use atalaya_collector::{StoreError, open_store};
use rusqlite::{Connection, params};

const BATCH: i64 = 1_000;
/// Time between two samples, in milliseconds.
const PERIOD: i64 = 1_000;
const START: i64 = 1_790_000_000_000;

fn batch(client: i64, number: i64) -> SampleBatch {
    let names = ["temperature", "humidity"].map(|quantity| SeriesName {
        sensor: "outside".to_owned(),
        quantity: quantity.to_owned(),
        unit: Some("Cel".to_owned()),
    });
    let sample = |at: i64| Sample {
        series: usize::from(at % 2 == 1),
        seq: number * BATCH + at,
        time: START + (number * BATCH + at) / 2 * PERIOD,
        value: value(at),
        clock: ClockState::Synchronised,
    };
    SampleBatch {
        fleet: "home".to_owned(),
        node: format!("n{client}"),
        boot: "1".to_owned(),
        received: START,
        series: names.to_vec(),
        samples: (0..BATCH).map(sample).collect(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "small")]
fn value(at: i64) -> f64 {
    20.0 + (at % 97) as f64 / 7.0
}

fn print(what: &str, samples: i64, elapsed: Duration) {
    #[allow(clippy::cast_precision_loss, reason = "a number of samples")]
    let rate = samples as f64 / elapsed.as_secs_f64();
    println!("{what:<40} {rate:>10.0} samples a second");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        eprintln!("measure_samples STORE [CLIENTS] [BATCHES]");
        return Ok(());
    };
    let mut number = |default| arguments.next().map_or(Ok(default), |number| number.parse::<i64>());
    let (clients, batches) = (number(16)?, number(100)?);
    let samples = clients * batches * BATCH;
    let store = open_store(&name)?;
    store.check().await?;

    let begin = Instant::now();
    let all = (0..clients).map(|client| {
        let store = &store;
        async move {
            for number in 0..batches {
                let outcomes = store.measurements().add_samples(batch(client, number)).await?;
                assert!(outcomes.iter().all(|outcome| *outcome == SampleOutcome::Accepted));
            }
            Ok::<_, StoreError>(())
        }
    });
    futures_util::future::try_join_all(all).await?;
    print(&format!("the store, {clients} clients"), samples, begin.elapsed());
    store.close().await;

    let Some(path) = name.strip_prefix("sqlite:") else { return Ok(()) };
    println!("{:.1} bytes per sample", size(path)? / f64::from(u32::try_from(samples)?));
    let floor = format!("{path}.floor");
    let begin = Instant::now();
    bare(&floor, clients, batches)?;
    print("bare rusqlite, the same rows", samples, begin.elapsed());
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a size of a file")]
fn size(path: &str) -> std::io::Result<f64> {
    Ok(std::fs::metadata(path)?.len() as f64)
}

/// Writes the same rows as the store: samples, sums per minute and hour, and marks.
fn bare(path: &str, clients: i64, batches: i64) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(
        "CREATE TABLE samples (series INTEGER, time INTEGER, boot INTEGER, seq INTEGER, value REAL, clock INTEGER,
         PRIMARY KEY (series, time, boot, seq)) STRICT, WITHOUT ROWID;
         CREATE TABLE sums (series INTEGER, step INTEGER, start INTEGER, count INTEGER, sum REAL, min REAL, max REAL,
         PRIMARY KEY (series, step, start)) STRICT, WITHOUT ROWID;
         CREATE TABLE marks (series INTEGER, boot INTEGER, seq INTEGER, PRIMARY KEY (series, boot)) STRICT, WITHOUT ROWID;",
    )?;
    for number in 0..batches {
        let transaction = connection.transaction()?;
        for client in 0..clients {
            let batch = batch(client, number);
            let mut insert = transaction.prepare_cached("INSERT INTO samples VALUES (?, ?, 1, ?, ?, 0)")?;
            for sample in &batch.samples {
                let series = 2 * client + i64::try_from(sample.series).unwrap_or(0);
                insert.execute(params![series, sample.time, sample.seq, sample.value])?;
            }
            let mut sum = transaction.prepare_cached(
                "INSERT INTO sums VALUES (?, ?, ?, 60, 1.0, 1.0, 1.0) ON CONFLICT DO UPDATE SET
                 count = count + excluded.count, sum = sum + excluded.sum, min = min(min, excluded.min),
                 max = max(max, excluded.max)",
            )?;
            let mut mark = transaction.prepare_cached("INSERT OR REPLACE INTO marks VALUES (?, 1, ?)")?;
            let (first, last) = (batch.samples[0].time, batch.samples[batch.samples.len() - 1].time);
            for series in [2 * client, 2 * client + 1] {
                for step in [60_000, 3_600_000] {
                    for start in first / step..=last / step {
                        sum.execute(params![series, step, start])?;
                    }
                }
                mark.execute(params![series, number])?;
            }
        }
        transaction.commit()?;
    }
    Ok(())
}

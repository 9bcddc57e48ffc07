//! `cargo run --release -p atalaya-collector --example measure_samples -- STORE [CLIENTS] [BATCHES] [SAMPLES]`: measures
//! how many samples a collector accepts from nodes that each send batches, of 1,000 by default, and wait for the answer.
//! STORE is a name for `open_store`, and should be empty; or it is the URL of another server with the same API. Of a store
//! it measures the store alone, and then `POST /api/v1/measurements`. The same rows are then written to a file beside that
//! of SQLite by bare rusqlite, or to other keys of the same Redis by bare pipelines, in transactions with one batch of each
//! client, with the same durability.
#![allow(clippy::print_stderr, reason = "the example has no log")]

use std::error::Error;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use atalaya_collector::measurements::{ClockState, Sample, SampleBatch, SampleOutcome, SeriesName};
use atalaya_collector::{Collector, Limits, Options, Store, open_store};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use serde_json::json;
use tokio_rustls::rustls::crypto::ring;
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn Error + Send + Sync>;

/// Number of samples in a batch.
static BATCH: LazyLock<i64> =
    LazyLock::new(|| std::env::args().nth(4).and_then(|number| number.parse().ok()).unwrap_or(1_000));
/// Time between two samples, in milliseconds.
const PERIOD: i64 = 1_000;
/// Time of the first sample: a day ago, so that none is past the retention, and none in the future with the usual number
/// of batches.
static START: LazyLock<i64> =
    LazyLock::new(|| (Timestamp::now() - SignedDuration::from_hours(24)).as_millisecond() / 60_000 * 60_000);

fn batch(client: i64, number: i64) -> SampleBatch {
    let names = ["temperature", "humidity"].map(|quantity| SeriesName {
        sensor: "outside".to_owned(),
        quantity: quantity.to_owned(),
        unit: Some("Cel".to_owned()),
    });
    let sample = |at: i64| Sample {
        series: usize::from(at % 2 == 1),
        seq: number * *BATCH + at,
        time: *START + (number * *BATCH + at) / 2 * PERIOD,
        value: value(at),
        clock: ClockState::Synchronised,
    };
    SampleBatch {
        fleet: "home".to_owned(),
        node: format!("n{client}"),
        boot: "1".to_owned(),
        received: *START,
        series: names.to_vec(),
        samples: (0..*BATCH).map(sample).collect(),
    }
}

fn value(at: i64) -> f64 {
    20.0 + (at % 97) as f64 / 7.0
}

fn print(what: &str, samples: i64, elapsed: Duration) {
    let rate = samples as f64 / elapsed.as_secs_f64();
    println!("{what:<40} {rate:>10.0} samples a second");
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        eprintln!("measure_samples STORE [CLIENTS] [BATCHES] [SAMPLES]");
        return Ok(());
    };
    let mut number = |default| arguments.next().map_or(Ok(default), |number| number.parse::<i64>());
    let (clients, batches) = (number(16)?, number(100)?);
    let samples = clients * batches * *BATCH;
    if name.starts_with("http://") {
        let elapsed = post(&name, clients, batches).await?;
        print(&format!("POST /api/v1/measurements, {clients} clients"), samples, elapsed);
        return Ok(());
    }
    let store = open_store(&name)?;
    store.check().await?;
    let elapsed = add(&store, clients, batches).await?;
    print(&format!("the store, {clients} clients"), samples, elapsed);

    let limits = Limits { rate: f64::MAX, burst: f64::MAX, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let collector = Collector::bind("127.0.0.1:0", Arc::clone(&store), options).await?;
    let (url, stop) = (format!("http://{}", collector.address()?), CancellationToken::new());
    let running = tokio::spawn(collector.run(stop.clone()));
    let elapsed = post(&url, clients, batches).await?;
    print(&format!("POST /api/v1/measurements, {clients} clients"), samples, elapsed);
    stop.cancel();
    running.await?;
    store.close().await;

    if name.starts_with("redis") {
        let elapsed = bare_redis(&name, clients, batches).await?;
        print("bare Redis, the same rows", samples, elapsed);
    }
    let Some(path) = name.strip_prefix("sqlite:") else { return Ok(()) };
    println!("{:.1} bytes per sample", size(path)? / f64::from(u32::try_from(2 * samples)?));
    let floor = format!("{path}.floor");
    let begin = Instant::now();
    bare(&floor, clients, batches)?;
    print("bare rusqlite, the same rows", samples, begin.elapsed());
    Ok(())
}

/// Adds the batches of all clients to a store, and returns the duration.
async fn add(store: &Arc<dyn Store>, clients: i64, batches: i64) -> Result<Duration, Failure> {
    let begin = Instant::now();
    let all = (0..clients).map(|client| async move {
        for number in 0..batches {
            let outcomes = store.measurements().add_samples(batch(client, number)).await?;
            assert!(outcomes.iter().all(|outcome| *outcome == SampleOutcome::Accepted));
        }
        Ok::<_, Failure>(())
    });
    futures_util::future::try_join_all(all).await?;
    Ok(begin.elapsed())
}

/// Posts the batches of all clients as a fleet of its own, and returns the duration.
async fn post(url: &str, clients: i64, batches: i64) -> Result<Duration, Failure> {
    let bodies = |client| (0..batches).map(|number| body(&batch(client, number))).collect::<Vec<_>>();
    let bodies: Vec<Vec<Vec<u8>>> = (0..clients).map(bodies).collect();
    let begin = Instant::now();
    // reqwest takes the process-wide provider; this fails if it is set already.
    let _ = ring::default_provider().install_default();
    let all = bodies.into_iter().map(|bodies| {
        let url = format!("{url}/api/v1/measurements");
        tokio::spawn(async move {
            let client = reqwest::Client::builder().no_proxy().build()?;
            for body in bodies {
                let request = client.post(&url).header("content-type", "application/json").body(body);
                let result: serde_json::Value = request.send().await?.error_for_status()?.json().await?;
                assert_eq!(result["accepted"], *BATCH, "{result}");
            }
            Ok::<_, Failure>(())
        })
    });
    for sent in futures_util::future::try_join_all(all).await? {
        sent?;
    }
    Ok(begin.elapsed())
}

/// Formats a batch as a node sends it.
fn body(batch: &SampleBatch) -> Vec<u8> {
    let sample = |sample: &Sample| {
        let SeriesName { sensor, quantity, unit } = &batch.series[sample.series];
        json!({"seq": sample.seq, "sensor": sensor, "quantity": quantity, "unit": unit, "value": sample.value,
            "time_ms": sample.time, "clock": sample.clock})
    };
    let samples: Vec<_> = batch.samples.iter().map(sample).collect();
    json!({"fleet": "post", "node": batch.node, "boot": batch.boot, "samples": samples})
        .to_string()
        .into_bytes()
}

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

/// Writes the same rows as the store, and returns the duration.
async fn bare_redis(name: &str, clients: i64, batches: i64) -> Result<Duration, Failure> {
    const RECORD: usize = 29;
    let mut connection = redis::Client::open(name)?.get_multiplexed_async_connection().await?;
    let begin = Instant::now();
    for number in 0..batches {
        let mut rows = redis::pipe();
        rows.atomic();
        for client in 0..clients {
            let batch = batch(client, number);
            let (first, last) = (batch.samples[0].time, batch.samples[batch.samples.len() - 1].time);
            let text = "60 1234.5 20.25 31.25 0";
            for series in 0..2 {
                let of_series: Vec<_> =
                    batch.samples.iter().filter(|sample| sample.series == series).collect();
                let id = format!("{client}.{series}");
                for hour in first / 3_600_000..=last / 3_600_000 {
                    let count = of_series.iter().filter(|sample| sample.time / 3_600_000 == hour).count();
                    rows.cmd("APPEND")
                        .arg(format!("floor:raw:{id}:{hour}"))
                        .arg(vec![0x55_u8; count * RECORD]);
                    rows.cmd("ZADD").arg(format!("floor:minutes:{id}")).arg(hour).arg(hour);
                    rows.cmd("HSET").arg(format!("floor:hours:{id}")).arg(hour).arg(text);
                }
                for minute in first / 60_000..=last / 60_000 {
                    let key = format!("floor:minutes:{id}:{}", minute / 60);
                    rows.cmd("HSET").arg(key).arg(minute % 60).arg(text);
                }
                rows.cmd("HSET").arg(format!("floor:latest:{client}")).arg(series).arg(text);
                rows.cmd("HSET").arg(format!("floor:marks:{client}")).arg(series).arg(number);
            }
            rows.cmd("HSET").arg(format!("floor:boots:{client}")).arg("1").arg(number);
        }
        rows.query_async::<()>(&mut connection).await?;
    }
    Ok(begin.elapsed())
}

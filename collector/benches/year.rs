//! Benchmark of the page with a year of reports, one every five seconds: `cargo bench -p atalaya-collector --bench
//! year`.
//!
//! The file is kept in the target folder and filled again if it is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]

#[path = "../tests/browser/mod.rs"]
mod browser;
mod pages;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use atalaya_collector::report::{Incoming, Report};
use atalaya_collector::{SqliteOptions, SqliteStore, Store};
use jiff::{SignedDuration, Timestamp};

/// Seconds between two reports.
const PERIOD: i64 = 5;
const REPORTS: i64 = 365 * 86_400 / PERIOD;
/// Maximum number of reports per call.
const BATCH: i64 = 4_096;
const PAGES: [&str; 6] = ["?range=5m", "?range=1h", "?range=24h", "?range=7d", "?range=30d", "?range=1y"];

fn report(cycle: i64, start: Timestamp) -> Report {
    let days = (cycle * PERIOD) as f64 / 86_400.0;
    let turn = std::f64::consts::TAU;
    let mean = 18.0 - 7.0 * (days / 365.0 * turn).cos() + 3.0 * (days * turn).sin();
    let noise = f64::from(u32::try_from(cycle * 7_919 % 1_000).unwrap()) / 2_000.0;
    let incoming = Incoming {
        epoch: Some(1 + cycle / 600_000),
        cycle: Some(cycle),
        time: Some(start + SignedDuration::from_secs(cycle * PERIOD)),
        quantity: Some("temperature".to_owned()),
        unit: Some("Cel".to_owned()),
        min: Some(mean - 1.0 - noise),
        max: Some(mean + 1.0 + noise),
        stddev: Some(0.5),
        count: Some(12),
        excluded: Some(0),
        ..Incoming::bare(mean + noise)
    };
    incoming.accept(None, start + SignedDuration::from_secs(cycle * PERIOD), Some("bench")).unwrap()
}

async fn fill(store: &SqliteStore) {
    if store.newest().await.unwrap_or(0) >= REPORTS {
        return;
    }
    let start = Timestamp::now() - SignedDuration::from_secs(REPORTS * PERIOD);
    let began = Instant::now();
    for first in (0..REPORTS).step_by(usize::try_from(BATCH).unwrap()) {
        let batch = (first..(first + BATCH).min(REPORTS)).map(|cycle| report(cycle, start)).collect();
        store.record(batch).await.unwrap();
    }
    let rate = REPORTS as f64 / began.elapsed().as_secs_f64();
    println!("{REPORTS} reports in {:.0?}, {rate:.0} a second", began.elapsed());
}

#[tokio::main]
async fn main() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("year");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("reports.db");
    let store = Arc::new(SqliteStore::open(SqliteOptions::new(&path)).unwrap());
    fill(&store).await;
    println!("{} MiB", std::fs::metadata(&path).unwrap().len() >> 20);
    pages::serve(store).await.measure(&PAGES).await;
}

//! Benchmark of the page with a year of reports, one every five seconds: `cargo bench -p atalaya-collector --bench
//! year`.
//!
//! The file is kept in the target folder and filled again if it is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]

#[path = "../tests/browser/mod.rs"]
mod browser;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_collector::report::{Incoming, Report};
use atalaya_collector::{Collector, Options, SqliteOptions, SqliteStore, Store};
use browser::Page;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

/// Seconds between two reports.
const PERIOD: i64 = 5;
const REPORTS: i64 = 365 * 86_400 / PERIOD;
/// Maximum number of reports per call.
const BATCH: i64 = 4_096;
const RANGES: [&str; 6] = ["5m", "1h", "24h", "7d", "30d", "1y"];

fn report(cycle: i64, start: Timestamp) -> Report {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
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
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = REPORTS as f64 / began.elapsed().as_secs_f64();
    println!("{REPORTS} reports in {:.0?}, {rate:.0} a second", began.elapsed());
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[tokio::main]
async fn main() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("year");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("reports.db");
    let store = Arc::new(SqliteStore::open(SqliteOptions::new(&path)).unwrap());
    fill(&store).await;
    println!("{} MiB", std::fs::metadata(&path).unwrap().len() >> 20);
    let collector = Collector::bind("127.0.0.1:0", store, Options::default()).await.unwrap();
    let url = format!("http://{}", collector.address().unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(collector.run(stop.clone()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    println!("range   HTML ms   KiB   first paint ms   (medians)");
    let page = Page::new(&[]).await;
    for range in RANGES {
        let address = format!("{url}/?range={range}&lang=en");
        let (mut html, mut paints, mut size) = (Vec::new(), Vec::new(), 0);
        for _ in 0..11 {
            let asked = Instant::now();
            size = client.get(&address).send().await.unwrap().bytes().await.unwrap().len();
            html.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        for _ in 0..5 {
            page.devtools("Network.clearBrowserCache", serde_json::json!({})).await;
            page.open(&address).await;
            let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
            page.wait_for(paint).await;
            paints.push(page.evaluate(paint).await.as_f64().unwrap());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("{range:<5} {:>9.1} {:>5} {:>16.0}", median(html), size >> 10, median(paints));
    }
    page.quit().await;
    stop.cancel();
    running.await.unwrap();
}

//! `cargo run --release -p atalaya-collector --example measure -- STORE [REPORTS]`: measures the speed of a store with this
//! number of reports of three units, one cycle every 5 s. STORE is a name for `open_store`, and should be empty.
#![allow(clippy::print_stderr, reason = "the example has no log")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_collector::store::{Filter, Horizon, Page};
use atalaya_collector::{FleetName, Report, Store, open_store};
use jiff::{SignedDuration, Timestamp};

const UNITS: [&str; 3] = ["Cel", "%RH", "Pa"];

fn report(number: i64, start: Timestamp) -> Report {
    let cycle = number / 3;
    let time = start + SignedDuration::from_secs(5 * cycle);
    let mean = 20.0 + (number % 1_000) as f64 / 7.0;
    Report {
        epoch: Some(1 + cycle / 10_000),
        cycle: Some(cycle),
        quantity: Some("something".to_owned()),
        unit: usize::try_from(number % 3)
            .ok()
            .and_then(|unit| UNITS.get(unit))
            .map(|unit| (*unit).to_owned()),
        min: Some(mean - 1.0),
        max: Some(mean + 1.0),
        stddev: Some(0.5),
        count: Some(5),
        excluded: Some(0),
        reporter: Some("atalaya/0.1.0 (node 1)".to_owned()),
        ..Report::bare(mean, time)
    }
}

fn print(what: &str, elapsed: Duration) {
    println!("{what:<60} {:>10.1} ms", elapsed.as_secs_f64() * 1e3);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        eprintln!("measure STORE [REPORTS]");
        return Ok(());
    };
    let count: i64 = arguments.next().map_or(Ok(1_000_000), |count| count.parse())?;
    let store = open_store(&name)?;
    store.check().await?;
    let start: Timestamp = "2026-01-01T00:00:00Z".parse()?;
    let end = start + SignedDuration::from_secs(5 * count / 3);

    let begin = Instant::now();
    for first in (0..count).step_by(1_000) {
        store.record((first..count.min(first + 1_000)).map(|number| report(number, start)).collect()).await?;
    }
    print(&format!("{count} reports, 1000 a call"), begin.elapsed());
    one_by_one(&store, count, start).await?;
    queries(&store, start, end).await?;

    let begin = Instant::now();
    let middle = start + SignedDuration::from_secs(5 * count / 6);
    let mut longest = Duration::ZERO;
    let mut pruned = 0;
    loop {
        let call = Instant::now();
        let now = store.prune(Horizon { reports: middle, hours: None }).await?;
        longest = longest.max(call.elapsed());
        pruned += now;
        if now == 0 {
            break;
        }
    }
    print(&format!("half of it summed up: {pruned}"), begin.elapsed());
    print("  the longest call of them", longest);
    queries(&store, start, end).await?;
    store.close().await;
    Ok(())
}

/// Records reports as nodes do: each client waits for its answer.
async fn one_by_one(store: &Arc<dyn Store>, count: i64, start: Timestamp) -> Result<(), Box<dyn Error>> {
    for clients in [1, 8, 64] {
        let begin = Instant::now();
        let calls = 2_000;
        let first = count + 3_000 * clients;
        let all = (0..clients).map(|client| async move {
            for number in (first + client..first + calls).step_by(usize::try_from(clients).unwrap_or(1)) {
                store.record(vec![report(number, start)]).await?;
            }
            Ok::<_, atalaya_collector::StoreError>(())
        });
        futures_util::future::try_join_all(all).await?;
        print(&format!("{calls} reports, one a call, {clients} at a time"), begin.elapsed());
    }
    Ok(())
}

async fn queries(store: &Arc<dyn Store>, start: Timestamp, end: Timestamp) -> Result<(), Box<dyn Error>> {
    let day = end - SignedDuration::from_hours(24);
    let filter = |from| Filter { from: Some(from), to: Some(end), ..Filter::default() };
    for (what, from, step) in [
        ("everything by the day", start, 86_400),
        ("everything by the hour", start, 3_600),
        ("everything by 90 minutes and 7 seconds", start, 5_407),
        ("the last day by 5 minutes", day, 300),
        ("the last hour by 10 seconds", end - SignedDuration::from_hours(1), 10),
    ] {
        let begin = Instant::now();
        match store.series(filter(from), step * 1_000_000, 5_001).await {
            Ok(points) => print(&format!("{what}: {} points", points.len()), begin.elapsed()),
            Err(error) => println!("{what}: {error}"),
        }
    }
    let of_unit = |unit: &str| Filter { unit: Some(unit.to_owned()), ..filter(start) };
    for (what, filter) in [
        ("the newest 1000", filter(start)),
        ("the newest 1000 of one unit", of_unit("Pa")),
        ("1000 of an unknown unit", of_unit("lx")),
    ] {
        let begin = Instant::now();
        store.page(Page { filter, after: None, newest_first: true, limit: 1_000 }).await?;
        print(what, begin.elapsed());
    }
    let begin = Instant::now();
    store.latest(&FleetName::default()).await?;
    print("the latest of each unit", begin.elapsed());
    Ok(())
}

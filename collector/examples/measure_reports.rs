//! `cargo run --release -p atalaya-collector --example measure_reports -- ROUNDS NAME...`: measures how many reports a
//! collector accepts from clients that each wait for the answer to a request. A name is one for `open_store`, of an empty
//! store, or the URL of another server with the same API. Of a store it measures `POST /api/v1/reports`, the store alone, and
//! the floor: the same rows written by bare rusqlite, or by pipelines of Redis in a transaction, with the same durability
//! and with the reports of all clients together. All of them have turns of a second, in the same and then in reverse order.
//! Of a Redis it also prints its processor time per report, which hardly depends on other load of the machine.
#![allow(clippy::print_stderr, reason = "the example has no log")]

#[path = "measure_reports/floor.rs"]
mod floor;
#[path = "measure_reports/http.rs"]
mod http;

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use atalaya_collector::store::Outcome;
use atalaya_collector::{Collector, Limits, Options, Report, Store, open_store};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use self::floor::Floor;

type Failure = Box<dyn Error + Send + Sync>;

/// Numbers of clients, and of reports in a request.
const LOADS: [(usize, usize); 6] = [(1, 1), (16, 1), (64, 1), (256, 1), (1, 100), (16, 100)];
const TURN: Duration = Duration::from_secs(1);

/// Load of a turn. Each turn has an epoch of its own, so that its cycles are new.
struct Turn {
    clients: usize,
    reports: usize,
    epoch: i64,
    cycles: AtomicI64,
    end: Instant,
}

impl Turn {
    /// Returns the cycles of the next request, or `None` at the end of the turn.
    fn next(&self) -> Option<std::ops::Range<i64>> {
        let count = i64::try_from(self.reports).unwrap_or(i64::MAX);
        let first = self.cycles.fetch_add(count, Ordering::Relaxed);
        (Instant::now() < self.end).then_some(first..first + count)
    }

    fn report(&self, cycle: i64) -> Report {
        let mean = 70.0 + (cycle % 1_000) as f64 / 64.0;
        let now = Timestamp::now();
        Report {
            epoch: Some(self.epoch),
            cycle: Some(cycle),
            quantity: Some("temperature".to_owned()),
            unit: Some("Cel".to_owned()),
            min: Some(mean - 1.0),
            max: Some(mean + 1.0),
            stddev: Some(0.5),
            count: Some(3),
            excluded: Some(0),
            reporter: Some("atalaya/0.1.0 (node 1)".to_owned()),
            time: now - SignedDuration::from_hours(1),
            ..Report::bare(mean, now)
        }
    }
}

/// Subject of the measurement.
enum Subject {
    Server(SocketAddr),
    Store(Arc<dyn Store>),
    Floor(Floor),
}

impl Subject {
    /// Sends reports until the end of the turn. Returns the duration of each request, or round trip.
    async fn run(&mut self, turn: &Arc<Turn>) -> Result<Vec<Duration>, Failure> {
        let mut clients = Vec::new();
        match self {
            Subject::Floor(floor) => return floor.run(turn).await,
            Subject::Server(address) => {
                for _ in 0..turn.clients {
                    clients.push(tokio::spawn(http::post(*address, Arc::clone(turn))));
                }
            }
            Subject::Store(store) => {
                for _ in 0..turn.clients {
                    clients.push(tokio::spawn(record(Arc::clone(store), Arc::clone(turn))));
                }
            }
        }
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.await??);
        }
        Ok(all)
    }
}

async fn record(store: Arc<dyn Store>, turn: Arc<Turn>) -> Result<Vec<Duration>, Failure> {
    let mut durations = Vec::new();
    while let Some(cycles) = turn.next() {
        let reports = cycles.map(|cycle| turn.report(cycle)).collect();
        let begin = Instant::now();
        let outcomes = store.record(reports).await?;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Recorded(_))), "{outcomes:?}");
        durations.push(begin.elapsed());
    }
    Ok(durations)
}

/// Results of the turns of one subject with one load.
#[derive(Clone, Default)]
struct Results {
    /// Reports per second.
    rates: Vec<f64>,
    /// Medians of the durations of requests, in milliseconds.
    medians: Vec<f64>,
    /// Processor time of Redis per report, in microseconds.
    redis_times: Vec<f64>,
}

impl fmt::Display for Results {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            values
        };
        let (rates, medians, times) = (sorted(&self.rates), sorted(&self.medians), sorted(&self.redis_times));
        let (low, middle, high) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
        write!(formatter, "{middle:>8.0} ({low:.0} - {high:.0}), {:.2} ms", medians[medians.len() / 2])?;
        times.get(times.len() / 2).map_or(Ok(()), |time| write!(formatter, ", {time:.1} µs of Redis"))
    }
}

/// Returns the processor time of a Redis so far, in seconds, or `None` if the name is not that of a Redis.
async fn redis_time(name: &str) -> Result<Option<f64>, Failure> {
    let Some((_, url)) = name.split_once(", ").filter(|(_, url)| url.starts_with("redis")) else {
        return Ok(None);
    };
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let text: String = redis::cmd("INFO").arg("cpu").query_async(&mut connection).await?;
    let times = ["used_cpu_user:", "used_cpu_sys:"].map(|name| {
        let time = text.lines().find_map(|line| line.strip_prefix(name))?;
        time.trim().parse::<f64>().ok()
    });
    Ok(times.into_iter().sum())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = match arguments.next() {
        Some(rounds) => rounds.parse()?,
        None => return Err("measure_reports ROUNDS NAME...".into()),
    };
    let stop = CancellationToken::new();
    let mut subjects: Vec<(String, Subject)> = Vec::new();
    for name in arguments {
        if let Some(server) = name.strip_prefix("http://") {
            subjects.push((format!("POST, {name}"), Subject::Server(server.parse()?)));
            continue;
        }
        let store = open_store(&name)?;
        store.check().await?;
        let (connections, rate) = (1_024, f64::MAX);
        let limits =
            Limits { connections, connections_of_one: connections, rate, burst: rate, ..Limits::default() };
        let options = Options { limits, ..Options::default() };
        let collector = Collector::bind("127.0.0.1:0", Arc::clone(&store), options).await?;
        subjects.push((format!("POST, {name}"), Subject::Server(collector.address()?)));
        tokio::spawn(collector.run(stop.clone()));
        subjects.push((format!("store, {name}"), Subject::Store(store)));
        subjects.push((format!("floor, {name}"), Subject::Floor(Floor::open(&name).await?)));
    }
    let mut epoch = Timestamp::now().as_second() - 10_000;
    let mut results = vec![vec![Results::default(); subjects.len()]; LOADS.len()];
    for round in 0..rounds {
        for ((clients, reports), results) in LOADS.into_iter().zip(&mut results) {
            let mut turns: Vec<_> = subjects.iter_mut().zip(results).collect();
            if round % 2 == 1 {
                turns.reverse();
            }
            for ((name, subject), results) in turns {
                epoch += 1;
                let redis_before = redis_time(name).await?;
                let (cycles, begin) = (AtomicI64::new(0), Instant::now());
                let turn = Arc::new(Turn { clients, reports, epoch, cycles, end: begin + TURN });
                let mut durations = subject.run(&turn).await.map_err(|error| format!("{name}: {error}"))?;
                let elapsed = begin.elapsed().as_secs_f64();
                durations.sort();
                // A round trip of the floor has the reports of all clients.
                let factor = if matches!(subject, Subject::Floor(_)) { clients * reports } else { reports };
                let count = (durations.len() * factor) as f64;
                results.rates.push(count / elapsed);
                if let Some((before, after)) = redis_before.zip(redis_time(name).await?) {
                    results.redis_times.push((after - before) / count * 1e6);
                }
                let median = durations.get(durations.len() / 2).copied().unwrap_or_default();
                results.medians.push(median.as_secs_f64() * 1e3);
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    for ((clients, reports), results) in LOADS.into_iter().zip(results) {
        println!(
            "{clients} clients, {reports} reports each: reports a second (range), median latency of a request"
        );
        for ((name, _), results) in subjects.iter().zip(results) {
            println!("  {name:<45} {results}");
        }
    }
    stop.cancel();
    Ok(())
}

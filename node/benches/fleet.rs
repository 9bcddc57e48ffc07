//! A fleet in lock-step in one process, for `cargo xtask bench`: when each node is told that it may go on, and when it has
//! published. Arguments: HOSTS NODES PERIOD RELEASE COUNTER CYCLES, as in `127.0.0.1:2181 1000 1s period per-cycle 30`.
//!
//! Each node has a thread and a runtime of its own, as in `atalaya demo`. Once all of them are averaged it watches so many
//! closings of the barrier and prints one line of JSON: for each of them, in nanoseconds, how long it was from the first node
//! that was told to the last (`skew`), to the last that had published (`published`), and to the first that was told of the
//! next one (`cycle`); and how many were told and published in time (`told`, `in_time`: the fewest).
//!
//! By hand: `cargo bench -p atalaya --bench fleet -- 127.0.0.1:2181 100 1s period off 30`.
#![allow(clippy::print_stderr, reason = "a program of its own")]

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use atalaya::model::node_id::NodeId;
use atalaya::node::Node;
use atalaya::settings::FleetArgs;
use atalaya::settings::{Env, Settings};
use atalaya_hal::Boards;
use serde_json::json;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

const STACK: usize = 2 * 1024 * 1024;
/// Longer than a busy machine lets a client wait.
const SESSION_TIMEOUT: &str = "40s";
/// Until all are there, and between two closings.
const PATIENCE: Duration = Duration::from_secs(240);
const BOARDS: &str = r#"
[boards.bench]
backend = "sim"
sensors = [{ name = "s", chip = "random" }]
"#;

/// One closing of the barrier.
#[derive(Clone, Copy)]
struct Closing {
    first: Instant,
    last: Instant,
    told: usize,
    published: Option<Instant>,
    in_time: usize,
}

/// What the nodes said, by the number of the closing.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<i64, Closing>>>);

impl Told {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<i64, Closing>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The number that an event carries.
#[derive(Default)]
struct Number {
    over: Option<i64>,
    zxid: Option<i64>,
}

impl Visit for Number {
    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            "released" => self.over = Some(value),
            "zxid" => self.zxid = Some(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (now, mut number) = (Instant::now(), Number::default());
        event.record(&mut number);
        self.with(|closings| {
            if let Some(over) = number.over {
                let new = Closing { first: now, last: now, told: 0, published: None, in_time: 0 };
                let closing = closings.entry(over).or_insert(new);
                (closing.last, closing.told) = (now, closing.told + 1);
            } else if let Some(zxid) = number.zxid
                && let Some((_, closing)) = closings.range_mut(..zxid).next_back()
            {
                (closing.published, closing.in_time) = (Some(now), closing.in_time + 1);
            }
        });
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).take_while(|word| word != "--bench").collect();
    let [hosts, nodes, period, release, counter, cycles] = &arguments[..] else {
        println!("run this as `cargo xtask bench`, or with arguments: see the top of its source");
        return Ok(());
    };
    let (nodes, cycles): (usize, usize) = (nodes.parse()?, cycles.parse()?);
    let told = Told::default();
    let only = Targets::new().with_target(atalaya::model::barrier::LOG_TARGET, LevelFilter::DEBUG);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(only).with(told.clone()))?;

    let boards = Boards::parse(BOARDS, "the bench's boards").map_err(|error| anyhow!("{error}"))?;
    let word = |word: &str| Some(word.to_owned());
    let args = FleetArgs::default()
        .with("zookeeper", hosts)
        .with("session_timeout", SESSION_TIMEOUT)
        .with("sampling_period", period)
        .with("sync", "barrier")
        .with("release", release)
        .with("counter", counter);
    let settings = Settings::assemble(&args, &boards, Env { variable: &|_| None })
        .map_err(|failure| anyhow!("{failure}"))?;
    let (averages, mut averaged) = mpsc::unbounded_channel();
    let begin = Instant::now();
    for number in 1..=nodes {
        let id = NodeId::from_str(&number.to_string()).map_err(|error| anyhow!("{error}"))?;
        let node = Node::build(id, word("bench"), &boards, settings.clone());
        let node = node.map_err(|failure| anyhow!("{failure}"))?.with_averages(averages.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let body = move || {
            let node = Box::pin(node.run(None, std::future::pending()));
            if let Err(failure) = runtime.block_on(node) {
                eprintln!("node {number}: {failure}");
            }
        };
        thread::Builder::new().name(format!("node {number}")).stack_size(STACK).spawn(body)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let mut next = async || {
            let report = tokio::time::timeout(PATIENCE, averaged.recv()).await.context("no cycle comes")?;
            report.context("nobody leads")
        };
        while next().await?.average.count < nodes {}
        let whole = begin.elapsed();
        // What was begun while they came is not counted, and the last one is not over.
        for _ in 0..2 {
            next().await?;
        }
        let from = told.with(|closings| closings.last_key_value().map(|(closing, _)| *closing));
        for _ in 0..=cycles {
            next().await?;
        }
        let closings: Vec<Closing> =
            told.with(|closings| closings.range(from.unwrap_or(0)..).map(|(_, closing)| *closing).collect());
        let nanoseconds = |of: &dyn Fn(&[Closing]) -> Option<Duration>| -> Vec<u64> {
            let pairs = closings.windows(2).take(cycles);
            pairs.filter_map(of).map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).collect()
        };
        let fewest = |of: &dyn Fn(&Closing) -> usize| closings.iter().take(cycles).map(of).min();
        println!(
            "{}",
            json!({
                "nodes": nodes,
                "whole": whole.as_secs_f64(),
                "skew": nanoseconds(&|pair| Some(pair[0].last - pair[0].first)),
                "published": nanoseconds(&|pair| Some(pair[0].published? - pair[0].first)),
                "cycle": nanoseconds(&|pair| Some(pair[1].first - pair[0].first)),
                "told": fewest(&|closing| closing.told),
                "in_time": fewest(&|closing| closing.in_time),
            })
        );
        Ok(())
    })
}

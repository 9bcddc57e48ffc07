//! A fleet in lock-step mode in one process, for `cargo xtask bench`. It measures when each node learns of the
//! release of the barrier, and when each has published. Arguments: HOSTS NODES PERIOD RELEASE COUNTER CYCLES, as in
//! `127.0.0.1:2181 1000 1s period per-cycle 30`.
//!
//! Each node has a thread and a runtime of its own, as in `atalaya demo`. After the first average of all nodes, the
//! benchmark observes CYCLES generations of the barrier and prints one line of JSON. It has the times in nanoseconds,
//! for each generation, from the first node that was notified of the release to the last one (`skew`), to the last
//! one that has published (`published`), and to the first one that was notified of the next release (`cycle`); and
//! the minimum numbers of nodes that were notified (`told`) and that published in time (`in_time`).
//!
//! Manually: `cargo bench -p atalaya --bench fleet -- 127.0.0.1:2181 100 1s period off 30`.
#![allow(clippy::print_stderr, reason = "this is a program")]

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use atalaya::model::node_id::NodeId;
use atalaya::model::report::Report;
use atalaya::node::Node;
use atalaya::settings::FleetArgs;
use atalaya::settings::{Env, Settings};
use atalaya_config::Boards;
use serde_json::json;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

const STACK: usize = 2 * 1024 * 1024;
/// Longer than a client waits on a busy machine.
const SESSION_TIMEOUT: &str = "40s";
/// Timeout until all nodes are averaged, and between two averages.
const TIMEOUT: Duration = Duration::from_secs(240);
const BOARDS: &str = r#"
[boards.bench]
backend = "sim"
sensors = [{ name = "s", chip = "random" }]
"#;

/// One generation of the barrier.
#[derive(Clone, Copy)]
struct Generation {
    /// Time at which the first node was notified of the release.
    first_notified: Instant,
    /// Time at which the last node was notified.
    last_notified: Instant,
    notified: usize,
    /// Time at which the last node has published.
    last_published: Option<Instant>,
    published: usize,
}

/// Generations observed in the log lines of all nodes, by their number.
#[derive(Clone, Default)]
struct Generations(Arc<Mutex<BTreeMap<i64, Generation>>>);

impl Generations {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<i64, Generation>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Numeric fields of a log line.
#[derive(Default)]
struct Fields {
    released: Option<i64>,
    zxid: Option<i64>,
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            "released" => self.released = Some(value),
            "zxid" => self.zxid = Some(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: Subscriber> Layer<S> for Generations {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (now, mut fields) = (Instant::now(), Fields::default());
        event.record(&mut fields);
        self.with(|generations| {
            if let Some(released) = fields.released {
                let generation = generations.entry(released).or_insert(Generation {
                    first_notified: now,
                    last_notified: now,
                    notified: 0,
                    last_published: None,
                    published: 0,
                });
                (generation.last_notified, generation.notified) = (now, generation.notified + 1);
            } else if let Some(zxid) = fields.zxid
                && let Some((_, generation)) = generations.range_mut(..zxid).next_back()
            {
                (generation.last_published, generation.published) = (Some(now), generation.published + 1);
            }
        });
    }
}

/// Starts a node in its own thread.
fn start_node(
    number: usize,
    boards: &Boards,
    settings: Settings,
    averages: mpsc::UnboundedSender<Report>,
) -> anyhow::Result<()> {
    let id = NodeId::from_str(&number.to_string()).map_err(|error| anyhow!("{error}"))?;
    let mut node = Node::build(id, Some("bench".to_owned()), boards, settings)?;
    node.averages = Some(averages);
    node.limits_responses = false;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = move || {
        let node = Box::pin(node.run(None, std::future::pending()));
        if let Err(error) = runtime.block_on(node) {
            eprintln!("node {number}: {error}");
        }
    };
    thread::Builder::new().name(format!("node {number}")).stack_size(STACK).spawn(body)?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).take_while(|word| word != "--bench").collect();
    let [hosts, nodes, period, release, counter, cycles] = &arguments[..] else {
        println!("run this as `cargo xtask bench`, or with arguments: see the top of its source");
        return Ok(());
    };
    let (nodes, cycles): (usize, usize) = (nodes.parse()?, cycles.parse()?);
    let generations = Generations::default();
    let only = Targets::new().with_target(atalaya::model::barrier::LOG_TARGET, LevelFilter::DEBUG);
    tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(only).with(generations.clone()),
    )?;

    let boards = Boards::parse(BOARDS, "the boards of the benchmark").map_err(|error| anyhow!("{error}"))?;
    let args = FleetArgs::default()
        .with("zookeeper", hosts)
        .with("session_timeout", SESSION_TIMEOUT)
        .with("sampling_period", period)
        .with("sync", "barrier")
        .with("release", release)
        .with("counter", counter);
    let settings = Settings::assemble(&args, &boards, Env { variable: &|_| None })
        .map_err(|failure| anyhow!("{failure}"))?;
    let (averages, mut reports) = mpsc::unbounded_channel();
    let start = Instant::now();
    for number in 1..=nodes {
        start_node(number, &boards, settings.clone(), averages.clone())?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut next = async || {
            let report =
                tokio::time::timeout(TIMEOUT, reports.recv()).await.context("no cycle was committed")?;
            report.context("all nodes have ended")
        };
        while next().await?.average.count < nodes {}
        let all_averaged = start.elapsed();
        // Skip the cycles during which the last nodes joined.
        for _ in 0..2 {
            next().await?;
        }
        let first = generations.with(|generations| generations.last_key_value().map(|(number, _)| *number));
        for _ in 0..=cycles {
            next().await?;
        }
        let observed: Vec<Generation> = generations
            .with(|generations| generations.range(first.unwrap_or(0)..).map(|(_, value)| *value).collect());
        let nanoseconds = |interval: &dyn Fn(&[Generation]) -> Option<Duration>| -> Vec<u64> {
            let pairs = observed.windows(2).take(cycles);
            pairs
                .filter_map(interval)
                .map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
                .collect()
        };
        let minimum = |count: &dyn Fn(&Generation) -> usize| observed.iter().take(cycles).map(count).min();
        println!(
            "{}",
            json!({
                "nodes": nodes,
                "whole": all_averaged.as_secs_f64(),
                "skew": nanoseconds(&|pair| Some(pair[0].last_notified - pair[0].first_notified)),
                "published": nanoseconds(&|pair| Some(pair[0].last_published? - pair[0].first_notified)),
                "cycle": nanoseconds(&|pair| Some(pair[1].first_notified - pair[0].first_notified)),
                "told": minimum(&|generation| generation.notified),
                "in_time": minimum(&|generation| generation.published),
            })
        );
        Ok(())
    })
}

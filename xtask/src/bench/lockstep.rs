//! A fleet in lock-step: from the first node that is let go to the last, and how long a cycle is.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use atalaya_testbed::{Process, ZooKeeper, guarded};
use serde_json::Value;

use super::Bench;
use super::coprocess::milliseconds;
use super::cycle::TICK;
use super::figures::{Aim, Sample, Section, Short};
use super::machine::Machine;
use super::server::servers::InMemory;

/// For so many nodes to start on a slow machine, besides the cycles.
const PATIENCE: Duration = Duration::from_secs(600);
/// Milliseconds.
const PERIOD: u32 = 1_000;

/// A fleet, and the server it is on.
#[derive(Clone, Copy)]
struct Fleet {
    nodes: u32,
    in_memory: bool,
    /// As `--counter` has it.
    counter: &'static str,
    /// As `--release` has it.
    release: &'static str,
}

/// What came out, in milliseconds.
struct Outcome {
    skew: Sample,
    published: Sample,
    cycle: Sample,
    /// Nodes that were told, and that had published, in each cycle: the fewest.
    told: u64,
    in_time: u64,
}

impl Outcome {
    /// How much longer than its period a cycle is, in percent.
    fn overhead(&self) -> f64 {
        (self.cycle.mean() - f64::from(PERIOD)) / f64::from(PERIOD) * 100.0
    }
}

pub(crate) fn measure(bench: &Bench, machine: &mut Machine) -> anyhow::Result<Vec<Section>> {
    let fleet = |nodes, in_memory, counter, release| Fleet { nodes, in_memory, counter, release };
    let (many, some) = if bench.quick { (100, 20) } else { (1_000, 100) };
    let fleets = [
        fleet(many, true, "per-cycle", "period"),
        fleet(many, false, "per-cycle", "period"),
        fleet(some, true, "per-node", "period"),
        fleet(some, false, "per-node", "period"),
        fleet(some, false, "off", "complete"),
        fleet(many, false, "off", "complete"),
    ];
    let cycles = if bench.quick { 5 } else { 40 };
    let mut outcomes = Vec::new();
    for fleet in &fleets {
        eprintln!("{} nodes in lock-step for {cycles} cycles", fleet.nodes);
        outcomes.push(match fleet.in_memory {
            true => {
                let server = InMemory::new(&bench.node)?.start()?;
                run(bench, fleet, &server.address, cycles)?
            }
            false => {
                let server = ZooKeeper::with_tick(TICK);
                machine.zookeeper(&server);
                run(bench, fleet, &server.connect_string(), cycles)?
            }
        });
    }
    Ok(vec![section(&fleets, &outcomes, cycles)])
}

fn run(bench: &Bench, fleet: &Fleet, hosts: &str, cycles: u32) -> anyhow::Result<Outcome> {
    let mut command = guarded(&bench.fleet);
    command.args([hosts, &fleet.nodes.to_string(), &format!("{PERIOD}ms"), fleet.release, fleet.counter]);
    command.arg(cycles.to_string());
    let mut process = Process::spawn(command);
    let exit = process.wait_exit(PATIENCE);
    let line = process.log().into_iter().map(|line| line.text).rfind(|text| text.starts_with('{'));
    ensure!(exit.success(), "the fleet ended with {exit}: {:?}", process.log().last());
    let answer: Value = serde_json::from_str(&line.context("the fleet says nothing")?)?;
    let sample = |name: &str| {
        let mut sample = Sample::default();
        sample.extend(milliseconds(&answer, name));
        sample
    };
    let count = |name: &str| answer[name].as_u64().unwrap_or(0);
    Ok(Outcome {
        skew: sample("skew"),
        published: sample("published"),
        cycle: sample("cycle"),
        told: count("told"),
        in_time: count("in_time"),
    })
}

fn section(fleets: &[Fleet], outcomes: &[Outcome], cycles: u32) -> Section {
    let mut rows = Vec::new();
    let mut row = |name: &str, of: &dyn Fn(&Outcome) -> String| {
        rows.push([name.to_owned()].into_iter().chain(outcomes.iter().map(of)).collect::<Vec<_>>());
    };
    let middle = |sample: &Sample| format!("**{}** ({})", Short(sample.median()), sample.middle());
    row("first to last node that is let go, ms", &|outcome| middle(&outcome.skew));
    row("  the longest, ms", &|outcome| Short(outcome.skew.ends().1).to_string());
    row("first node let go to last one published, ms", &|outcome| middle(&outcome.published));
    row("a cycle, ms: mean (smallest – largest)", &|outcome| {
        format!("**{}** ({})", Short(outcome.cycle.mean()), outcome.cycle.range())
    });
    row("nodes let go in each cycle, the fewest", &|outcome| outcome.told.to_string());
    row("nodes that published in each cycle, the fewest", &|outcome| outcome.in_time.to_string());
    let head = fleets.iter().map(|Fleet { nodes, in_memory, counter, release }| {
        let server = if *in_memory { "in memory" } else { "Apache" };
        format!("{nodes} nodes, {server}, counted {counter}, released: {release}")
    });
    let on_time = fleets.iter().zip(outcomes).filter(|(fleet, _)| fleet.release == "period");
    let aims = on_time.flat_map(|(fleet, outcome)| {
        let server = if fleet.in_memory { "in memory" } else { "Apache" };
        let what = |of: &str| {
            format!("lock-step of {} nodes, {server}, counted {}: {of}", fleet.nodes, fleet.counter)
        };
        [
            Aim::at_most(&what("first to last node let go, median"), 50.0, " ms", outcome.skew.median()),
            Aim::at_most(&what("a cycle longer than its period"), 5.0, " %", outcome.overhead()),
        ]
    });
    Section {
        title: "A fleet in lock-step".into(),
        method: format!(
            "`node/benches/fleet`: the nodes, each with a thread, a runtime and a session of its own, in one process; the server, \
             `atalaya zookeeper` or Apache ZooKeeper, in another one. A period of {PERIOD} ms, {cycles} cycles once all of them are \
             averaged. A node is let go when the watch on the barrier has fired and its new generation is read. **Median** \
             (middle half)."
        ),
        head: [String::new()].into_iter().chain(head).collect(),
        rows,
        notes: vec![
            "Released when complete, a cycle is as long as all nodes take to measure and to publish; otherwise as long as its \
             period."
                .into(),
        ],
        aims: aims.collect(),
    }
}

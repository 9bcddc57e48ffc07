//! A fleet in lock-step: time from the first to the last node that is notified of a release, and duration of a cycle.

use std::time::Duration;

use atalaya_testbed::{Process, ZooKeeper, parent_death_command};

use super::Bench;
use super::coprocess::{last_answer, milliseconds};
use super::cycle::TICK;
use super::machine::Machine;
use super::report::{self, Section};
use super::server::servers::InMemory;
use super::stats::{Sample, ThreeDigits};
use super::targets::Target;

/// Timeout for starting all nodes on a slow machine and for all cycles.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Sampling period in milliseconds.
const PERIOD_MS: u32 = 1_000;

#[derive(Clone, Copy)]
struct Fleet {
    nodes: u32,
    in_memory: bool,
    counter: &'static str,
    release: &'static str,
}

/// Results of one fleet. Durations are in milliseconds.
struct Results {
    /// From the first to the last node that is notified of the release.
    skew: Sample,
    /// From the first node that is notified to the last one that has published.
    published: Sample,
    cycle: Sample,
    /// Minimum number of nodes that were notified in a cycle.
    min_notified: u64,
    /// Minimum number of nodes that had published in a cycle.
    min_published: u64,
}

impl Results {
    /// Returns by how many percent a cycle exceeds its period.
    fn overhead(&self) -> f64 {
        (self.cycle.mean() - f64::from(PERIOD_MS)) / f64::from(PERIOD_MS) * 100.0
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
    let mut results = Vec::new();
    for fleet in &fleets {
        eprintln!("{} nodes in lock-step for {cycles} cycles", fleet.nodes);
        results.push(match fleet.in_memory {
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
    Ok(vec![section(&fleets, &results, cycles)])
}

fn run(bench: &Bench, fleet: &Fleet, hosts: &str, cycles: u32) -> anyhow::Result<Results> {
    let mut command = parent_death_command(&bench.fleet);
    command.args([hosts, &fleet.nodes.to_string(), &format!("{PERIOD_MS}ms"), fleet.release, fleet.counter]);
    command.arg(cycles.to_string());
    let mut process = Process::spawn(command);
    let answer = last_answer(&mut process, TIMEOUT)?;
    let sample = |name: &str| milliseconds(&answer, name).into_iter().collect();
    let count = |name: &str| answer[name].as_u64().unwrap_or(0);
    Ok(Results {
        skew: sample("skew"),
        published: sample("published"),
        cycle: sample("cycle"),
        min_notified: count("told"),
        min_published: count("in_time"),
    })
}

fn section(fleets: &[Fleet], results: &[Results], cycles: u32) -> Section {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: &dyn Fn(&Results) -> String| {
        rows.push(report::row(name, results.iter().map(value)));
    };
    row("first to last node notified, ms", &|result| result.skew.with_middle_half());
    row("  maximum, ms", &|result| ThreeDigits(result.skew.min_max().1).to_string());
    row("first node notified to last one published, ms", &|result| result.published.with_middle_half());
    row("cycle, ms: mean (smallest – largest)", &|result| {
        format!("**{}** ({})", ThreeDigits(result.cycle.mean()), result.cycle.range())
    });
    row("nodes notified in a cycle, minimum", &|result| result.min_notified.to_string());
    row("nodes that published in a cycle, minimum", &|result| result.min_published.to_string());
    let head = fleets.iter().map(|Fleet { nodes, in_memory, counter, release }| {
        let server = if *in_memory { "in-memory" } else { "Apache" };
        format!("{nodes} nodes, {server}, counter {counter}, release {release}")
    });
    let periodic = fleets.iter().zip(results).filter(|(fleet, _)| fleet.release == "period");
    let targets = periodic.flat_map(|(fleet, result)| {
        let server = if fleet.in_memory { "in-memory" } else { "Apache" };
        let name = |value: &str| {
            format!("lock-step of {} nodes, {server}, counter {}: {value}", fleet.nodes, fleet.counter)
        };
        [
            Target::at_most(&name("first to last node notified, median"), 50.0, " ms", result.skew.median()),
            Target::at_most(&name("cycle in excess of its period"), 5.0, " %", result.overhead()),
        ]
    });
    Section {
        title: "A fleet in lock-step".into(),
        method: format!(
            "`node/benches/fleet.rs`: all nodes in one process, each with a thread, a runtime and a session of its own; \
             the server, `atalaya zookeeper` or Apache ZooKeeper, in another one. A period of {PERIOD_MS} ms, {cycles} \
             cycles after the first average of all nodes. A node is notified when the watch on the barrier has fired \
             and the node has read the new generation. **Median** (middle half)."
        ),
        head: report::row("", head),
        rows,
        notes: vec![
            "With release `complete`, a cycle takes as long as all nodes need to measure and to publish; with `period`, \
             as long as its period."
                .into(),
        ],
        targets: targets.collect(),
    }
}

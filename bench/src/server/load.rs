//! Throughput of the servers.

use anyhow::Context as _;
use atalaya_testbed::{Process, parent_death_command};

use super::super::Bench;
use super::super::coprocess::Coprocess;
use super::super::report::{Section, cells};
use super::super::stats::{Sample, ThreeDigits};
use super::super::targets::Target;
use super::servers::{Apache, InMemory, Jvm};

const CONNECTIONS: [u32; 3] = [1, 8, 100];
/// Requests in flight on each connection, in the rows with more than one.
const DEPTH: u32 = 32;
/// Changes in flight, with persistent watches.
const CHANGES: u32 = 16;

/// An operation that several connections perform: its name; its command of the load program, and the argument between the
/// number of connections and the duration; and true if the floor server supports it.
type Operation = (String, &'static str, String, bool);

fn operations() -> [Operation; 6] {
    let (depth, changes) = (DEPTH.to_string(), CHANGES.to_string());
    let persistent = format!("notifications, persistent watch, {CHANGES} changes at a time");
    [
        ("reads, one at a time".into(), "read", "1".into(), true),
        (format!("reads, {DEPTH} at a time"), "read", depth.clone(), true),
        ("writes, one at a time".into(), "write", "1".into(), true),
        (format!("writes, {DEPTH} at a time"), "write", depth, true),
        ("notifications, watch set again after each".into(), "once", String::new(), false),
        (persistent, "stay", changes, false),
    ]
}

/// Results of one operation with one number of connections, in thousands per second. `ratio` is that of the
/// in-memory server to Apache in the same round.
#[derive(Clone, Default)]
struct Results {
    in_memory: Sample,
    apache: Sample,
    ratio: Sample,
    floor: Sample,
}

pub(super) fn measure(
    bench: &Bench,
    apache: &Apache,
    in_memory: &InMemory,
    load_program: &mut Coprocess,
) -> anyhow::Result<Section> {
    let (rounds, slice, warm_up) = if bench.quick { (2, 50, 100) } else { (12, 150, 1_000) };
    let mut command = parent_death_command(&bench.load);
    command.arg("floor");
    let mut process = Coprocess::new(Process::spawn(command));
    let answer: serde_json::Value = serde_json::from_str(&process.answer().text)?;
    let floor = answer["listening"].as_str().context("the floor server did not print its address")?;
    let (apache, in_memory) = (apache.start(Jvm::Full)?, in_memory.start()?);

    let operations = operations();
    let mut results = vec![<[Results; CONNECTIONS.len()]>::default(); operations.len()];
    for round in 0..=rounds {
        eprintln!("load, round {round} of {rounds}");
        for ((_, command, argument, has_floor), results) in operations.iter().zip(&mut results) {
            for (connections, result) in CONNECTIONS.iter().zip(results) {
                let mut ask = |server: &str, ms: u32| {
                    thousands(load_program, &format!("{command} {server} {connections} {argument} {ms}"))
                };
                // Apache's compiler needs to warm up; the in-memory server is only checked to work.
                if round == 0 {
                    ask(&apache.address, warm_up)?;
                    ask(&in_memory.address, slice)?;
                    continue;
                }
                // Swap the order each round, so that neither always comes first.
                let (in_memory_rate, apache_rate) = if round % 2 == 0 {
                    let in_memory_rate = ask(&in_memory.address, slice)?;
                    (in_memory_rate, ask(&apache.address, slice)?)
                } else {
                    let apache_rate = ask(&apache.address, slice)?;
                    (ask(&in_memory.address, slice)?, apache_rate)
                };
                result.in_memory.push(in_memory_rate);
                result.apache.push(apache_rate);
                result.ratio.push(in_memory_rate / apache_rate);
                if *has_floor {
                    result.floor.push(ask(floor, slice)?);
                }
            }
        }
    }
    Ok(section(&operations, &results, rounds, slice, warm_up))
}

/// Runs one command of the load program and returns its rate, in thousands per second.
fn thousands(load_program: &mut Coprocess, command: &str) -> anyhow::Result<f64> {
    let answer = load_program.ask(command)?;
    let (count, ns) = (answer["count"].as_f64(), answer["ns"].as_f64());
    let (count, ns) = count.zip(ns).with_context(|| format!("{command}: unexpected answer {answer}"))?;
    anyhow::ensure!(count > 0.0, "{command}: the count is zero");
    Ok(count * 1e6 / ns)
}

fn section(
    operations: &[Operation],
    results: &[[Results; CONNECTIONS.len()]],
    rounds: u32,
    slice: u32,
    warm_up: u32,
) -> Section {
    let mut rows = Vec::new();
    let mut targets = Vec::new();
    for ((name, _, _, has_floor), results) in operations.iter().zip(results) {
        for (connections, result) in CONNECTIONS.iter().zip(results) {
            let label =
                if *connections == 1 { "1 connection".into() } else { format!("{connections} connections") };
            let is_first = *connections == CONNECTIONS[0];
            let name = if is_first { name.clone() } else { String::new() };
            let floor = has_floor.then(|| ThreeDigits(result.floor.median()).to_string());
            let Results { in_memory, apache, ratio, .. } = result;
            let [in_memory, apache, ratio] = [in_memory, apache, ratio].map(Sample::with_middle_half);
            rows.push(vec![name, label, in_memory, apache, ratio, floor.unwrap_or_default()]);
        }
        let min = results.iter().map(|result| result.ratio.median()).fold(f64::INFINITY, f64::min);
        let name = format!("in-memory server relative to Apache: {name}, minimum of 1, 8, 100 connections");
        targets.push(Target::at_least(&name, 1.0, " times", min));
    }
    Section {
        title: "In-memory server and Apache ZooKeeper: load".into(),
        method: format!(
            "Thousands per second of `getData` and `setData` with 100 bytes, each connection on a znode of its own, and of \
             watch notifications: the given number of connections watch one znode, which another connection changes. It \
             does so when all of them have read it again with a new watch; with persistent watches, {CHANGES} changes \
             are in flight at a time. One load program queries `atalaya zookeeper` and Apache ZooKeeper, which both run \
             all the time; it implements the protocol itself, in one thread. **Median** (middle half) of {rounds} rounds, in \
             each of which both have their turn of {slice} ms, one right after the other; *ratio* is computed for \
             each of these pairs. Apache's JVM is as `zkServer.sh` starts it (1000 MiB, all compilers), was warmed up with {} ms of \
             every row, and does not wait for its disk (`forceSync=no`). The floor is a single-threaded server that \
             answers without any lookup.",
            warm_up,
        ),
        head: cells(["thousands per second", "", "in-memory", "Apache ZooKeeper", "ratio", "floor"]),
        rows,
        notes: Vec::new(),
        targets,
    }
}

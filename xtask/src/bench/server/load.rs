//! What the servers do in a second.

use anyhow::Context as _;
use atalaya_testbed::{Process, guarded};

use super::super::Bench;
use super::super::coprocess::Coprocess;
use super::super::figures::{Aim, Sample, Section, Short};
use super::servers::{Apache, InMemory, Jvm};

const CONNECTIONS: [u32; 3] = [1, 8, 100];
/// Requests under way on each connection, where there is more than one.
const DEPTH: u32 = 32;
/// Changes under way at the same time.
const CHANGES: u32 = 16;

/// Something to ask for, from several connections.
struct Kind {
    name: String,
    /// What stands before the number of connections in the load program's command, and behind it.
    command: (&'static str, String),
    /// Whether the server that answers without looking can play along.
    has_floor: bool,
}

fn kinds() -> Vec<Kind> {
    let kind = |name: String, word, more: Option<u32>, has_floor| {
        let more = more.map(|more| more.to_string()).unwrap_or_default();
        Kind { name, command: (word, more), has_floor }
    };
    vec![
        kind("reads, one at a time".into(), "read", Some(1), true),
        kind(format!("reads, {DEPTH} at a time"), "read", Some(DEPTH), true),
        kind("writes, one at a time".into(), "write", Some(1), true),
        kind(format!("writes, {DEPTH} at a time"), "write", Some(DEPTH), true),
        kind("notifications, watch set again after each".into(), "once", None, false),
        kind(
            format!("notifications, persistent watch, {CHANGES} changes at a time"),
            "stay",
            Some(CHANGES),
            false,
        ),
    ]
}

/// What came out for one kind with one number of connections: thousands a second of each server, and how many times
/// Apache's the one in memory had in the same round.
#[derive(Clone, Default)]
struct Outcome {
    in_memory: Sample,
    apache: Sample,
    times: Sample,
    floor: Sample,
}

pub(super) fn measure(
    bench: &Bench,
    apache: &Apache,
    in_memory: &InMemory,
    asker: &mut Coprocess,
) -> anyhow::Result<Section> {
    let (rounds, slice, warm_up) = if bench.quick { (2, 50, 100) } else { (12, 150, 1_000) };
    let mut command = guarded(&bench.load);
    command.arg("floor");
    let mut process = Coprocess::of(Process::spawn(command));
    let said: serde_json::Value = serde_json::from_str(&process.answer().text)?;
    let floor = said["listening"].as_str().context("the floor does not say where it is")?;
    let (apache, in_memory) = (apache.start(Jvm::Full)?, in_memory.start()?);

    let kinds = kinds();
    let mut outcomes = vec![<[Outcome; CONNECTIONS.len()]>::default(); kinds.len()];
    for round in 0..=rounds {
        eprintln!("load, round {round} of {rounds}");
        for (kind, outcomes) in kinds.iter().zip(&mut outcomes) {
            for (connections, outcome) in CONNECTIONS.iter().zip(outcomes) {
                let (word, more) = &kind.command;
                let mut ask = |server: &str, ms: u32| {
                    thousands(asker, &format!("{word} {server} {connections} {more} {ms}"))
                };
                // Its compiler needs that; the others are only checked to work.
                if round == 0 {
                    ask(&apache.address, warm_up)?;
                    ask(&in_memory.address, slice)?;
                    continue;
                }
                // Neither always comes after the other.
                let (ours, theirs) = if round % 2 == 0 {
                    let ours = ask(&in_memory.address, slice)?;
                    (ours, ask(&apache.address, slice)?)
                } else {
                    let theirs = ask(&apache.address, slice)?;
                    (ask(&in_memory.address, slice)?, theirs)
                };
                outcome.in_memory.push(ours);
                outcome.apache.push(theirs);
                outcome.times.push(ours / theirs);
                if kind.has_floor {
                    outcome.floor.push(ask(floor, slice)?);
                }
            }
        }
    }
    Ok(section(&kinds, &outcomes, rounds, slice, warm_up))
}

/// One slice of load; thousands a second.
fn thousands(asker: &mut Coprocess, command: &str) -> anyhow::Result<f64> {
    let answer = asker.ask(command)?;
    let (count, ns) = (answer["count"].as_f64(), answer["ns"].as_f64());
    let (count, ns) = count.zip(ns).with_context(|| format!("{command}: answered {answer}"))?;
    anyhow::ensure!(count > 0.0, "{command}: nothing came");
    Ok(count * 1e6 / ns)
}

fn section(
    kinds: &[Kind],
    outcomes: &[[Outcome; CONNECTIONS.len()]],
    rounds: u32,
    slice: u32,
    warm_up: u32,
) -> Section {
    let show = |sample: &Sample| format!("**{}** ({})", Short(sample.median()), sample.middle());
    let mut rows = Vec::new();
    let mut aims = Vec::new();
    for (kind, outcomes) in kinds.iter().zip(outcomes) {
        for (connections, outcome) in CONNECTIONS.iter().zip(outcomes) {
            let who =
                if *connections == 1 { "1 connection".into() } else { format!("{connections} connections") };
            rows.push(vec![
                if *connections == CONNECTIONS[0] { kind.name.clone() } else { String::new() },
                who,
                show(&outcome.in_memory),
                show(&outcome.apache),
                show(&outcome.times),
                if kind.has_floor { Short(outcome.floor.median()).to_string() } else { String::new() },
            ]);
        }
        let least = outcomes.iter().map(|outcome| outcome.times.median()).fold(f64::INFINITY, f64::min);
        let what = format!("server in memory beside Apache: {}, worst of 1, 8, 100", kind.name);
        aims.push(Aim::at_least(&what, 1.0, " times", least));
    }
    Section {
        title: "The server in memory beside Apache ZooKeeper: load".into(),
        method: format!(
            "Thousands a second of `getData` and `setData` with 100 bytes, each connection on a znode of its own, and of watch \
             notifications: so many connections watch one znode, which another one changes. It does when all of them \
             have read it again with a new watch; with persistent watches, {CHANGES} changes are under way at a time. \
             One load program asks `atalaya zookeeper` and Apache ZooKeeper, which both run all the time; it speaks the \
             protocol itself, in one thread. **Median** (middle half) of {rounds} rounds, in each of which both have \
             their turn of {slice} ms, one right after the other; *times as many* is of these pairs. Apache's JVM is as \
             `zkServer.sh` starts it (1000 MiB, all compilers), was warmed up with {} ms of every line, and does not \
             wait for its disk (`forceSync=no`). The floor is a server of one thread that answers without looking.",
            warm_up,
        ),
        head: ["thousand a second", "", "in memory", "Apache ZooKeeper", "times as many", "floor"]
            .map(str::to_owned)
            .to_vec(),
        rows,
        notes: Vec::new(),
        aims,
    }
}

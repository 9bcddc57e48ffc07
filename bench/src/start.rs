//! Time from the start of a node's process to its first measurement in ZooKeeper.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use atalaya_testbed::{Api, Process, ZooKeeper, node_command, parent_death_command};

use super::Bench;
use super::coprocess::Coprocess;
use super::cycle::TICK;
use super::report::{Section, cells, row};
use super::stats::{QUARTILES_HEAD, Sample};
use super::targets::Target;

/// Timeout for the end of a node. It closes its session within 2 s, except on a busy machine.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    let rounds = if bench.quick { 3 } else { 20 };
    let server = ZooKeeper::with_tick(TICK);
    let hosts = server.connect_string();
    let api = Api::start();
    let mut client = Coprocess::client(&bench.client, &hosts);

    let atalaya = |id: &str| {
        let mut command = node_command(&bench.node.to_string_lossy(), id, &hosts);
        command.args(["--api-url", &api.url()]);
        Process::spawn(command)
    };
    let kazoo = |id: &str| bench.kazoo.script("leader.py", &[id, &hosts, "5", &api.url()]);
    let (mut atalaya_times, mut kazoo_times, mut empty_times) =
        (Sample::default(), Sample::default(), Sample::default());
    eprintln!("{rounds} starts");
    // The first round loads the programs from the disk and creates the parent znodes, so it does not count.
    for round in 0..=rounds {
        let times = [
            first_measurement(&mut client, &format!("atalaya-{round}"), &atalaya)?,
            first_measurement(&mut client, &format!("kazoo-{round}"), &kazoo)?,
            empty_program()?,
        ];
        if round > 0 {
            [&mut atalaya_times, &mut kazoo_times, &mut empty_times]
                .into_iter()
                .zip(times)
                .for_each(|(sample, time)| sample.push(time));
        }
    }
    Ok(vec![Section {
        title: "From the start to the first measurement".into(),
        method: format!(
            "Time from the start of the process until the watch of another client, connected before, fires for the \
             creation of `/mediciones/{{id}}`. {} starts of each, in turns, each with a new id.",
            atalaya_times.len(),
        ),
        head: cells(QUARTILES_HEAD),
        rows: vec![
            row("Atalaya", atalaya_times.quartile_cells()),
            row("Kazoo", kazoo_times.quartile_cells()),
            row("included in both: start of an empty program", empty_times.quartile_cells()),
        ],
        notes: vec![
            "Both are started through `setpriv`, so that they cannot outlive the benchmark; the last row is \
                     the cost of that."
                .into(),
        ],
        targets: vec![Target::at_most("start to first measurement", 30.0, " ms", atalaya_times.median())],
    }])
}

/// Starts a node and returns the milliseconds until its measurement exists; then stops the node.
pub(super) fn first_measurement(
    client: &mut Coprocess,
    id: &str,
    start: &dyn Fn(&str) -> Process,
) -> anyhow::Result<f64> {
    client.ask(&format!("watch /mediciones/{id}"))?;
    let begin = Instant::now();
    let mut node = start(id);
    let delay = client.answer().at.duration_since(begin);
    node.term();
    node.wait_exit(EXIT_TIMEOUT);
    Ok(delay.as_secs_f64() * 1e3)
}

/// Returns the milliseconds that a program without any work takes from start to exit, started in the same way.
fn empty_program() -> anyhow::Result<f64> {
    let begin = Instant::now();
    parent_death_command("true").status().context("cannot run `true`")?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

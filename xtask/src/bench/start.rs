//! From the start of a node's process to its first measurement in ZooKeeper.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use atalaya_testbed::{Api, Process, ZooKeeper, guarded, node_command};

use super::Bench;
use super::coprocess::Coprocess;
use super::cycle::TICK;
use super::figures::{Aim, Sample, Section, Short};

/// A node closes its session within 2 s; this is for a machine that is busy.
const END: Duration = Duration::from_secs(10);

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
    let (mut ours, mut theirs, mut empty) = (Sample::default(), Sample::default(), Sample::default());
    eprintln!("{rounds} starts");
    // The first round reads the programs from the disk and makes the parent znodes: it does not count.
    for round in 0..=rounds {
        let times = [
            first_measurement(&mut client, &format!("atalaya-{round}"), &atalaya)?,
            first_measurement(&mut client, &format!("kazoo-{round}"), &kazoo)?,
            nothing()?,
        ];
        if round > 0 {
            [&mut ours, &mut theirs, &mut empty]
                .into_iter()
                .zip(times)
                .for_each(|(sample, time)| sample.push(time));
        }
    }
    let row = |name: &str, sample: &Sample| {
        vec![name.to_owned(), format!("**{}**", Short(sample.median())), sample.middle(), sample.range()]
    };
    Ok(vec![Section {
        title: "From the start to the first measurement".into(),
        method: format!(
            "Time from the start of the process until another client, connected before, is told by its watch that \
             `/mediciones/{{id}}` exists. {} starts of each, in turns, each with an id that is new.",
            ours.len(),
        ),
        head: ["ms", "median", "middle half", "smallest – largest"].map(str::to_owned).to_vec(),
        rows: vec![row("Atalaya", &ours), row("Kazoo", &theirs), row("in both: a program that does nothing", &empty)],
        notes: vec!["Both are started through `setpriv`, so that they cannot outlive the benchmark; the last line is \
                     what that costs."
            .into()],
        aims: vec![Aim::at_most("start to first measurement", 30.0, " ms", ours.median())],
    }])
}

/// Milliseconds until the measurement of a node that `start` starts is there; then the node is ended.
fn first_measurement(
    client: &mut Coprocess,
    id: &str,
    start: &dyn Fn(&str) -> Process,
) -> anyhow::Result<f64> {
    client.ask(&format!("watch /mediciones/{id}"))?;
    let begin = Instant::now();
    let mut node = start(id);
    let appeared = client.answer().at.duration_since(begin);
    node.term();
    node.wait_exit(END);
    Ok(appeared.as_secs_f64() * 1e3)
}

/// Milliseconds of the shortest life that a process can have, started in the same way.
fn nothing() -> anyhow::Result<f64> {
    let begin = Instant::now();
    guarded("true").status().context("cannot run `true`")?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

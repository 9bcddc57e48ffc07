//! Tasks compared with Python programs of the classic layout and with Celery on Redis: tasks per second, duration of a
//! broadcast, and the time until a task is assigned again.

mod sections;
mod setup;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use atalaya_testbed::install::{self, Environment, Part};
use atalaya_testbed::{Api, Scratch, ZkProbe, ZooKeeper};

use super::Bench;
use super::cycle::TICK;
use super::machine::Machine;
use super::report::Section;
use super::stats::Sample;
use setup::Setup;

pub(crate) const PARTS: [Part; 4] = [Part::Java, Part::ZooKeeper, Part::Redis, Part::Python];
const WORKERS: [usize; 3] = [1, 8, 50];
/// Timeout of sessions for the times until a task is assigned again.
const SESSION: Duration = Duration::from_secs(4);
const BOARDS: &str = r#"
[boards.leader]
backend = "sim"
sensors = [{ name = "s", chip = "random" }]
[boards.worker]
backend = "sim"
sensors = [{ name = "s", chip = "random" }]
[boards.worker.tasks]
allow_unauthenticated = true
[boards.worker.tasks.hold]
run = ["/bin/sleep", "{seconds}"]
args = { seconds = { number = [0, 60] } }
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Native,
    Classic,
    Python,
    Celery,
}

const SYSTEMS: [(System, &str); 4] = [
    (System::Native, "Atalaya: `run`, `work`, action `status`"),
    (System::Classic, "Atalaya: `classic master`, `classic worker`"),
    (System::Python, "Python, classic layout (Kazoo)"),
    (System::Celery, "Celery, Redis"),
];

#[derive(Clone, Default)]
struct Results {
    per_second: Sample,
    median: Sample,
}

/// Process that is killed while a task is assigned, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Worker,
    /// `atalaya reap` is run right after the SIGKILL, as `ExecStopPost=` of systemd does it.
    WorkerWithReap,
    Leader,
}

/// Parents of the znodes of tasks whose number depends on the number of tasks.
const PARENTS: [&str; 6] = ["spec", "state", "run/w0", "claim", "done", "cancel"];

#[derive(Default)]
struct History {
    tasks: u32,
    per_second: f64,
    znodes: usize,
    /// Znodes at the end, by parent.
    left: Vec<(&'static str, usize)>,
    /// Resident memory of the leader and of the worker in MiB, after the first hundredth of the tasks and at the end.
    memory: Vec<(f64, f64)>,
}

pub(crate) fn measure(bench: &Bench, machine: &mut Machine) -> anyhow::Result<Vec<Section>> {
    install::ensure(&PARTS)?;
    let celery = Environment::PEER.ready().context("cannot install Celery")?;
    let server = ZooKeeper::with_tick(TICK);
    machine.zookeeper(&server);
    let scratch = Scratch::new("bench-tasks");
    std::fs::write(scratch.path().join("boards.toml"), BOARDS).context("cannot write boards.toml")?;
    let probe = ZkProbe::connect(&server.connect_string());
    let mut setup = Setup { bench, celery, server, probe, api: Api::start(), scratch, chroots: 0 };
    let (rounds, seconds, simulated) = if bench.quick { (1, 3, 1_000) } else { (3, 5, 1_000) };

    // First, while the log of the server is short: it is read again and again.
    let mut deaths =
        [Death::Worker, Death::WorkerWithReap, Death::Leader].map(|death| (death, Sample::default()));
    for _ in 0..rounds {
        for (death, sample) in &mut deaths {
            let seconds = setup.failover(*death)?;
            eprintln!("{death:?}: {seconds} s");
            sample.push(seconds);
        }
    }
    let mut results = vec![vec![Results::default(); WORKERS.len()]; SYSTEMS.len()];
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (at, workers) in WORKERS.into_iter().enumerate() {
            for ((system, _), results) in SYSTEMS.into_iter().zip(&mut results) {
                setup.load(system, workers, seconds, &mut results[at])?;
            }
        }
    }
    let broadcast = setup.broadcast(simulated, rounds)?;
    let history = setup.history(if bench.quick { 2_000 } else { 100_000 })?;
    let version = package_version(&setup.celery, "celery")?;
    Ok(vec![
        sections::throughput(&results, rounds, seconds, &version),
        sections::times(&broadcast, simulated, &deaths, rounds),
        sections::bounds(&history),
    ])
}

fn package_version(python: &Path, package: &str) -> anyhow::Result<String> {
    let script = format!("import importlib.metadata as it; print(it.version('{package}'))");
    let output = Command::new(python).args(["-c", &script]).output().context("cannot run Python")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

//! `cargo xtask chaos`: the recipes, whole fleets, and tasks, under many random schedules of what can go wrong.

mod fleet;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use atalaya_testbed::chaos::FaultKind;

use crate::cargo::cargo;

/// Play random schedules of what can go wrong.
///
/// Of recipes: lost requests and replies, expiries, pauses and cancellations, on the server in memory. A schedule that fails
/// is made smaller until it no longer does, and shown with its seed. 10 000 of each take about an hour: faults have lengths,
/// and sessions time out in real time.
///
/// Of fleets: real nodes on three Apache ZooKeeper servers; leaders die at each step between computing an average and knowing
/// that it was accepted, nodes are stopped and killed, so are servers, and the API refuses, hangs, is late, or keeps a report
/// and answers 500. What the API was sent and what ZooKeeper committed is judged: nothing lost, nothing twice. 200 schedules
/// take about an hour.
///
/// Of tasks: leaders, workers and clients are killed and stopped, ZooKeeper is killed, and connections, requests and replies
/// are lost. What ZooKeeper committed and what the executions wrote is judged: each task has one result, and is never
/// executed twice at a time.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask chaos recipes                     10 000 schedules of each recipe
  cargo xtask chaos recipes --schedules 100
  cargo xtask chaos recipes --seed 42           the same ones again
  cargo xtask chaos fleet                       200 schedules of whole fleets
  cargo xtask chaos fleet --schedules 10 --sync barrier
  cargo xtask chaos fleet --replay 7261554      one of them again
  cargo xtask chaos fleet --receiver collector:sqlite
  cargo xtask chaos fleet --faults acl,outbox   only these kinds of faults
  cargo xtask chaos fleet --secure              on servers with TLS, SASL and ACLs
  cargo xtask chaos fleet --kazoo --staged      what becomes of a Kazoo fleet
  cargo xtask chaos tasks --schedules 40 --jobs 3
  cargo xtask chaos tasks --programs python     what becomes of tasks of Python programs")]
pub(crate) struct Arguments {
    /// Of what.
    #[arg(value_enum)]
    subject: Subject,
    /// How many schedules (of each recipe) [default: 10 000, 200 of fleets, and 1 000 of tasks].
    #[arg(long, value_name = "COUNT")]
    schedules: Option<u64>,
    /// What decides the schedules [default: another one each time].
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Fleets and tasks: play the one schedule that was shown with this seed.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["schedules", "seed"])]
    replay: Option<u64>,
    /// Fleets: how the nodes keep time.
    #[arg(long, value_enum, default_value = "both")]
    sync: Sync,
    /// Fleets: where they report: to an API that misbehaves on demand, or to `atalaya collect`, which is killed, stopped and
    /// ended; then what it holds is judged.
    #[arg(long, value_enum, default_value = "testbed", value_name = "WHO")]
    receiver: Receiver,
    /// Fleets: the kinds of faults, with commas: processes, servers, receiver, stderr, znodes, acl, outbox, measurements
    /// [default: all].
    #[arg(long, value_name = "KINDS", value_delimiter = ',', conflicts_with_all = ["kazoo", "staged"])]
    faults: Vec<FaultKind>,
    /// Fleets and tasks: how many play side by side, each on servers of its own.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Fleets: the same to nodes of Kazoo's, which are not judged: it is counted what they lose.
    #[arg(long, conflicts_with_all = ["binary", "receiver"])]
    kazoo: bool,
    /// Fleets: not at random: the API is away for 30 s; a leader is stopped six times, and at each of its steps; in lock-step,
    /// ZooKeeper's leader is killed in every cycle for two minutes.
    #[arg(long, conflicts_with_all = ["schedules", "seed", "replay", "receiver"])]
    staged: bool,
    /// Fleets: on servers with TLS and SASL, with nodes that use `acl = "fleet"`.
    #[arg(long, conflicts_with = "kazoo")]
    secure: bool,
    /// Fleets and tasks: keep what every schedule has left, in the target folder below `chaos`; else only of those that fail.
    #[arg(long)]
    keep: bool,
    /// Fleets and tasks: play with this program, instead of building one. Fleets need one that was built with the feature
    /// `fault-points`.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Tasks: whose.
    #[arg(long, value_enum, default_value = "native")]
    programs: Programs,
}

/// Whose tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Programs {
    /// Those of the fleet.
    Native,
    /// `atalaya classic`.
    Classic,
    /// Python programs of the classic layout, which promise less.
    Python,
}

/// What can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// `recipes/tests/chaos`.
    Recipes,
    /// `atalaya_testbed::chaos`.
    Fleet,
    /// `atalaya_testbed::chaos::tasks`.
    Tasks,
}

/// Where the reports of a fleet go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Receiver {
    /// The testbed's own.
    Testbed,
    /// `atalaya collect`, with its reports in a file.
    #[value(name = "collector:sqlite")]
    Sqlite,
    /// `atalaya collect`, with its reports in a Redis server, which is killed and stopped as well.
    #[value(name = "collector:redis")]
    Redis,
}

/// How the nodes of a fleet keep time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Sync {
    /// Each by its own clock.
    Free,
    /// In lock-step.
    Barrier,
    /// As the seed decides.
    Both,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match arguments.subject {
        Subject::Recipes => recipes(arguments),
        Subject::Fleet => fleet::run(arguments),
        Subject::Tasks => tasks::run(arguments),
    }
}

fn recipes(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut command = cargo();
    command.args([
        "test",
        "--release",
        "--package",
        "atalaya-recipes",
        "--test",
        "chaos",
        "--",
        "--nocapture",
    ]);
    // Schedules mostly wait: all recipes side by side.
    command.args(["--test-threads", "32"]);
    command.env("ATALAYA_CHAOS", arguments.schedules.unwrap_or(10_000).to_string());
    if let Some(seed) = arguments.seed {
        command.env("ATALAYA_SEED", seed.to_string());
    }
    let status = command.status().context("cannot run cargo")?;
    // A cargo that a signal ended has no code.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

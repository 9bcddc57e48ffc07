//! `cargo xtask chaos`: tests the recipes, whole fleets, and tasks with many random fault schedules.

mod fleet;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use atalaya_testbed::chaos::FaultKind;

use xtask::cargo::{cargo, exit_code};

/// Run random fault schedules.
///
/// Recipes: lost requests and replies, session expiries, pauses and cancellations, on the in-memory server. A schedule
/// that fails is reduced as long as it still fails, and printed with its seed. 10 000 schedules of each recipe take
/// about an hour: faults have durations, and sessions time out in real time.
///
/// Fleets: real nodes on three Apache ZooKeeper servers; leaders die at each step between computing an average and
/// learning that it was accepted, nodes and servers are paused and killed, and the API refuses, hangs, answers late, or
/// stores a report and answers 500. The requests to the API and the commits of ZooKeeper are checked: no report is lost
/// or counted twice. 200 schedules take about an hour.
///
/// Tasks: leaders, workers and clients are killed and paused, ZooKeeper is killed, and connections, requests and
/// replies are lost. The commits of ZooKeeper and the output of the executions are checked: each task has one result,
/// and is never executed twice at the same time.
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
    /// Subject of the schedules.
    #[arg(value_enum)]
    subject: Subject,
    /// Number of schedules (of each recipe) [default: 10 000, 200 of fleets, and 1 000 of tasks].
    #[arg(long, value_name = "COUNT")]
    schedules: Option<u64>,
    /// Seed of the schedules [default: a new one for each run].
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Fleets and tasks: run only the schedule that was printed with this seed.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["schedules", "seed"])]
    replay: Option<u64>,
    /// Fleets: sampling mode of the nodes.
    #[arg(long, value_enum, default_value = "both")]
    sync: Sync,
    /// Fleets: receiver of the reports: an API that misbehaves on demand, or `atalaya collect`, which is killed, paused
    /// and shut down; its stored reports are then checked.
    #[arg(long, value_enum, default_value = "testbed", value_name = "WHO")]
    receiver: Receiver,
    /// Fleets: kinds of faults, separated by commas: processes, servers, receiver, stderr, znodes, acl, outbox,
    /// measurements [default: all].
    #[arg(long, value_name = "KINDS", value_delimiter = ',', conflicts_with_all = ["kazoo", "staged"])]
    faults: Vec<FaultKind>,
    /// Fleets and tasks: number of schedules that run in parallel, each on servers of its own.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Fleets: run the same schedules with nodes of Kazoo. Their losses are counted, but are not failures.
    #[arg(long, conflicts_with_all = ["binary", "receiver"])]
    kazoo: bool,
    /// Fleets: run fixed schedules: the API is down for 30 s; a leader is paused six times, and at each of its steps;
    /// in lock-step, ZooKeeper's leader is killed in every cycle for two minutes.
    #[arg(long, conflicts_with_all = ["schedules", "seed", "replay", "receiver"])]
    staged: bool,
    /// Fleets: on servers with TLS and SASL, with nodes that use `acl = "fleet"`.
    #[arg(long, conflicts_with = "kazoo")]
    secure: bool,
    /// Fleets and tasks: keep the files of all schedules, below `chaos` in the target folder, not only of those that
    /// fail.
    #[arg(long)]
    keep: bool,
    /// Fleets and tasks: use this program instead of building one. Fleets need one with the feature `fault-points`.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Tasks: programs that run them.
    #[arg(long, value_enum, default_value = "native")]
    programs: Programs,
}

/// Programs that run the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Programs {
    /// The nodes of the fleet.
    Native,
    /// `atalaya classic`.
    Classic,
    /// Python programs of the classic layout, which give fewer guarantees.
    Python,
}

/// Subject of the schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// `recipes/tests/chaos`.
    Recipes,
    /// `atalaya_testbed::chaos`.
    Fleet,
    /// `atalaya_testbed::chaos::tasks`.
    Tasks,
}

/// Receiver of the reports of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Receiver {
    /// The API of the testbed.
    Testbed,
    /// `atalaya collect`, which stores its reports in a file.
    #[value(name = "collector:sqlite")]
    Sqlite,
    /// `atalaya collect`, which stores its reports in a Redis server. The Redis server is killed and paused as well.
    #[value(name = "collector:redis")]
    Redis,
}

/// Sampling mode of the nodes of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Sync {
    /// Each node by its own clock.
    Free,
    /// In lock-step.
    Barrier,
    /// Chosen by the seed.
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
    command.args(["test", "--release", "--package", "atalaya-recipes", "--test", "chaos", "--"]);
    // Schedules spend most of their time waiting, so run all recipes in parallel.
    command.args(["--nocapture", "--test-threads", "32"]);
    command.env("ATALAYA_CHAOS", arguments.schedules.unwrap_or(10_000).to_string());
    if let Some(seed) = arguments.seed {
        command.env("ATALAYA_SEED", seed.to_string());
    }
    Ok(exit_code(command.status().context("cannot run cargo")?))
}

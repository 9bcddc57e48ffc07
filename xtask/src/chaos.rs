//! `cargo xtask chaos`: tests the recipes, whole fleets, and tasks with many random fault schedules.

mod fleet;
mod tasks;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use atalaya_testbed::chaos::tasks::Programs;
use atalaya_testbed::chaos::{FaultKind, Receiver, seed_of};
use atalaya_testbed::target_dir;

use clap::ValueEnum;
use xtask::cargo::{Profile, build_node, cargo, exit_code};

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
  cargo xtask chaos fleet --receiver influxdb --schedules 100
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
    /// Fleets: sampling mode of the nodes: each by its own clock, in lock-step, or chosen by the seed.
    #[arg(long, default_value = "both", value_parser = ["free", "barrier", "both"])]
    sync: String,
    /// Fleets: receiver of the reports: an API that misbehaves on demand; `atalaya collect`, which is killed, paused and
    /// shut down; or an output to InfluxDB, Prometheus or an MQTT broker. What is stored is then checked.
    #[arg(long, default_value = "testbed")]
    receiver: Receiver,
    /// Fleets: kinds of faults, separated by commas [default: all].
    #[arg(long, value_name = "KINDS", value_delimiter = ',', conflicts_with_all = ["kazoo", "staged"])]
    faults: Vec<FaultKind>,
    /// Fleets and tasks: number of schedules that run in parallel, each on servers of its own.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Fleets: run the same schedules with nodes of Kazoo. Their losses are counted, but are not failures.
    #[arg(long, conflicts_with = "receiver")]
    kazoo: bool,
    /// Fleets: run fixed schedules: the API is down for 30 s; a leader is paused six times, and at each of its steps;
    /// in lock-step, ZooKeeper's leader is killed in every cycle for two minutes.
    #[arg(long, conflicts_with_all = ["schedules", "seed", "replay", "receiver"])]
    staged: bool,
    /// Fleets: on servers with TLS and SASL, with nodes that use `acl = "fleet"`.
    #[arg(long, conflicts_with = "kazoo")]
    secure: bool,
    /// Tasks: programs that run them: the nodes of the fleet, `atalaya classic`, or Python programs of the classic
    /// layout, which give fewer guarantees.
    #[arg(long, default_value = "native")]
    programs: Programs,
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

/// Returns the name of a value on the command line.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl Arguments {
    /// Returns the seeds of the schedules to run.
    fn seeds(&self, default_count: u64) -> Vec<u64> {
        if let Some(seed) = self.replay {
            return vec![seed];
        }
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 32);
        let count = self.schedules.unwrap_or(default_count);
        eprintln!("{count} schedules, --seed {seed}");
        (0..count).map(|number| seed_of(seed, number)).collect()
    }
}

/// Builds the program of the nodes with fail points, and returns its path.
fn build_with_fail_points() -> anyhow::Result<PathBuf> {
    let built = build_node(Profile::Dev, &["--features", "fault-points"])?;
    // Copy the program, because the next build without fail points overwrites it.
    let kept = folder().join("atalaya");
    std::fs::create_dir_all(folder()).with_context(|| format!("make {}", folder().display()))?;
    std::fs::copy(&built, &kept).with_context(|| format!("copy to {}", kept.display()))?;
    Ok(kept)
}

fn folder() -> PathBuf {
    target_dir().join("chaos")
}

/// Writes the files of a schedule into a folder. Deletes those of an earlier run.
fn keep(name: &str, write: impl Fn(&Path) -> std::io::Result<()>) {
    let folder = folder().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    match write(&folder) {
        Ok(()) => eprintln!("  files: {}", folder.display()),
        Err(error) => eprintln!("  cannot write to {}: {error}", folder.display()),
    }
}

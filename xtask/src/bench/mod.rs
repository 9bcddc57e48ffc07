//! `cargo xtask bench`: Atalaya measured beside Kazoo and beside Apache ZooKeeper, on this machine, in one run.
//!
//! Each subject has a file: what it measures, how, and what it aims at. They give sections, which are shown as they
//! come and make up the page at the end.

mod collector;
mod coprocess;
mod cycle;
mod demo;
mod figures;
mod footprint;
mod lockstep;
mod machine;
mod page;
#[cfg(unix)]
mod pi;
mod proc;
mod recipes;
mod server;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::Part;
use atalaya_testbed::{Kazoo, target_dir};

use crate::cargo::{cargo, require, workspace};
use machine::Machine;

/// Where the figures are kept, below the workspace.
const PAGE: &str = "docs/benchmarks.md";

/// Measure Atalaya beside Kazoo and beside Apache ZooKeeper, and write docs/benchmarks.md.
///
/// Builds in release, installs what is missing (as root with apt-get; anywhere else it says what to install), and then
/// takes about a quarter of an hour. The rounds of all programs alternate, so that whatever else the machine does hits
/// all of them; leave it alone all the same.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench                    everything, into docs/benchmarks.md
  cargo xtask bench --quick            three minutes, on the terminal only: does it still work?
  cargo xtask bench cycle start        two of the subjects, on the terminal only
  cargo xtask bench server --output    one of the subjects, in its place in docs/benchmarks.md
  cargo xtask bench --output here.md   everything, into another file")]
pub(crate) struct Arguments {
    /// What to measure; without it, everything.
    #[arg(value_enum, value_name = "SUBJECT")]
    subjects: Vec<Subject>,
    /// Few rounds: shows that everything works, the figures mean little.
    #[arg(long)]
    quick: bool,
    /// Write the figures to this file, or without one to docs/benchmarks.md [default: there if everything is measured in
    /// full, else nowhere]. Of a page that is there, what was not measured now stays as it is.
    #[arg(long, value_name = "FILE")]
    output: Option<Option<PathBuf>>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// One cycle of a leader at 10, 1000 and 10 000 nodes.
    Cycle,
    /// Memory and processor time of one node.
    Footprint,
    /// From the start of a node to its first measurement.
    Start,
    /// The server in memory beside Apache ZooKeeper: requests and notifications a second, start, memory.
    Server,
    /// Locks, counters, queues, barriers and watches beside Kazoo's: how many a second, how soon, with how many requests.
    Recipes,
    /// Thousands of nodes in one process.
    Demo,
    /// A thousand nodes in lock-step: how soon after the first the last one is let go, and what a cycle costs.
    LockStep,
    /// The collector beside Flask with Redis: durable reports a second, how soon they are answered, memory.
    Collector,
    /// A node on an emulated Raspberry Pi: size, memory, how soon it measures, what a sample costs.
    #[cfg(unix)]
    Pi,
}

/// What the subjects measure with. Where none of them uses a program, its path is empty.
struct Bench {
    quick: bool,
    /// The node, as it is installed.
    node: PathBuf,
    /// `node/benches/client`.
    client: PathBuf,
    /// `node/benches/fleet`.
    fleet: PathBuf,
    /// `sim/benches/load`.
    load: PathBuf,
    /// `recipes/benches/recipes`.
    recipes: PathBuf,
    kazoo: Kazoo,
}

impl Bench {
    /// Builds what these subjects use, which is not always all of it: the node takes long.
    fn build(subjects: &[Subject], quick: bool) -> anyhow::Result<Bench> {
        let if_used = |by: &[Subject], build: fn() -> anyhow::Result<PathBuf>| {
            if subjects.iter().any(|subject| by.contains(subject)) { build() } else { Ok(PathBuf::new()) }
        };
        Ok(Bench {
            quick,
            node: if_used(
                &[
                    Subject::Footprint,
                    Subject::Start,
                    Subject::Server,
                    Subject::Demo,
                    Subject::LockStep,
                    Subject::Collector,
                ],
                build,
            )?,
            client: if_used(&[Subject::Cycle, Subject::Start], || build_bench("atalaya", "client"))?,
            fleet: if_used(&[Subject::LockStep], || build_bench("atalaya", "fleet"))?,
            load: if_used(&[Subject::Server], || build_bench("atalaya-sim", "load"))?,
            recipes: if_used(&[Subject::Recipes], || build_bench("atalaya-recipes", "recipes"))?,
            kazoo: Kazoo::ready(),
        })
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!(cfg!(target_os = "linux"), "the benchmarks read /proc: they need Linux");
    require(&Part::ALL).context("the benchmarks need more than Rust")?;
    let all = [
        Subject::Cycle,
        Subject::Footprint,
        Subject::Start,
        Subject::Server,
        Subject::Recipes,
        Subject::Demo,
        Subject::LockStep,
        Subject::Collector,
        #[cfg(unix)]
        Subject::Pi,
    ];
    let subjects = if arguments.subjects.is_empty() { &all[..] } else { &arguments.subjects };
    let whole = all.iter().all(|subject| subjects.contains(subject)) && !arguments.quick;
    let page = || workspace().join(PAGE);
    let output = match &arguments.output {
        Some(file) => Some(file.clone().unwrap_or_else(page)),
        None => whole.then(page),
    };

    let bench = Bench::build(subjects, arguments.quick)?;
    let mut machine = Machine::look()?;
    let mut sections = Vec::new();
    for subject in subjects {
        let measured = match subject {
            Subject::Cycle => cycle::measure(&bench, &mut machine),
            Subject::Footprint => footprint::measure(&bench),
            Subject::Start => start::measure(&bench),
            Subject::Server => server::measure(&bench, &mut machine),
            Subject::Recipes => recipes::measure(&bench, &mut machine),
            Subject::Demo => demo::measure(&bench),
            Subject::LockStep => lockstep::measure(&bench, &mut machine),
            Subject::Collector => collector::measure(&bench),
            #[cfg(unix)]
            Subject::Pi => pi::measure(&bench),
        };
        for section in measured.with_context(|| format!("cannot measure {subject:?}"))? {
            println!("{}", page::section(&section));
            sections.push(section);
        }
    }
    machine.look_again();
    println!("{}", page::aims(&sections));
    if let Some(path) = output {
        if whole {
            page::write(&path, &sections, &machine)?;
        } else {
            page::update(&path, sections, &machine)?;
        }
        eprintln!("written to {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the node, and returns where it is.
fn build() -> anyhow::Result<PathBuf> {
    let suffix = std::env::consts::EXE_SUFFIX;
    let status = cargo().args(["build", "--release", "--package", "atalaya", "--bin", "atalaya"]).status();
    ensure!(status.context("cannot run cargo")?.success(), "the node does not build, see above");
    let node = target_dir().join("release").join(format!("atalaya{suffix}"));
    ensure!(node.exists(), "cargo built no {}", node.display());
    Ok(node)
}

/// Builds a program that measures, and returns where it is.
fn build_bench(package: &str, name: &str) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["bench", "--package", package, "--bench", name, "--no-run"]);
    command.arg("--message-format=json-render-diagnostics").stderr(std::process::Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{name}, which measures, does not build, see above");
    // One JSON object a line: https://doc.rust-lang.org/cargo/reference/external-tools.html
    let program = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["kind"][0] == "bench")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.with_context(|| format!("cargo does not say where {name} is"))
}

//! `cargo xtask bench`: compares Atalaya with Kazoo and with Apache ZooKeeper, on this machine, in one run.
//!
//! Each subject has a file with its measurement, the description of the method, and the targets. It returns sections,
//! which are printed as soon as they are measured and form the page at the end.
#![allow(clippy::print_stderr, reason = "for developers: progress and errors go to stderr")]

mod collector;
mod coprocess;
mod cycle;
mod demo;
mod footprint;
mod join;
mod large;
mod machine;
#[cfg(unix)]
mod pi;
mod proc;
mod recipes;
mod report;
mod security;
mod server;
mod start;
mod stats;
mod targets;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use atalaya_testbed::Kazoo;
use atalaya_testbed::install::Part;

use clap::{Parser as _, ValueEnum as _};
use machine::Machine;
use xtask::cargo::{Profile, build_node, cargo, workspace};

/// Path of the page, relative to the workspace.
const PAGE: &str = "docs/benchmarks.md";

/// Compare Atalaya with Kazoo and with Apache ZooKeeper, and write docs/benchmarks.md.
///
/// Builds in release mode, installs missing programs (with apt-get when run by root, otherwise it prints which ones to
/// install), and then runs for about a quarter of an hour. The programs under test take turns in each round, so that
/// other load on the machine affects all of them. Do not start other programs in that time.
#[derive(clap::Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    after_help = "Examples:
  cargo xtask bench                    all subjects, into docs/benchmarks.md
  cargo xtask bench --quick            all subjects with few rounds, on the terminal only: three minutes
  cargo xtask bench cycle start        two subjects, on the terminal only
  cargo xtask bench server --output    one subject, and update its sections in docs/benchmarks.md
  cargo xtask bench --output here.md   all subjects, into another file"
)]
struct Arguments {
    /// Subjects to measure [default: all].
    #[arg(value_enum, value_name = "SUBJECT")]
    subjects: Vec<Subject>,
    /// Run few rounds, to check that the benchmarks work. The results mean little.
    #[arg(long)]
    quick: bool,
    /// Write the results to this file, or to docs/benchmarks.md if no file is given [default: docs/benchmarks.md if all
    /// subjects are measured without --quick, otherwise no file]. Sections of subjects that are not measured stay as
    /// they are.
    #[arg(long, value_name = "FILE")]
    output: Option<Option<PathBuf>>,
}

/// Subject of a benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// One cycle of a leader at 10, 1000 and 10 000 nodes.
    Cycle,
    /// Memory and processor time of one node.
    Footprint,
    /// Time from the start of a node to its first measurement.
    Start,
    /// TLS, SASL and ACLs: start, cycle and memory beside a plain connection.
    Security,
    /// In-memory server and Apache ZooKeeper: requests and notifications per second, start, memory.
    Server,
    /// Locks, counters, queues, barriers and watches of Atalaya and Kazoo: operations per second, latency, requests.
    Recipes,
    /// Thousands of nodes in one process.
    Demo,
    /// Ten thousand nodes in four processes: joining, cycles, a killed leader, a restart of ZooKeeper.
    Large,
    /// Thousands of nodes that join: requests and lists, counted at the server.
    Join,
    /// Tasks, and Celery with Redis: tasks per second, a broadcast, time to assign again.
    Tasks,
    /// Collector, and Flask with Redis: durable reports per second, latency, memory.
    Collector,
    /// A node on an emulated Raspberry Pi: size, memory, time to the first measurement, cost of a sample.
    #[cfg(unix)]
    Pi,
}

/// Subjects that use the release build of the node.
const USERS_OF_NODE: [Subject; 8] = [
    Subject::Footprint,
    Subject::Start,
    Subject::Security,
    Subject::Server,
    Subject::Demo,
    Subject::Large,
    Subject::Tasks,
    Subject::Collector,
];

/// Programs under test and load programs. A path is empty if no selected subject uses the program.
struct Bench {
    quick: bool,
    /// Release build of the node.
    node: PathBuf,
    /// Client of `node/benches/client`.
    client: PathBuf,
    /// Nodes of `node/benches/nodes.rs`.
    nodes: PathBuf,
    /// Fleets of `node/benches/join.rs`.
    join: PathBuf,
    /// Workers of `node/benches/tasks.rs`.
    workers: PathBuf,
    /// Load program of `zookeeper/benches/load`.
    load: PathBuf,
    /// Atalaya's recipes on command, of `recipes/benches/recipes`.
    recipes: PathBuf,
    kazoo: Kazoo,
}

impl Bench {
    /// Builds the programs that these subjects use. Others are skipped, because the node takes long to build.
    fn build(subjects: &[Subject], quick: bool) -> anyhow::Result<Bench> {
        let if_used = |users: &[Subject], build: &dyn Fn() -> anyhow::Result<PathBuf>| {
            if subjects.iter().any(|subject| users.contains(subject)) { build() } else { Ok(PathBuf::new()) }
        };
        let bench =
            |users: &[Subject], package: &str, name: &str| if_used(users, &|| build_bench(package, name));
        Ok(Bench {
            quick,
            node: if_used(&USERS_OF_NODE, &|| build_node(Profile::Distribution, &[]))?,
            client: bench(&[Subject::Cycle, Subject::Start, Subject::Security], "atalaya", "client")?,
            workers: bench(&[Subject::Tasks], "atalaya", "tasks")?,
            nodes: bench(&[Subject::Large], "atalaya", "nodes")?,
            join: bench(&[Subject::Join], "atalaya", "join")?,
            load: bench(&[Subject::Server], "atalaya-zookeeper", "load")?,
            recipes: bench(&[Subject::Recipes], "atalaya-recipes", "recipes")?,
            kazoo: Kazoo::ready(),
        })
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(cfg!(target_os = "linux"), "the benchmarks need Linux: they read /proc");
    let all = Subject::value_variants();
    let subjects = if arguments.subjects.is_empty() { all } else { &arguments.subjects };
    let parts = if subjects == [Subject::Tasks] { &tasks::PARTS[..] } else { &Part::ALL[..] };
    atalaya_testbed::install::ensure(parts)
        .context("cannot install the programs that the benchmarks need")?;
    let complete = all.iter().all(|subject| subjects.contains(subject)) && !arguments.quick;
    let page = || workspace().join(PAGE);
    let output = match &arguments.output {
        Some(file) => Some(file.clone().unwrap_or_else(page)),
        None => complete.then(page),
    };

    let bench = Bench::build(subjects, arguments.quick)?;
    let mut machine = Machine::inspect()?;
    let mut sections = Vec::new();
    for subject in subjects {
        let result = match subject {
            Subject::Cycle => cycle::measure(&bench, &mut machine),
            Subject::Footprint => footprint::measure(&bench),
            Subject::Start => start::measure(&bench),
            Subject::Security => security::measure(&bench),
            Subject::Server => server::measure(&bench, &mut machine),
            Subject::Recipes => recipes::measure(&bench, &mut machine),
            Subject::Demo => demo::measure(&bench),
            Subject::Large => large::measure(&bench, &mut machine),
            Subject::Join => join::measure(&bench),
            Subject::Tasks => tasks::measure(&bench, &mut machine),
            Subject::Collector => collector::measure(&bench),
            #[cfg(unix)]
            Subject::Pi => pi::measure(&bench),
        };
        for section in result.with_context(|| format!("cannot measure {subject:?}"))? {
            println!("{}", report::section(&section));
            sections.push(section);
        }
    }
    machine.record_load_after();
    println!("{}", report::targets(&sections));
    if let Some(path) = output {
        if complete {
            report::write(&path, &sections, &machine)?;
        } else {
            report::update(&path, sections, &machine)?;
        }
        eprintln!("written to {}", path.display());
    }
    Ok(())
}

fn build_bench(package: &str, name: &str) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["bench", "--profile", Profile::Distribution.name(), "--package", package, "--bench", name]);
    command.arg("--no-run");
    command.arg("--message-format=json-render-diagnostics").stderr(std::process::Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cannot build the benchmark {name}, see above");
    // One JSON object per line: https://doc.rust-lang.org/cargo/reference/external-tools.html
    let program = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["kind"][0] == "bench")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.with_context(|| format!("cargo did not print the path of {name}"))
}

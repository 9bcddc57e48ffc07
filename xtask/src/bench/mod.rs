//! `cargo xtask bench`: Atalaya measured beside Kazoo, on this machine, in one run.
//!
//! Each subject has a file: what it measures, how, and what it aims at. They give sections, which are shown as they
//! come and make up the page at the end.

mod coprocess;
mod cycle;
mod figures;
mod footprint;
mod machine;
mod page;
mod proc;
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

/// Measure Atalaya beside Kazoo on a real Apache ZooKeeper, and write docs/benchmarks.md.
///
/// Builds in release, installs what is missing (as root with apt-get; anywhere else it says what to install), and then
/// takes about four minutes. The rounds of all programs alternate, so that whatever else the machine does hits all of
/// them; leave it alone all the same.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench                    everything, into docs/benchmarks.md
  cargo xtask bench --quick            a minute, on the terminal only: does it still work?
  cargo xtask bench cycle start        two of the subjects, on the terminal only
  cargo xtask bench --output here.md   everything, into another file")]
pub(crate) struct Arguments {
    /// What to measure; without it, everything.
    #[arg(value_enum, value_name = "SUBJECT")]
    subjects: Vec<Subject>,
    /// Few rounds: shows that everything works, the figures mean little.
    #[arg(long)]
    quick: bool,
    /// Write the page to this file [default: docs/benchmarks.md if everything is measured in full, else nowhere].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
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
}

/// What the subjects measure with.
struct Bench {
    quick: bool,
    /// The node, as it is installed.
    node: PathBuf,
    /// `node/benches/client`.
    client: PathBuf,
    kazoo: Kazoo,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!(cfg!(target_os = "linux"), "the benchmarks read /proc: they need Linux");
    require(&Part::ALL).context("the benchmarks need more than Rust")?;
    let all = [Subject::Cycle, Subject::Footprint, Subject::Start];
    let subjects = if arguments.subjects.is_empty() { &all[..] } else { &arguments.subjects };
    let whole = all.iter().all(|subject| subjects.contains(subject)) && !arguments.quick;
    let output = arguments.output.clone().or_else(|| whole.then(|| workspace().join(PAGE)));

    let (node, client) = build()?;
    let bench = Bench { quick: arguments.quick, node, client, kazoo: Kazoo::ready() };
    let mut machine = Machine::look()?;
    let mut sections = Vec::new();
    for subject in subjects {
        let measured = match subject {
            Subject::Cycle => cycle::measure(&bench, &mut machine),
            Subject::Footprint => footprint::measure(&bench),
            Subject::Start => start::measure(&bench),
        };
        for section in measured.with_context(|| format!("cannot measure {subject:?}"))? {
            println!("{}", page::section(&section));
            sections.push(section);
        }
    }
    machine.look_again();
    println!("{}", page::aims(&sections));
    if let Some(path) = output {
        page::write(&path, &sections, &machine)?;
        eprintln!("written to {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the node and the client that measures, and returns where they are.
fn build() -> anyhow::Result<(PathBuf, PathBuf)> {
    let suffix = std::env::consts::EXE_SUFFIX;
    let status = cargo().args(["build", "--release", "--package", "atalaya", "--bin", "atalaya"]).status();
    ensure!(status.context("cannot run cargo")?.success(), "the node does not build, see above");
    let node = target_dir().join("release").join(format!("atalaya{suffix}"));
    ensure!(node.exists(), "cargo built no {}", node.display());

    let mut command = cargo();
    command.args(["bench", "--package", "atalaya", "--bench", "client", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics").stderr(std::process::Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the client that measures does not build, see above");
    // One JSON object a line: https://doc.rust-lang.org/cargo/reference/external-tools.html
    let client = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["kind"][0] == "bench")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    Ok((node, client.context("cargo does not say where the client that measures is")?))
}

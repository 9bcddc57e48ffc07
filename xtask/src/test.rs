//! `cargo xtask test`: runs the tests, with all programs that they need.

use std::process::ExitCode;

use anyhow::Context as _;
use atalaya_testbed::ZooKeeper;
use atalaya_testbed::install::{self, Environment, Part};

use xtask::cargo::{cargo, exit_code};

mod programs;

/// Install the programs that the tests need (Java, Apache ZooKeeper, Kazoo) if they are missing, then run the tests.
///
/// As root on a machine with apt-get, the packages are installed; otherwise the command prints what to install. Kazoo
/// goes into a virtual environment below the target folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask test                                  everything
  cargo xtask test leader_killed                    the tests with that in their names
  cargo xtask test -p atalaya -- --test-threads 1   of one crate, one after the other

Two test programs run at the same time, and in each four times as many tests as there are processors: mostly they wait.
The output of a program appears when it ends; meanwhile it is in target/tests.")]
pub(crate) struct Arguments {
    /// Test only this package; may be given several times.
    #[arg(short, long = "package", value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Run the tests whose names contain one of these; after `--`, options of the test runner.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

impl Arguments {
    pub(crate) fn words(&self) -> Vec<&str> {
        let mut words = vec!["test"];
        for package in &self.packages {
            words.extend(["--package", package]);
        }
        if self.packages.is_empty() {
            words.extend(["--workspace", "--exclude", "atalaya-bench"]);
        }
        if self.packages.is_empty() || self.packages.iter().any(|package| package == "atalaya") {
            // Nodes that die, stop and panic at fail points.
            words.extend(["--features", "atalaya/fault-points"]);
        }
        if !self.filters.is_empty() {
            words.push("--");
            words.extend(self.filters.iter().map(String::as_str));
        }
        words
    }
}

/// Environment variable with the number of tests that the test runner runs in parallel; `--test-threads` takes
/// precedence.
const THREADS: &str = "RUST_TEST_THREADS";

/// Returns the number of tests to run in parallel: four times the number of processors, unless [`THREADS`] is set. Tests
/// wait for sessions, leases and servers most of the time.
fn threads() -> String {
    let usual = || (4 * std::thread::available_parallelism().map_or(1, usize::from)).to_string();
    std::env::var(THREADS).unwrap_or_else(|_| usual())
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    install::ensure(&Part::ALL).context("the tests need more than Rust")?;
    Environment::KAZOO.ready().context("the tests need Kazoo")?;
    ZooKeeper::archive_classes();
    let threads = threads();
    let words = arguments.words();
    if !(arguments.packages.is_empty() && arguments.filters.is_empty()) {
        let status = cargo().args(&words).env(THREADS, &threads).status().context("cannot run cargo")?;
        return Ok(exit_code(status));
    }
    let passed = programs::run(&words, &threads)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! `cargo xtask test`: runs the tests, with all programs that they need.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use atalaya_testbed::install::{self, Part};

use xtask::cargo::{cargo, exit_code, require};

/// Install the programs that the tests need (Java, Apache ZooKeeper, Kazoo) if they are missing, then run the tests.
///
/// As root on a machine with apt-get, the packages are installed; otherwise the command prints what to install. Kazoo
/// goes into a virtual environment below the target folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask test                                  everything
  cargo xtask test leader_killed                    the tests with that in their names
  cargo xtask test -p atalaya -- --test-threads 1   of one crate, one after the other

Twice as many tests run at the same time as there are processors: mostly they wait.")]
pub(crate) struct Arguments {
    /// Test only this package; may be given several times.
    #[arg(short, long = "package", value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Run the tests whose names contain one of these; after `--`, options of the test runner.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// Tests of the node without the features for laptops. Slow tests that use none of these features have run already.
const SLIM: [&str; 8] =
    ["test", "--package", "atalaya", "--no-default-features", "--lib", "--bins", "--test", "slim"];

/// Tests with nodes that die at fail points.
const DYING: [&str; 11] = [
    "test",
    "--package",
    "atalaya",
    "--features",
    "fault-points",
    "--test",
    "exactly_once",
    "--test",
    "panics",
    "--test",
    "tasks_killed",
];

impl Arguments {
    /// Returns true if all tests are selected.
    fn is_everything(&self) -> bool {
        self.packages.is_empty() && self.filters.is_empty()
    }

    /// Returns the arguments for cargo.
    pub(crate) fn words(&self) -> Vec<&str> {
        let mut words = vec!["test"];
        for package in &self.packages {
            words.extend(["--package", package]);
        }
        if self.packages.is_empty() {
            words.extend(["--workspace", "--exclude", "atalaya-bench"]);
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

/// Returns the number of tests to run in parallel: twice the number of processors, unless [`THREADS`] is set. Tests
/// wait for sessions, leases and servers most of the time.
fn threads() -> OsString {
    let usual = || (2 * std::thread::available_parallelism().map_or(1, usize::from)).to_string().into();
    std::env::var_os(THREADS).unwrap_or_else(usual)
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    require(&Part::ALL).context("the tests need more than Rust")?;
    install::ensure_kazoo(|line| eprintln!("{line}")).context("the tests need Kazoo")?;
    let threads = threads();
    let run = |words: &[&str]| {
        let mut cargo = cargo();
        cargo.args(words).env(THREADS, &threads);
        cargo.status().context("cannot run cargo")
    };
    let mut status = run(&arguments.words())?;
    for words in [&SLIM[..], &DYING] {
        if status.success() && arguments.is_everything() {
            status = run(words)?;
        }
    }
    Ok(exit_code(status))
}

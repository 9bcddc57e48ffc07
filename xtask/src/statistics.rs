//! `cargo xtask statistics`: compares the statistics of the leader with those of numpy and scipy, for random fleets.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use atalaya_testbed::install::{self, Environment, Part};
use atalaya_testbed::target_dir;
use xtask::cargo::{cargo, exit_code, output, workspace};

/// Compare the statistics of the leader with those of numpy and scipy, for random fleets.
///
/// The packages are installed below the target folder on first use.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of fleets.
    #[arg(long, default_value_t = 2_000)]
    fleets: u32,
    /// Seed of the fleets [default: the time].
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let python = install::ensure(&[Part::Python])
        .and_then(|()| Environment::NUMERIC.ready())
        .context("cannot install numpy and scipy")?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = arguments.seed.unwrap_or(since.as_secs());
    eprintln!("{} fleets of the seed {seed}", arguments.fleets);
    let script = workspace().join("node/tests/statistics/reference.py");
    let mut command = Command::new(python);
    let rows = output(command.arg(script).args([seed.to_string(), arguments.fleets.to_string()]))?;
    let table = target_dir().join("statistics.json");
    fs::write(&table, rows).with_context(|| format!("cannot write {}", table.display()))?;
    let test = ["test", "--package", "atalaya", "--lib", "statistics_are_those_of_numpy_and_scipy"];
    let status = cargo().env("ATALAYA_STATISTICS_TABLE", &table).args(test).status();
    Ok(exit_code(status.context("cannot run cargo")?))
}

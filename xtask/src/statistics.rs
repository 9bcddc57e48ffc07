//! `cargo xtask statistics`: compares the statistics of the leader with those of numpy and scipy, for random fleets.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::{self, Environment, Part};
use atalaya_testbed::target_dir;
use xtask::cargo::{cargo, workspace};

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
    let output = Command::new(python)
        .arg(workspace().join("node/tests/statistics/reference.py"))
        .args([seed.to_string(), arguments.fleets.to_string()])
        .output()
        .context("cannot run Python")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = target_dir().join("statistics.json");
    fs::write(&table, output.stdout).with_context(|| format!("cannot write {}", table.display()))?;
    let test = ["test", "--package", "atalaya", "--lib", "statistics_are_those_of_numpy_and_scipy"];
    let status = cargo().env("ATALAYA_STATISTICS_TABLE", &table).args(test).status();
    Ok(if status.context("cannot run cargo")?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

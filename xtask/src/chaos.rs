//! `cargo xtask chaos recipes`: the recipes under many random schedules of what can go wrong.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cargo::cargo;

/// Play random schedules of lost requests and replies, expiries, pauses and cancellations, on the server in memory.
///
/// A schedule that fails is made smaller until it no longer does, and shown with its seed. 10 000 of each take about an
/// hour: faults have lengths, and sessions time out in real time.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask chaos recipes                     10 000 schedules of each recipe
  cargo xtask chaos recipes --schedules 100
  cargo xtask chaos recipes --seed 42           the same ones again")]
pub(crate) struct Arguments {
    /// Of what.
    #[arg(value_enum)]
    subject: Subject,
    /// How many schedules of each.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    schedules: u64,
    /// What decides the schedules [default: another one each time].
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

/// What can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// `recipes/tests/chaos`.
    Recipes,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Subject::Recipes = arguments.subject;
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
    command.env("ATALAYA_CHAOS", arguments.schedules.to_string());
    if let Some(seed) = arguments.seed {
        command.env("ATALAYA_SEED", seed.to_string());
    }
    let status = command.status().context("cannot run cargo")?;
    // A cargo that a signal ended has no code.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

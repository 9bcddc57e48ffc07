//! `cargo xtask bench`: runs the crate `atalaya-bench` with the same arguments.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use xtask::cargo::{cargo, exit_code};

/// Compare Atalaya with Kazoo and with Apache ZooKeeper, and write docs/benchmarks.md.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Arguments of the benchmarks; `--help` shows them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "atalaya-bench", "--"]).args(&arguments.arguments);
    command.current_dir(std::env::current_dir()?);
    Ok(exit_code(command.status().context("cannot run cargo")?))
}

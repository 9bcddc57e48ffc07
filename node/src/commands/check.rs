//! `atalaya check`: checks the configuration. Opens no sensor and no connection.

use std::path::PathBuf;

use anyhow::anyhow;
use atalaya_hal::Boards;
use clap::Args;

use super::load_settings;
use super::stdout::print;
use crate::commands::exit::Failure;
use crate::sampling;
use crate::settings::{FleetArgs, Settings};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya check                      check boards.toml in the current folder
  atalaya check /etc/atalaya/boards.toml

Exit codes: 0 the configuration is correct; 64 wrong flag; 78 wrong file or environment.")]
pub(super) struct CheckArgs {
    /// Configuration file [default: boards.toml in the current folder] [env: ATALAYA_BOARDS].
    file: Option<PathBuf>,

    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) fn main(args: &CheckArgs) -> Result<(), Failure> {
    let (boards, settings) = load_settings(args.file.as_ref(), &args.fleet)?;
    settings.read_token().map_err(Failure::config)?;
    for (name, board) in &boards.boards {
        sampling::open(board, &boards.base_dir)
            .map_err(|error| Failure::config(anyhow!("{}: board {name}: {error}", boards.origin())))?;
    }
    print(summary(&boards, &settings).as_bytes())
}

fn summary(boards: &Boards, settings: &Settings) -> String {
    let names = boards.boards.iter().map(|(name, board)| match board.sensors.len() {
        1 => format!("{name} (1 sensor)"),
        count => format!("{name} ({count} sensors)"),
    });
    let names: Vec<String> = names.collect();
    let mut text = format!("{}: valid\n{:<18}{}\n", boards.origin(), "boards", names.join(", "));
    for (name, value) in settings.describe() {
        text.push_str(&format!("{name:<18}{value}\n"));
    }
    if let Some(warning) = settings.unsent_token() {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

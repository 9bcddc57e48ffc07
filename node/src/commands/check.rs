//! `atalaya check`: is this configuration right? Opens nothing, connects nowhere.

use std::path::PathBuf;

use atalaya_hal::Boards;
use clap::Args;

use super::process_environment;
use super::stdout::print;
use crate::commands::exit::Failure;
use crate::sampling;
use crate::settings::{FleetArgs, Settings, load_boards};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya check                      the boards.toml here
  atalaya check /etc/atalaya/boards.toml")]
pub(super) struct CheckArgs {
    /// The file [default: boards.toml here].
    file: Option<PathBuf>,

    /// The settings of the fleet.
    #[command(flatten)]
    fleet: FleetArgs,
}

pub(super) fn main(args: &CheckArgs) -> Result<(), Failure> {
    let boards = load_boards(args.file.as_ref(), process_environment())?;
    let settings = Settings::assemble(&args.fleet, &boards, process_environment())?;
    settings.read_token()?;
    for (name, board) in &boards.boards {
        sampling::open(board, &boards.base_dir).map_err(|error| {
            Failure::config(anyhow::anyhow!("{}: board {name}: {error}", boards.origin()))
        })?;
    }
    print(summary(&boards, &settings).as_bytes())
}

fn summary(boards: &Boards, settings: &Settings) -> String {
    let names: Vec<String> = boards
        .boards
        .iter()
        .map(|(name, board)| {
            format!("{name} ({} sensors)", board.sensors.len()).replace("(1 sensors)", "(1 sensor)")
        })
        .collect();
    let mut text = format!("{}: ok\n{:<18}{}\n", boards.origin(), "boards", names.join(", "));
    for (name, value) in settings.describe() {
        text.push_str(&format!("{name:<18}{value}\n"));
    }
    if let Some(warning) = settings.unsent_token() {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

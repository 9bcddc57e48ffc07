//! `atalaya check`: checks the configuration. Opens no sensor and no connection.

use std::path::PathBuf;

use anyhow::anyhow;
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
    let boards = load_boards(args.file.as_ref(), process_environment())?;
    let settings = Settings::assemble(&args.fleet, &boards, process_environment())?;
    settings.read_token()?;
    for (name, board) in &boards.boards {
        sampling::open(board, &boards.base_dir)
            .map_err(|error| Failure::config(anyhow!("{}: board {name}: {error}", boards.origin())))?;
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
    let api = settings.api_url.as_ref().map_or("no API, averages are logged", |url| url.as_str());
    let token = settings.api_token.as_ref().map(|token| format!(", with {token}")).unwrap_or_default();
    let unsent = settings.unsent_token().map(|unsent| format!("warning    {unsent}\n")).unwrap_or_default();
    let metrics = settings.metrics_listen.as_ref();
    let metrics = metrics.map_or(String::new(), |listen| format!("metrics    at http://{listen}/metrics\n"));
    format!(
        "{}: valid\nboards     {}\nzookeeper  {}, session timeout {:?}\nmeasures   every {:?} at {}\nreports to {api}{token}\n{unsent}{metrics}",
        boards.origin(),
        names.join(", "),
        settings.zookeeper,
        settings.session_timeout,
        settings.sampling_period,
        settings.measurement_path("{id}"),
    )
}

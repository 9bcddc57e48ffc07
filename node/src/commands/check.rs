//! `atalaya check`: checks the configuration, without opening sensors. Connects to ZooKeeper only with `--connect`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_config::Boards;
use clap::Args;

use super::args::Output;
use super::stdout::print;
use super::tools::connection::with_settings;
use super::{acl, load_settings};
use crate::commands::exit::Failure;
use crate::outputs;
use crate::sampling;
use crate::settings::zookeeper_access::ZooKeeperAccess;
use crate::settings::{FleetArgs, Settings, SettingsError};
use crate::tasks::actions;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya check                      check boards.toml in the current folder
  atalaya check /etc/atalaya/boards.toml
  atalaya check --connect            also compare the ACLs in ZooKeeper with the setting acl

Exit codes: 0 the configuration is correct; 64 wrong flag; 78 wrong file or environment. With --connect also: \
1 an ACL differs; 69 ZooKeeper not reached; 75 connection lost; 76 TLS handshake failed; 77 the identity or \
a request was refused.")]
pub(super) struct CheckArgs {
    /// Configuration file [default: boards.toml in the current folder] [env: ATALAYA_BOARDS].
    file: Option<PathBuf>,

    /// Connect to ZooKeeper, and compare the ACLs of all znodes of the fleet with the setting acl, as atalaya acl show
    /// does.
    #[arg(long)]
    connect: bool,

    #[command(flatten)]
    fleet: FleetArgs,
}

/// Maximum time to connect to ZooKeeper.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn main(args: &CheckArgs) -> Result<(), Failure> {
    let (boards, settings) = load_settings(args.file.as_ref(), &args.fleet)?;
    settings.read_token().map_err(Failure::config)?;
    for (name, board) in &boards.boards {
        sampling::open(board, &boards.base_dir)
            .map_err(|error| Failure::config(anyhow!("{}: board {name}: {error}", boards.origin())))?;
    }
    check_tasks(&boards, &settings)?;
    check_outputs(&settings)?;
    let access = ZooKeeperAccess::read(&settings).map_err(SettingsError::from)?;
    print(summary(&boards, &settings).as_bytes())?;
    if !args.connect {
        return Ok(());
    }
    with_settings(&settings, &access, CONNECT_TIMEOUT, async |session| {
        acl::show(&session, &settings, access.policy(), Output::Table).await
    })
}

/// Returns an error if a board has actions that its nodes would not execute.
fn check_tasks(boards: &Boards, settings: &Settings) -> Result<(), Failure> {
    for (name, board) in &boards.boards {
        if let Some(reason) = board.tasks.as_ref().and_then(|tasks| actions::refusal(tasks, settings)) {
            return Err(Failure::config(anyhow!("{}: board {name}: {reason}", boards.origin())));
        }
    }
    Ok(())
}

/// Returns an error if a node could not use an output.
fn check_outputs(settings: &Settings) -> Result<(), Failure> {
    let node = "1".parse().map_err(Failure::internal)?;
    outputs::prepare(settings, &node).map_err(SettingsError::from)?;
    Ok(())
}

fn summary(boards: &Boards, settings: &Settings) -> String {
    let names = boards.boards.iter().map(|(name, board)| {
        let sensors = match board.sensors.len() {
            1 => "1 sensor".to_owned(),
            count => format!("{count} sensors"),
        };
        let actions = match &board.tasks {
            None => String::new(),
            Some(tasks) if tasks.actions.is_empty() => ", built-in actions".to_owned(),
            Some(tasks) => {
                let names: Vec<&str> = tasks.actions.keys().map(String::as_str).collect();
                format!(", actions {}", names.join(" "))
            }
        };
        format!("{name} ({sensors}{actions})")
    });
    let names: Vec<String> = names.collect();
    let mut text = format!("{}: valid\n{:<25}{}\n", boards.origin(), "boards", names.join(", "));
    for (name, value) in settings.describe() {
        text.push_str(&format!("{name:<25}{value}\n"));
    }
    for output in &settings.outputs {
        text.push_str(&format!("{:<25}{}\n", "output", outputs::describe(output)));
    }
    if let Some(warning) = settings.unsent_token() {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

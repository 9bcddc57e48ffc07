//! Arguments that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use atalaya_config::duration;
use atalaya_recipes::connect_string::check_path;
use clap::{Args, ValueEnum};

use crate::settings::{ConnectionFlags, environment};

#[derive(Clone, Debug, Default, Args)]
pub(super) struct BoardArgs {
    /// Configuration file with boards and fleet settings [default: boards.toml in the current folder, or one simulated
    /// sensor] [env: ATALAYA_BOARDS].
    #[arg(long, value_name = "FILE", help_heading = "Board")]
    pub(super) boards: Option<PathBuf>,

    /// Board of this machine, as named in the file [default: the only board, or the one named default]
    /// [env: ATALAYA_BOARD].
    #[arg(long, value_name = "NAME", help_heading = "Board")]
    board: Option<String>,
}

impl BoardArgs {
    pub(super) fn board_name(&self) -> Option<String> {
        self.board.clone().or_else(|| environment("ATALAYA_BOARD").filter(|name| !name.is_empty()))
    }
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct StateArgs {
    /// Folder for the state files of nodes. A node records its sessions and znodes there, so that they can be deleted
    /// after it was killed; off: no state files [default: $XDG_STATE_HOME/atalaya, or ~/.local/state/atalaya] [env:
    /// ATALAYA_STATE_DIR, STATE_DIRECTORY].
    #[arg(long, value_name = "FOLDER", help_heading = "State")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct ConnectionArgs {
    /// Configuration file, of commands that have a flag for it.
    #[arg(skip)]
    pub(super) boards: Option<PathBuf>,

    #[command(flatten)]
    pub(super) flags: ConnectionFlags,

    /// Maximum time to connect to ZooKeeper; exits with 69 after it.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "10s")]
    #[arg(help_heading = "ZooKeeper")]
    pub(super) connect_timeout: Duration,
}

/// Checks the path of a znode.
pub(super) fn znode_path(text: &str) -> Result<String, &'static str> {
    check_path(text).map(|()| text.to_owned())
}

/// Output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Table,
    /// For scripts.
    Json,
}

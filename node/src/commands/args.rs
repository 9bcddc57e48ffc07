//! Arguments that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::settings::environment;

/// Where boards.toml is, and which board is meant.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct BoardArgs {
    /// The file that describes boards and fleet. Default: boards.toml here, else one simulated sensor. Also
    /// ATALAYA_BOARDS.
    #[arg(long, value_name = "FILE", help_heading = "Board")]
    pub(super) boards: Option<PathBuf>,

    /// Which board of the file this is. Not needed if there is one, or one called default. Also ATALAYA_BOARD.
    #[arg(long, value_name = "NAME", help_heading = "Board")]
    board: Option<String>,
}

impl BoardArgs {
    /// Returns the board that the flag or the environment names.
    pub(super) fn board_name(&self) -> Option<String> {
        self.board.clone().or_else(|| environment("ATALAYA_BOARD").filter(|name| !name.is_empty()))
    }
}

/// Where nodes of this machine are remembered.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct StateArgs {
    /// Where a node writes down what it makes in ZooKeeper, so that it can be reaped if it is killed; off: nowhere
    /// [default: $XDG_STATE_HOME/atalaya, else ~/.local/state/atalaya]. Also ATALAYA_STATE_DIR, STATE_DIRECTORY.
    #[arg(long, value_name = "FOLDER", help_heading = "State")]
    pub(super) state_dir: Option<PathBuf>,
}

/// How a tool gets to ZooKeeper.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ConnectionArgs {
    /// ZooKeeper's servers and chroot [default: boards.toml, else 127.0.0.1:2181]. Also ATALAYA_ZOOKEEPER,
    /// ZOOKEEPER_HOSTS, ZOOKEEPER_HOST, ZK_HOST.
    #[arg(long, value_name = "HOST:PORT,…/CHROOT", help_heading = "ZooKeeper")]
    pub(super) zookeeper: Option<String>,

    /// How long ZooKeeper waits for a silent process before it takes it for dead [default: 10s]. Also
    /// ATALAYA_SESSION_TIMEOUT.
    #[arg(long, value_name = "DURATION", help_heading = "ZooKeeper")]
    pub(super) session_timeout: Option<String>,

    /// Give up (exit 69) when ZooKeeper is not reached within this time.
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = "ZooKeeper")]
    pub(super) connect_timeout: String,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Table,
    /// For scripts.
    Json,
}

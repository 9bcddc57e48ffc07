//! `atalaya status`.

use clap::Args;

use super::{ConnectionArgs, Output};

/// `atalaya status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya status                                who leads, what waits, which nodes measure what
  atalaya status --watch                        the same once a second, until Ctrl-C
  atalaya status --output json | jq '.nodes[] | select(.age > 60) | .id'
  atalaya status --watch --output json          an object a line, a line a second

Ages are by ZooKeeper's clock, as far as it is known: nothing is written to ask it. If this machine's
clock is fast, they are too large at first; --watch finds that out.")]
pub struct StatusArgs {
    /// Look again every second, until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,

    /// How to print; json is one object, and with --watch one a line.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// The znode below which measurements stand [default: boards.toml, else /mediciones]. Also ATALAYA_MEASUREMENTS.
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    pub measurements: Option<String>,

    /// What a node calls its measurement [default: boards.toml, else {id}]. Also ATALAYA_NAME.
    #[arg(long, value_name = "TEMPLATE", help_heading = "Fleet")]
    pub name: Option<String>,

    /// The znode at which the election is held [default: boards.toml, else /election]. Also ATALAYA_ELECTION.
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    pub election: Option<String>,
}

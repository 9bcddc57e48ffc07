//! `atalaya reports …`.

use clap::{Args, Subcommand};

use super::{ConnectionArgs, Output};

/// `atalaya reports …`.
#[derive(Debug, Subcommand)]
pub enum ReportsCommand {
    /// List the reports that are not delivered: those that wait for the API, and those that it rejected.
    #[command(after_help = "\
Examples:
  atalaya reports list
  atalaya reports list --output json | jq 'select(.reason)'

A report waits until the API accepts it (2xx or 409). What it answers with another 4xx is tried a few
times and then set aside, with the reason; so the others go on.")]
    List(ReportsListArgs),
    /// Put reports that the API rejected back: the leader sends them again at once.
    #[command(after_help = "\
Examples:
  atalaya reports retry 41 42
  atalaya reports retry --all            when the API is put right")]
    Retry(ReportsPickArgs),
    /// Delete reports for good: nobody will deliver them.
    #[command(after_help = "\
Examples:
  atalaya reports drop 41                waiting or rejected
  atalaya reports drop --all             all that were rejected; what waits has to be named")]
    Drop(ReportsPickArgs),
}

/// `atalaya reports list`.
#[derive(Debug, Args)]
pub struct ReportsListArgs {
    /// How to print; json is one object a line.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `atalaya reports retry` and `drop`.
#[derive(Debug, Args)]
pub struct ReportsPickArgs {
    /// Their cycles.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub cycles: Vec<u64>,

    /// All that the API rejected.
    #[arg(long)]
    pub all: bool,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

//! `atalaya epochs …`.

use clap::{Args, Subcommand};

use super::Output;

/// `atalaya epochs …`.
#[derive(Debug, Subcommand)]
pub enum EpochsCommand {
    /// List the epochs that a collector has recorded, the highest first.
    #[command(after_help = "\
Examples:
  atalaya epochs list --store sqlite:/var/lib/atalaya-collector/reports.db
  atalaya epochs list --store redis://127.0.0.1:6379/0
  docker compose exec collector atalaya epochs list

Reports of an epoch below the highest one are answered with 409 (problem `stale`) unless their cycle is
lower. An epoch far above the others, with few reports, is not from this fleet: drop it.")]
    List(EpochsListArgs),
    /// Delete an epoch and its reports from a collector's store, so that reports of lower epochs are accepted again.
    #[command(after_help = "\
Examples:
  atalaya epochs drop 1821211504 --dry-run       show what would be deleted
  atalaya epochs drop 1821211504 --yes
  sudo -u atalaya atalaya epochs drop 1821211504 --yes --store sqlite:/var/lib/atalaya-collector/reports.db

The collector may run meanwhile: it sees the change with the next report. Sums of reports that are past
--keep-reports cannot be separated and stay. Deleted reports cannot be restored: back the store up first.")]
    Drop(EpochsDropArgs),
}

/// `atalaya epochs list`.
#[derive(Debug, Args)]
pub struct EpochsListArgs {
    /// Store of the collector.
    #[command(flatten)]
    pub store: StoreArgs,

    /// How to print; json is one object a line.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,

    /// Maximum number of epochs.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: u32,
}

/// `atalaya epochs drop`.
#[derive(Debug, Args)]
pub struct EpochsDropArgs {
    /// Epoch to delete.
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    pub epoch: i64,

    /// Store of the collector.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Delete it. Without this flag nothing is deleted.
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,

    /// Show what would be deleted, and delete nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Store of a collector.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Store of the collector: sqlite:PATH or redis://HOST:PORT/DATABASE [default: sqlite:reports.db, in the folder
    /// that STATE_DIRECTORY names, or here]. Also ATALAYA_STORE.
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
}

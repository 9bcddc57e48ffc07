//! `atalaya epochs list|drop`: epochs in a collector's store. The commands open the store itself. The collector may
//! be running, because SQLite and Redis serialize writers. Access to the store is the authorization.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use anyhow::anyhow;
use atalaya_collector::fence::Epoch;
use atalaya_collector::{FleetName, Store, StoreError, ZoneName, open_store};
use clap::{Args, Subcommand};

use super::args::Output;
use super::collect::{default_store, redact_password};
use super::stdout::print;
use super::{current_thread_runtime, process_environment};
use crate::commands::exit::Failure;
use crate::model::text;

#[derive(Debug, Subcommand)]
pub(super) enum EpochsCommand {
    /// List the epochs that a collector has recorded, highest first.
    #[command(after_help = "\
Examples:
  atalaya epochs list --store sqlite:/var/lib/atalaya-collector/reports.db
  atalaya epochs list --store redis://127.0.0.1:6379/0 --fleet home
  docker compose exec collector atalaya epochs list

The collector rejects reports of an epoch below the highest one with 409 (problem `stale`), unless their \
cycle is lower. An epoch far above the others, with few reports, is not from this fleet: drop it.")]
    List {
        #[command(flatten)]
        store: StoreArgs,

        /// Output format; json prints one object per line.
        #[arg(long, value_enum, default_value_t)]
        output: Output,

        /// Maximum number of epochs to list.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: u32,
    },
    /// Delete an epoch and its reports from a collector's store, so that reports of lower epochs are accepted again.
    #[command(after_help = "\
Examples:
  atalaya epochs drop 1821211504 --dry-run       show what the command deletes
  atalaya epochs drop 1821211504 --yes
  sudo -u atalaya atalaya epochs drop 1821211504 --yes \\
    --store sqlite:/var/lib/atalaya-collector/reports.db

The collector may be running and applies the change at the next report. Hourly sums of reports older \
than --keep-reports cannot be separated by epoch and remain. Deleted reports cannot be restored: back up \
the store first.

Exit codes: 0 done; 64 not confirmed with --yes; 69 the store is not available; 74 unknown epoch; 78 \
wrong store.")]
    Drop(EpochsDropArgs),
}

#[derive(Debug, Args)]
pub(super) struct EpochsDropArgs {
    /// Epoch to delete.
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    epoch: i64,

    #[command(flatten)]
    store: StoreArgs,

    /// Confirm the deletion. Without this flag nothing is deleted.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,

    /// Show the reports that would be deleted, without deleting them.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    /// Store of the collector: sqlite:PATH or redis://HOST:PORT/DATABASE [default: sqlite:reports.db in the folder
    /// STATE_DIRECTORY, or in the current folder] [env: ATALAYA_STORE].
    #[arg(long, value_name = "STORE")]
    store: Option<String>,

    /// Name of the fleet, as fleet_name of its nodes.
    #[arg(long, value_name = "NAME", default_value_t)]
    fleet: FleetName,

    /// Zone of the fleet, as zone of its nodes.
    #[arg(long, value_name = "NAME")]
    zone: Option<ZoneName>,
}

/// Maximum number of epochs that `drop` reads to find one.
const MAX_EPOCHS: usize = 100_000;

pub(super) fn main(command: &EpochsCommand) -> Result<(), Failure> {
    let runtime = current_thread_runtime()?;
    let store = match command {
        EpochsCommand::List { store, .. } => store,
        EpochsCommand::Drop(args) => &args.store,
    };
    runtime.block_on(async {
        let fleet = &store.fleet.in_zone(store.zone.as_ref());
        let (store, name) = open(store)?;
        let unavailable = |error: StoreError| Failure::unavailable(anyhow!("the store {name}: {error}"));
        // Waits for a lock, and migrates a file of an older version.
        store.check().await.map_err(unavailable)?;
        let done = match command {
            EpochsCommand::List { output, limit, .. } => {
                let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
                list(&store.epochs(fleet, limit).await.map_err(unavailable)?, *output)
            }
            EpochsCommand::Drop(args) => {
                let epochs = store.epochs(fleet, MAX_EPOCHS).await.map_err(unavailable)?;
                if confirm(&epochs, args)? {
                    let deleted = store.forget_epoch(fleet, args.epoch).await.map_err(unavailable)?;
                    let highest =
                        store.epochs(fleet, 1).await.map_err(unavailable)?.first().map(|epoch| epoch.epoch);
                    let (epoch, deleted, highest) = (args.epoch, reports(deleted), highest_epoch(highest));
                    print(format!("epoch {epoch} dropped, {deleted} deleted, {highest}\n").as_bytes())?;
                }
                Ok(())
            }
        };
        store.close().await;
        done
    })
}

/// Opens the store. A file that does not exist is not created.
fn open(args: &StoreArgs) -> Result<(Arc<dyn Store>, String), Failure> {
    let environment = process_environment();
    let name = match &args.store {
        Some(name) => name.clone(),
        None => {
            environment.first(&["ATALAYA_STORE"]).map_or_else(|| default_store(environment), |(_, name)| name)
        }
    };
    let shown = redact_password(&name);
    let wrong = |problem: &dyn Display| Failure::config(anyhow!("the store {shown}: {problem}"));
    if let Some(path) = name.trim().strip_prefix("sqlite:")
        && !std::path::Path::new(path).is_file()
    {
        return Err(wrong(&"no such file; set the collector's store with --store or ATALAYA_STORE"));
    }
    if name.trim() == "memory" {
        return Err(wrong(&"it is in the memory of the collector: restart the collector to drop its epochs"));
    }
    let store = open_store(&name).map_err(|error| wrong(&error))?;
    Ok((store, shown))
}

fn list(epochs: &[Epoch], output: Output) -> Result<(), Failure> {
    let mut text = match (output, epochs) {
        (Output::Json, _) => String::new(),
        (Output::Table, []) => "no epoch is recorded\n".to_owned(),
        (Output::Table, _) => format!(
            "{:>19}  {:>10}  {:<25}  {:<20}  {}\n",
            "epoch", "reports", "cycles", "last received", "reporter"
        ),
    };
    for epoch in epochs {
        text += &match output {
            Output::Table => row(epoch),
            Output::Json => serde_json::to_string(epoch).map_err(Failure::internal)?,
        };
        text.push('\n');
    }
    print(text.as_bytes())
}

fn row(epoch: &Epoch) -> String {
    let cycles = format!("{} to {}", epoch.first_cycle, epoch.last_cycle);
    let received = epoch.received.strftime("%Y-%m-%d %H:%M:%SZ");
    format!("{:>19}  {:>10}  {cycles:<25}  {received:<20}  {}", epoch.epoch, epoch.reports, reporter(epoch))
}

/// Returns the name of the reporter, safe for a terminal.
fn reporter(epoch: &Epoch) -> Cow<'_, str> {
    text::sanitize_line(epoch.reporter.as_deref().unwrap_or("an unknown program"))
}

/// Prints the reports that `drop` deletes. Returns true if the deletion is confirmed.
fn confirm(epochs: &[Epoch], args: &EpochsDropArgs) -> Result<bool, Failure> {
    let Some(epoch) = epochs.iter().find(|epoch| epoch.epoch == args.epoch) else {
        // An earlier `drop` may have been interrupted before all reports were deleted.
        if args.yes {
            return Ok(true);
        }
        return Err(Failure::io(anyhow!("epoch {} is not recorded: see atalaya epochs list", args.epoch)));
    };
    let remaining = epochs.iter().map(|epoch| epoch.epoch).find(|epoch| *epoch != args.epoch);
    let loss = format!(
        "epoch {}: {} recorded, cycles {} to {}, the last one received {} from {}\n\
         Its reports are deleted from the store and cannot be restored. \
         Sums of reports older than --keep-reports remain.\n\
         Without it {}; reports of a lower epoch are accepted again.\n",
        epoch.epoch,
        reports(usize::try_from(epoch.reports).unwrap_or(0)),
        epoch.first_cycle,
        epoch.last_cycle,
        epoch.received.strftime("%Y-%m-%d %H:%M:%SZ"),
        reporter(epoch),
        highest_epoch(remaining),
    );
    print(loss.as_bytes())?;
    match (args.yes, args.dry_run) {
        (true, _) => Ok(true),
        (false, true) => print(b"Nothing was deleted.\n").map(|()| false),
        (false, false) => {
            Err(Failure::usage(anyhow!("nothing was deleted: add --yes to drop epoch {}", args.epoch)))
        }
    }
}

fn reports(count: usize) -> String {
    if count == 1 { "1 report".to_owned() } else { format!("{count} reports") }
}

fn highest_epoch(epoch: Option<i64>) -> String {
    epoch.map_or_else(|| "no epoch is recorded".to_owned(), |epoch| format!("the highest epoch is {epoch}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_row_is_one_line_without_unsafe_characters() {
        let epoch = Epoch {
            epoch: 1,
            first_cycle: 1,
            last_cycle: 2,
            reports: 2,
            received: jiff::Timestamp::UNIX_EPOCH,
            reporter: Some("a\u{202e}b\u{2028}c\nd\u{1b}[2J".into()),
        };
        let row = row(&epoch);
        assert!(!row.contains(text::is_unsafe), "{row:?}");
        assert!(row.ends_with("[2J"), "{row:?}");
    }
}

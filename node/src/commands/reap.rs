//! `atalaya reap`: clears up after nodes of this machine that are dead.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_hal::duration;
use clap::Args;
use tracing::warn;

use super::args::StateArgs;
use super::process_environment;
use super::stdout::print;
use crate::commands::exit::Failure;
use crate::model::node_id::NodeId;
use crate::model::text;
use crate::process::stale_sessions::{CleanupError, CleanupOutcome, clean_up_node, find_records};
use crate::process::state_dir::{Holder, Purpose, StateDir};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya reap 1                       after kill -9 of node 1: its znodes are gone now, not later
  atalaya reap --all                   every node of this machine that is dead
  ExecStopPost=-/usr/bin/atalaya reap 1        in a systemd unit

A node that was killed leaves its znodes until its session times out; if it led, nobody leads
until then. This deletes them, as far as they still belong to a session that the dead process
wrote down, and the next in line leads at once. That it is dead is proved by a lock that dies
with it: a node that runs, or merely hangs, is left alone.

Exit codes: 0 done, or nothing to do; 65 what is written down makes no sense; 69 ZooKeeper
unreachable; 74 it cannot be read; 75 the node is running (with --all: it is left alone).")]
pub(super) struct ReapArgs {
    /// The node's id: in every fleet that it was in.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<NodeId>,

    /// All nodes that are remembered here.
    #[arg(long)]
    all: bool,

    /// Where nodes are remembered.
    #[command(flatten)]
    state: StateArgs,

    /// Give up (exit 69) when it has taken so long for one node.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: String,
}

pub(super) fn main(args: &ReapArgs) -> Result<(), Failure> {
    let timeout =
        duration::parse(&args.timeout).map_err(|error| Failure::usage(anyhow!("--timeout: {error}")))?;
    let folder = match StateDir::find(args.state.state_dir.as_ref(), process_environment()) {
        StateDir::At(folder) => folder,
        StateDir::Off => {
            return print(b"nothing is remembered: the state folder is off\n");
        }
        StateDir::Unknown => {
            return Err(Failure::usage(anyhow!(
                "there is no home: say --state-dir FOLDER, where nodes are remembered"
            )));
        }
    };
    let problem = |error| Failure::io(anyhow!("{} cannot be read: {error}", folder.display()));
    let known = find_records(&folder, args.id.as_ref()).map_err(problem)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let mut said = String::new();
    let mut failures = Vec::new();
    for (file, record) in known {
        match record {
            Ok(record) => match runtime.block_on(one(&file, &record.node, args.all, timeout)) {
                Ok(line) => {
                    let _ = writeln!(said, "node {}: {line}", record.node);
                }
                Err(problem) => failures.push(problem),
            },
            Err(source) => failures.push(unreadable(CleanupError::File { file, source })),
        }
    }
    if let (Some(id), true, true) = (&args.id, said.is_empty(), failures.is_empty()) {
        let _ = writeln!(said, "node {id}: nothing is remembered of it in {}", folder.display());
    }
    print(text::sanitize_lines(&said).as_bytes())?;
    // The last one is said, and its code given, by whoever called.
    let last = failures.pop();
    failures.iter().for_each(|failure| warn!("{failure}"));
    last.map_or(Ok(()), Err)
}

/// One node; what became of it.
async fn one(file: &Path, node: &str, all: bool, timeout: Duration) -> Result<String, Failure> {
    let Ok(reaped) = tokio::time::timeout(timeout, clean_up_node(file)).await else {
        let error =
            anyhow!("node {node}: not done within {timeout:?}: ZooKeeper is not reached, or does not answer");
        return Err(Failure::unavailable(error));
    };
    match reaped {
        Ok(CleanupOutcome::Removed(znodes)) if znodes.is_empty() => Ok("nothing was left".to_owned()),
        Ok(CleanupOutcome::Removed(znodes)) => Ok(format!("removed {}", znodes.join(", "))),
        Ok(CleanupOutcome::Running(holder)) if all => Ok(format!("{}: left alone", is_busy(holder))),
        Ok(CleanupOutcome::Running(holder)) => {
            Err(Failure::temp_fail(anyhow!("node {node} {}: nothing reaped", is_busy(holder))))
        }
        Err(error @ (CleanupError::File { .. } | CleanupError::Address(_))) => Err(unreadable(error)),
        Err(error @ CleanupError::ZooKeeper(_)) => Err(Failure::temp_fail(anyhow!("node {node}: {error}"))),
    }
}

/// It makes no sense (65), or could not be read at all (74).
fn unreadable(error: CleanupError) -> Failure {
    let senseless = match &error {
        CleanupError::File { source, .. } => {
            matches!(source.kind(), ErrorKind::InvalidData | ErrorKind::NotFound)
        }
        _ => true,
    };
    let error = anyhow!("{error}; nothing is reaped by it");
    if senseless { Failure::data(error) } else { Failure::io(error) }
}

/// "is running (process 412)".
fn is_busy(Holder { process, purpose }: Holder) -> String {
    let does = match purpose {
        Purpose::Run => "is running",
        Purpose::CleanUp => "is being reaped by another",
    };
    match process {
        Some(process) => format!("{does} (process {process})"),
        None => does.to_owned(),
    }
}

/// Clears up after `id`, whose process has ended, and gives the znodes that are gone.
///
/// # Errors
/// What to say of it, in a line.
pub(super) async fn after(id: &NodeId, folder: &Path) -> Result<Vec<String>, String> {
    let (mut removed, mut problem) = (Vec::new(), None);
    for (file, _) in find_records(folder, Some(id)).map_err(|error| error.to_string())? {
        match clean_up_node(&file).await {
            Ok(CleanupOutcome::Removed(znodes)) => removed.extend(znodes),
            // Of another fleet; or somebody was faster.
            Ok(CleanupOutcome::Running(_)) => {}
            Err(error) => problem = Some(error.to_string()),
        }
    }
    match problem {
        Some(problem) if removed.is_empty() => Err(problem),
        _ => Ok(removed),
    }
}

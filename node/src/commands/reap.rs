//! `atalaya reap`: deletes the znodes of dead nodes of this machine.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_config::duration;
use clap::Args;
use tracing::warn;

use super::args::StateArgs;
use super::stdout::print;
use super::{current_thread_runtime, load_settings, process_environment};
use crate::commands::exit::Failure;
use crate::model::node_id::NodeId;
use crate::model::text;
use crate::process::stale_sessions::{CleanupError, clean_up_node, find_records};
use crate::process::state_dir::{Holder, Purpose, StateDir};
use crate::settings::zookeeper_access::ZooKeeperAccess;
use crate::settings::{ConnectionFlags, SettingsError};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya reap 1                       after kill -9 of node 1: delete its znodes now
  atalaya reap --all                   clean up after all dead nodes of this machine
  ExecStopPost=-/usr/bin/atalaya reap 1        in a systemd unit

The znodes of a killed node remain until its session times out; if it was the leader, the fleet has no \
leader until then. This command deletes the znodes that still belong to a session in the state file of \
the dead process, so that the next contender leads at once. A lock that the operating system releases \
with the process proves that it is dead: a node that runs, or only hangs, is not touched. The servers are \
those in the state file; certificates and identity are from boards.toml, the environment or flags.

Exit codes: 0 done, or nothing to do; 65 malformed state file; 69 ZooKeeper unreachable; 74 state file \
not readable; 75 the node is running (with --all it is skipped); 76 TLS handshake failed; 77 the identity or \
a request was refused; 78 wrong configuration.")]
pub(super) struct ReapArgs {
    /// Id of the node, in every fleet that it was in.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<NodeId>,

    /// Clean up after all nodes with a state file on this machine.
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    flags: ConnectionFlags<false>,

    /// Maximum time per node; exits with 69 after it.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "5s")]
    timeout: Duration,
}

pub(super) fn main(args: &ReapArgs) -> Result<(), Failure> {
    let folder = match StateDir::find(args.state.state_dir.as_ref(), process_environment()) {
        StateDir::At(folder) => folder,
        StateDir::Off => return print(b"no state files: the state folder is off\n"),
        StateDir::Unknown => {
            let problem = "no state folder: HOME is not set; name the folder with --state-dir FOLDER";
            return Err(Failure::usage(anyhow!(problem)));
        }
    };
    let unreadable_folder = |error| Failure::io(anyhow!("cannot read {}: {error}", folder.display()));
    let (_, settings) = load_settings(None, &args.flags.0)?;
    let access = ZooKeeperAccess::read(&settings).map_err(SettingsError::from)?;
    let records = find_records(&folder, args.id.as_ref()).map_err(unreadable_folder)?;
    let runtime = current_thread_runtime()?;
    let mut output = String::new();
    let mut failures = Vec::new();
    for (file, record) in records {
        let reaped = match record {
            Ok(record) => runtime.block_on(reap_node(&file, &record.node, &access, args)),
            Err(source) => Err(state_file_failure(CleanupError::File { file, source })),
        };
        match reaped {
            Ok(line) => output += &line,
            Err(failure) => failures.push(failure),
        }
    }
    if let (Some(id), true, true) = (&args.id, output.is_empty(), failures.is_empty()) {
        output = format!("node {id}: no state file in {}\n", folder.display());
    }
    print(text::sanitize_lines(&output).as_bytes())?;
    // The caller reports the last failure and exits with its code.
    let last = failures.pop();
    failures.iter().for_each(|failure| warn!("{failure}"));
    last.map_or(Ok(()), Err)
}

/// Cleans up after one node. Returns the result as a line.
async fn reap_node(
    file: &Path,
    node: &str,
    access: &ZooKeeperAccess,
    args: &ReapArgs,
) -> Result<String, Failure> {
    let timeout = args.timeout;
    let problem = "ZooKeeper is not reachable or does not respond";
    let late = |_| Failure::unavailable(anyhow!("node {node}: not done within {timeout:?}: {problem}"));
    match tokio::time::timeout(timeout, clean_up_node(file, access)).await.map_err(late)? {
        Ok(znodes) if znodes.is_empty() => Ok(format!("node {node}: no znodes left\n")),
        Ok(znodes) => Ok(format!("node {node}: removed {}\n", znodes.join(", "))),
        Err(CleanupError::Running(holder)) if args.all => {
            Ok(format!("node {node}: {}: skipped\n", state_of(holder)))
        }
        Err(CleanupError::Running(holder)) => {
            Err(Failure::temp_fail(anyhow!("node {node} {}: nothing was deleted", state_of(holder))))
        }
        Err(error @ (CleanupError::File { .. } | CleanupError::Address(_))) => Err(state_file_failure(error)),
        Err(CleanupError::Connect(error)) => Err(Failure::refused(&error, format!("node {node}: {error}"))),
        Err(CleanupError::ZooKeeper(error)) if error.is_no_auth() => {
            Err(Failure::no_permission(anyhow!("node {node}: {error}")))
        }
        Err(error @ CleanupError::ZooKeeper(_)) => Err(Failure::temp_fail(anyhow!("node {node}: {error}"))),
    }
}

/// Returns the failure for a state file that is malformed (65) or cannot be read (74).
fn state_file_failure(error: CleanupError) -> Failure {
    let failure = match &error {
        CleanupError::File { source, .. }
            if !matches!(source.kind(), ErrorKind::InvalidData | ErrorKind::NotFound) =>
        {
            Failure::io
        }
        _ => Failure::data,
    };
    failure(anyhow!("{error}; no znode of this node was deleted"))
}

/// Returns text such as "is running (process 412)".
fn state_of(Holder { process, purpose }: Holder) -> String {
    let state = match purpose {
        Purpose::Run => "is running",
        Purpose::CleanUp => "is being cleaned up by another process",
    };
    match process {
        Some(process) => format!("{state} (process {process})"),
        None => state.to_owned(),
    }
}

/// Deletes the znodes of node `id`, whose process has ended. Returns the deleted znodes, or the reason in one line.
pub(super) async fn clean_up_after(
    id: &NodeId,
    folder: &Path,
    access: &ZooKeeperAccess,
) -> Result<Vec<String>, String> {
    let (mut removed, mut problem) = (Vec::new(), None);
    for (file, _) in find_records(folder, Some(id)).map_err(|error| error.to_string())? {
        match clean_up_node(&file, access).await {
            Ok(znodes) => removed.extend(znodes),
            // A node with this id in another fleet runs, or another process already cleans up.
            Err(CleanupError::Running(_)) => {}
            Err(error) => problem = Some(error.to_string()),
        }
    }
    match problem {
        Some(problem) if removed.is_empty() => Err(problem),
        _ => Ok(removed),
    }
}

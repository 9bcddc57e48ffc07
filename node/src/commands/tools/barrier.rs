//! `atalaya barrier wait|open|close`: Kazoo's and Curator's barrier.

use std::process::ExitCode;

use anyhow::anyhow;
use atalaya_recipes::Barrier;
use clap::{Args, Subcommand};

use super::connection::{parse, path, with_session};
use crate::commands::args::ConnectionArgs;
use crate::commands::exit::Failure;

#[derive(Debug, Subcommand)]
pub(in crate::commands) enum BarrierCommand {
    /// Wait until the barrier is open.
    Wait(BarrierWaitArgs),
    /// Open it: everybody who waits goes on.
    Open(BarrierArgs),
    /// Close it: whoever comes has to wait.
    Close(BarrierArgs),
}

/// `atalaya barrier open` and `close`.
#[derive(Debug, Args)]
pub(in crate::commands) struct BarrierArgs {
    /// The barrier's znode: while it exists, the barrier is closed.
    path: String,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::commands) struct BarrierWaitArgs {
    /// Which.
    #[command(flatten)]
    barrier: BarrierArgs,
    /// Give up (exit 75) after this time [default: never].
    #[arg(long, value_name = "DURATION")]
    wait: Option<String>,
}

pub(in crate::commands) fn main(command: &BarrierCommand) -> Result<ExitCode, Failure> {
    let args = match command {
        BarrierCommand::Wait(args) => &args.barrier,
        BarrierCommand::Open(args) | BarrierCommand::Close(args) => args,
    };
    let at = path(&args.path)?;
    let patience = match command {
        BarrierCommand::Wait(args) => args.wait.as_deref().map(|text| parse("wait", text)).transpose()?,
        _ => None,
    };
    with_session(&args.connection, |session| async move {
        let barrier = Barrier::new(session, &at);
        match (command, patience) {
            (BarrierCommand::Open(_), _) => drop(barrier.open().await.map_err(Failure::temp_fail)?),
            (BarrierCommand::Close(_), _) => drop(barrier.close().await.map_err(Failure::temp_fail)?),
            (BarrierCommand::Wait(_), None) => barrier.wait().await.map_err(Failure::temp_fail)?,
            (BarrierCommand::Wait(_), Some(patience)) => {
                if !barrier.wait_within(patience).await.map_err(Failure::temp_fail)? {
                    return Err(Failure::temp_fail(anyhow!(
                        "the barrier {at} was not open within {patience:?}"
                    )));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

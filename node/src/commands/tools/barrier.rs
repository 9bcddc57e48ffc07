//! `atalaya barrier wait|open|close`: the barrier of Kazoo and Curator.

use std::process::ExitCode;

use anyhow::anyhow;
use atalaya_recipes::Barrier;
use clap::{Args, Subcommand};

use super::connection::{parse_path, with_session};
use crate::commands::args::{ConnectionArgs, parse_duration};
use crate::commands::exit::Failure;

#[derive(Debug, Subcommand)]
pub(in crate::commands) enum BarrierCommand {
    /// Wait until the barrier is open.
    #[command(after_help = "\
Examples:
  atalaya barrier wait /maintenance && ./start.sh
  atalaya barrier wait /maintenance --wait 30s

Exit codes: 0 the barrier is open; 75 it was not opened within --wait.")]
    Wait(BarrierWaitArgs),
    /// Open the barrier. All waiting clients continue.
    Open(BarrierArgs),
    /// Close the barrier. Clients that arrive from now on wait.
    Close(BarrierArgs),
}

#[derive(Debug, Args)]
pub(in crate::commands) struct BarrierArgs {
    /// Znode of the barrier, which exists while the barrier is closed.
    path: String,

    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::commands) struct BarrierWaitArgs {
    #[command(flatten)]
    barrier: BarrierArgs,

    /// Maximum time to wait; exits with 75 after it [default: no limit].
    #[arg(long, value_name = "DURATION")]
    wait: Option<String>,
}

pub(in crate::commands) fn main(command: &BarrierCommand) -> Result<ExitCode, Failure> {
    let args = match command {
        BarrierCommand::Wait(args) => &args.barrier,
        BarrierCommand::Open(args) | BarrierCommand::Close(args) => args,
    };
    let path = parse_path(&args.path)?;
    let timeout = match command {
        BarrierCommand::Wait(args) => {
            args.wait.as_deref().map(|text| parse_duration("wait", text)).transpose()?
        }
        _ => None,
    };
    with_session(&args.connection, |session| async move {
        let barrier = Barrier::new(session, &path);
        match (command, timeout) {
            (BarrierCommand::Open(_), _) => drop(barrier.open().await.map_err(Failure::temp_fail)?),
            (BarrierCommand::Close(_), _) => drop(barrier.close().await.map_err(Failure::temp_fail)?),
            (BarrierCommand::Wait(_), None) => barrier.wait().await.map_err(Failure::temp_fail)?,
            (BarrierCommand::Wait(_), Some(timeout)) => {
                if !barrier.wait_within(timeout).await.map_err(Failure::temp_fail)? {
                    return Err(Failure::temp_fail(anyhow!(
                        "the barrier {path} was not opened within {timeout:?}"
                    )));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

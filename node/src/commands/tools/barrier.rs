//! `atalaya barrier wait|open|close`: the barrier of Kazoo and Curator.

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

pub(in crate::commands) fn main(command: &BarrierCommand) -> Result<(), Failure> {
    let (args, wait) = match command {
        BarrierCommand::Wait(args) => (&args.barrier, args.wait.as_deref()),
        BarrierCommand::Open(args) | BarrierCommand::Close(args) => (args, None),
    };
    let path = parse_path(&args.path)?;
    let timeout = wait.map(|text| parse_duration("wait", text)).transpose()?;
    with_session(&args.connection, async |session| {
        let barrier = Barrier::new(session, &path);
        match (command, timeout) {
            (BarrierCommand::Open(_), _) => drop(barrier.open().await?),
            (BarrierCommand::Close(_), _) => drop(barrier.close().await?),
            (BarrierCommand::Wait(_), None) => barrier.wait().await?,
            (BarrierCommand::Wait(_), Some(timeout)) => {
                if !barrier.wait_within(timeout).await? {
                    return Err(Failure::temp_fail(anyhow!(
                        "the barrier {path} was not opened within {timeout:?}"
                    )));
                }
            }
        }
        Ok(())
    })
}

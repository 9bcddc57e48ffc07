//! `atalaya barrier wait|open|close`: the barrier of Kazoo and Curator.

use std::time::Duration;

use anyhow::anyhow;
use atalaya_config::duration;
use atalaya_recipes::Barrier;
use clap::{Args, Subcommand};

use super::connection::with_session;
use crate::commands::args::{ConnectionArgs, znode_path};
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
    #[arg(value_parser = znode_path)]
    path: String,

    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::commands) struct BarrierWaitArgs {
    #[command(flatten)]
    barrier: BarrierArgs,

    /// Maximum time to wait; exits with 75 after it [default: no limit].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,
}

pub(in crate::commands) fn main(command: &BarrierCommand) -> Result<(), Failure> {
    let BarrierArgs { path, connection } = match command {
        BarrierCommand::Wait(args) => &args.barrier,
        BarrierCommand::Open(args) | BarrierCommand::Close(args) => args,
    };
    with_session(connection, async |session| {
        let barrier = Barrier::new(session, path);
        match command {
            BarrierCommand::Open(_) => drop(barrier.open().await?),
            BarrierCommand::Close(_) => drop(barrier.close().await?),
            BarrierCommand::Wait(BarrierWaitArgs { wait: None, .. }) => barrier.wait().await?,
            BarrierCommand::Wait(BarrierWaitArgs { wait: Some(timeout), .. }) => {
                if !barrier.wait_within(*timeout).await? {
                    let problem = anyhow!("the barrier {path} was not opened within {timeout:?}");
                    return Err(Failure::temp_fail(problem));
                }
            }
        }
        Ok(())
    })
}

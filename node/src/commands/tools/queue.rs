//! `atalaya queue put|take`: Kazoo's queue.

use std::process::ExitCode;

use anyhow::anyhow;
use atalaya_recipes::Queue;
use clap::{Args, Subcommand};

use super::config::line;
use super::connection::{input, parse, path, with_session};
use crate::commands::args::ConnectionArgs;
use crate::commands::exit::Failure;
use crate::commands::stdout::print;

#[derive(Debug, Subcommand)]
pub(in crate::commands) enum QueueCommand {
    /// Put a value into it.
    Put(QueuePutArgs),
    /// Take the first value out of it, and print it.
    Take(QueueTakeArgs),
}

#[derive(Debug, Args)]
pub(in crate::commands) struct QueuePutArgs {
    /// The queue's znode.
    path: String,
    /// What; - reads standard input.
    value: String,
    /// Lower comes first, from 0 to 999.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=999))]
    priority: u16,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::commands) struct QueueTakeArgs {
    /// The queue's znode.
    path: String,
    /// How long to wait for something; exit 75 if nothing comes [default: not at all].
    #[arg(long, value_name = "DURATION")]
    wait: Option<String>,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(in crate::commands) fn main(command: &QueueCommand) -> Result<ExitCode, Failure> {
    match command {
        QueueCommand::Put(args) => {
            let (at, value) = (path(&args.path)?, input(&args.value)?);
            with_session(&args.connection, |session| async move {
                let queue = Queue::new(session, at);
                queue.put(&value, args.priority).await.map_err(Failure::temp_fail)?;
                queue.close().await;
                Ok(ExitCode::SUCCESS)
            })
        }
        QueueCommand::Take(args) => {
            let at = path(&args.path)?;
            let wait = args.wait.as_deref().map(|text| parse("wait", text)).transpose()?;
            with_session(&args.connection, |session| async move {
                let queue = Queue::new(session, &at);
                let taken = match wait {
                    None => queue.take().await,
                    Some(wait) => queue.take_within(wait).await,
                };
                let taken = taken.map_err(Failure::temp_fail)?;
                queue.close().await;
                match taken {
                    Some(value) => print(&line(value)).map(|()| ExitCode::SUCCESS),
                    None => Err(Failure::temp_fail(anyhow!("the queue {at} is empty"))),
                }
            })
        }
    }
}

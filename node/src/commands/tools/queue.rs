//! `atalaya queue put|take`: Kazoo's queue.

use std::process::ExitCode;

use anyhow::anyhow;
use atalaya_recipes::Queue;

use super::config::line;
use super::connection::{input, parse, path, with_session};
use crate::cli::QueueCommand;
use crate::commands::exit::Failure;
use crate::commands::print;

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

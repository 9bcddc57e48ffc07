//! `atalaya queue put|take`: the queue of Kazoo.

use std::time::Duration;

use anyhow::anyhow;
use atalaya_config::duration;
use atalaya_recipes::Queue;
use clap::Subcommand;

use super::config::printable_line;
use super::connection::{value_or_stdin, with_session};
use crate::commands::args::{ConnectionArgs, znode_path};
use crate::commands::exit::Failure;
use crate::commands::stdout::print;

#[derive(Debug, Subcommand)]
pub(in crate::commands) enum QueueCommand {
    /// Put a value into a queue.
    #[command(after_help = "\
Examples:
  atalaya queue put /jobs build-42
  atalaya queue put /jobs urgent --priority 1
  ./describe-job.sh | atalaya queue put /jobs -")]
    Put {
        /// Znode of the queue; created if missing.
        #[arg(value_parser = znode_path)]
        path: String,

        /// Value; - reads standard input.
        value: String,

        /// Priority, from 0 (taken first) to 999.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=999))]
        priority: u16,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Take the first value out of a queue, and print it.
    #[command(after_help = "\
Examples:
  atalaya queue take /jobs
  atalaya queue take /jobs --wait 30s

Exit codes: 0 done; 75 the queue is empty.")]
    Take {
        /// Znode of the queue.
        #[arg(value_parser = znode_path)]
        path: String,

        /// Maximum time to wait for a value; exits with 75 after it [default: do not wait].
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        wait: Option<Duration>,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

pub(in crate::commands) fn main(command: &QueueCommand) -> Result<(), Failure> {
    match command {
        QueueCommand::Put { path, value, priority, connection } => {
            let value = value_or_stdin(value)?;
            with_session(connection, async |session| {
                let queue = Queue::new(session, path);
                queue.put(&value, *priority).await.map_err(Failure::temp_fail)?;
                queue.close().await;
                Ok(())
            })
        }
        QueueCommand::Take { path, wait, connection } => with_session(connection, async |session| {
            let queue = Queue::new(session, path);
            let taken = match wait {
                None => queue.take().await,
                Some(wait) => queue.take_within(*wait).await,
            };
            let taken = taken.map_err(Failure::temp_fail)?;
            queue.close().await;
            let Some(value) = taken else {
                return Err(Failure::temp_fail(anyhow!("the queue {path} is empty")));
            };
            print(&printable_line(value))
        }),
    }
}

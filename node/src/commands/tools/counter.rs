//! `atalaya counter get|add`: the counter of Kazoo, with additions that are applied exactly once.

use atalaya_recipes::{Counter, CounterError};
use clap::Subcommand;

use super::connection::with_session;
use crate::commands::args::{ConnectionArgs, znode_path};
use crate::commands::exit::Failure;
use crate::commands::stdout::print;

#[derive(Debug, Subcommand)]
pub(in crate::commands) enum CounterCommand {
    /// Print the value of a counter. A counter without a znode is 0.
    Get {
        /// Znode of the counter.
        #[arg(value_parser = znode_path)]
        path: String,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Add to a counter exactly once, and print its new value.
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Examples:
  atalaya counter add /deployments
  atalaya counter add /stock -3

Exit codes: 0 done; 65 the znode is not a number, or the result is out of range."
    )]
    Add {
        /// Znode of the counter; created if missing.
        #[arg(value_parser = znode_path)]
        path: String,

        /// Number to add; may be negative.
        #[arg(default_value_t = 1)]
        amount: i64,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

pub(in crate::commands) fn main(command: &CounterCommand) -> Result<(), Failure> {
    let (path, amount, connection) = match command {
        CounterCommand::Get { path, connection } => (path, None, connection),
        CounterCommand::Add { path, amount, connection } => (path, Some(*amount), connection),
    };
    with_session(connection, async |session| {
        let counter = Counter::exact(session, path);
        let value = match amount {
            None => counter.get().await,
            Some(amount) => counter.add(amount).await,
        };
        print(format!("{}\n", value.map_err(failure)?).as_bytes())
    })
}

fn failure(error: CounterError) -> Failure {
    match error {
        CounterError::NotANumber { .. } | CounterError::Overflow { .. } => Failure::data(error),
        error => Failure::temp_fail(error),
    }
}

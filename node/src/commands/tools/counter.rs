//! `atalaya counter get|add`: Kazoo's counter, added to exactly once.

use std::process::ExitCode;

use atalaya_recipes::{Counter, CounterError};
use clap::{Args, Subcommand};

use super::connection::{path, with_session};
use crate::commands::args::ConnectionArgs;
use crate::commands::exit::Failure;
use crate::commands::stdout::print;

#[derive(Debug, Subcommand)]
pub(in crate::commands) enum CounterCommand {
    /// Print what the counter shows.
    Get(CounterGetArgs),
    /// Add to it, exactly once, and print what it shows then.
    #[command(allow_negative_numbers = true)]
    Add(CounterAddArgs),
}

#[derive(Debug, Args)]
pub(in crate::commands) struct CounterGetArgs {
    /// The counter's znode.
    path: String,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::commands) struct CounterAddArgs {
    /// The counter's znode.
    path: String,
    /// How much; may be negative.
    #[arg(default_value_t = 1)]
    amount: i64,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(in crate::commands) fn main(command: &CounterCommand) -> Result<ExitCode, Failure> {
    let (at, connection, amount) = match command {
        CounterCommand::Get(args) => (path(&args.path)?, &args.connection, None),
        CounterCommand::Add(args) => (path(&args.path)?, &args.connection, Some(args.amount)),
    };
    with_session(connection, |session| async move {
        let counter = Counter::exact(session, at);
        let value = match amount {
            None => counter.get().await,
            Some(amount) => counter.add(amount).await,
        };
        print(format!("{}\n", value.map_err(failure)?).as_bytes())?;
        Ok(ExitCode::SUCCESS)
    })
}

fn failure(error: CounterError) -> Failure {
    match error {
        CounterError::NotANumber { .. } | CounterError::Overflow { .. } => Failure::data(error),
        error => Failure::temp_fail(error),
    }
}

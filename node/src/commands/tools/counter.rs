//! `atalaya counter get|add`: Kazoo's counter, added to exactly once.

use std::process::ExitCode;

use atalaya_recipes::{Counter, CounterError};

use super::connection::{path, with_session};
use crate::cli::CounterCommand;
use crate::commands::exit::Failure;
use crate::commands::print;

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

//! `atalaya task submit|list|show|watch|result|cancel|retry|actions`: tasks of a fleet.

mod actions;
mod cancel;
mod complete;
mod json;
mod list;
mod result;
mod retry;
mod show;
mod submit;
pub(super) mod table;
mod watch;

use anyhow::anyhow;
use atalaya_recipes::Session;
use clap::Subcommand;

use super::args::ConnectionArgs;
use crate::commands::exit::Failure;
use crate::commands::tools::connection::with_session;
use crate::model::node_info::host_name;
use crate::model::task::TaskId;
use crate::model::task::record::State;
use crate::model::text::sanitize_for_log;
use crate::settings::environment;
use crate::tasks::client::view::TaskView;
use crate::tasks::client::{ClientError, read::Reader};

pub(super) use complete::with_actions;

#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// Submit a task: an action that one node, some nodes or all nodes execute.
    Submit(submit::SubmitArgs),
    /// List tasks, newest first: those that have not ended, and the history.
    List(list::ListArgs),
    /// Show a task: its state, why it waits, each node with its outcome, and the output.
    Show(show::ShowArgs),
    /// Print the progress of a task until it has ended.
    Watch(watch::WatchArgs),
    /// Print the output of a task.
    Result(result::ResultArgs),
    /// Cancel a task. Nodes that execute it stop the command.
    Cancel(cancel::CancelArgs),
    /// Submit a task again that has ended; one for several nodes only for those that are not done.
    Retry(retry::RetryArgs),
    /// List the actions that the nodes offer.
    Actions(actions::ActionsArgs),
    /// Print the names of the known actions, for completion.
    #[command(hide = true)]
    Complete(complete::CompleteArgs),
}

pub(super) fn main(command: &TaskCommand) -> Result<(), Failure> {
    match command {
        TaskCommand::Submit(args) => submit::main(args),
        TaskCommand::List(args) => list::main(args),
        TaskCommand::Show(args) => show::main(args),
        TaskCommand::Watch(args) => watch::main(args),
        TaskCommand::Result(args) => result::main(args),
        TaskCommand::Cancel(args) => cancel::main(args),
        TaskCommand::Retry(args) => retry::main(args),
        TaskCommand::Actions(args) => actions::main(args),
        TaskCommand::Complete(args) => {
            complete::main(args);
            Ok(())
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Spec(_) | ClientError::Unknown(_) | ClientError::Ended { .. } => {
                Failure::data(error)
            }
            ClientError::TooMany { .. } => Failure::temp_fail(error),
            ClientError::Unreachable(_) => Failure::unavailable(error),
            ClientError::Refused(error) => error.into(),
        }
    }
}

fn task_id(text: &str) -> Result<TaskId, Failure> {
    text.parse().map_err(|problem| Failure::data(anyhow!("\"{}\": {problem}", sanitize_for_log(text))))
}

/// Connects, reads a task, and calls `work` with it.
fn with_task<T>(
    connection: &ConnectionArgs,
    task: &str,
    work: impl AsyncFnOnce(Session, TaskView) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let task = task_id(task)?;
    with_session(connection, async |session| {
        let view = Reader::default().task(&session, &task).await?;
        let view = view.ok_or(ClientError::Unknown(task))?;
        work(session, view).await
    })
}

/// Returns the name of this client in records: user and host.
fn client_name() -> String {
    let user = environment("USER").filter(|user| !user.is_empty());
    let user = user.map(|user| user + "@").unwrap_or_default();
    // The limit keeps specifications short.
    format!("{user}{}", host_name()).chars().take(100).collect()
}

/// Returns success if a task, or the part of a node, is done, and otherwise the failure with its exit code.
fn end(name: &str, state: State, is_broadcast: bool, reason: Option<&str>) -> Result<(), Failure> {
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let error = anyhow!("{name} {}{reason}", describe(state));
    match state {
        State::Done => Ok(()),
        State::Queued | State::Waiting | State::Assigned | State::Cancelled => Err(Failure::temp_fail(error)),
        State::Expired if !is_broadcast => Err(Failure::temp_fail(error)),
        State::Failed | State::TimedOut | State::Lost | State::Expired | State::Skipped => {
            Err(Failure::task_failed(error))
        }
    }
}

fn end_of(view: &TaskView) -> Result<(), Failure> {
    if view.is_unreadable {
        return Err(Failure::data(anyhow!("the record of {} is unreadable", view.task)));
    }
    end(view.task.as_str(), view.state(), view.is_broadcast(), view.reason())
}

fn describe(state: State) -> &'static str {
    match state {
        State::Queued | State::Waiting | State::Assigned => "has not ended",
        State::Done => "is done",
        State::Failed => "failed",
        State::TimedOut => "exceeded its time limit",
        State::Cancelled => "was cancelled",
        State::Lost => "is lost: its worker ended without a result",
        State::Expired => "was not started in time",
        State::Skipped => "was skipped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_depends_on_the_final_state() {
        let code = |state, is_broadcast| match end("t", state, is_broadcast, None) {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(failure) => failure.code(),
        };
        let table = [
            (State::Done, 0, 0),
            (State::Failed, 1, 1),
            (State::TimedOut, 1, 1),
            (State::Lost, 1, 1),
            (State::Expired, 75, 1),
            (State::Skipped, 1, 1),
            (State::Cancelled, 75, 75),
            (State::Queued, 75, 75),
        ];
        for (state, single, broadcast) in table {
            assert_eq!(code(state, false), std::process::ExitCode::from(single), "{state:?}");
            assert_eq!(code(state, true), std::process::ExitCode::from(broadcast), "{state:?}");
        }
    }
}

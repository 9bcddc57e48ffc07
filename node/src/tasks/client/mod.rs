//! Client of tasks: submits, cancels, reads and waits. The commands use it.
//!
//! # Promises
//! A task is submitted at most once, also if replies are lost (see [`submit`]). Znodes that are not valid never hide
//! valid ones: they are shown as unreadable. Reads use responses of limited size, and lists keep only a summary of each
//! task, so that the memory is bounded whatever others store.
//!
//! # Disconnect and session expiry
//! Requests that a lost connection interrupts are repeated over the next one, at most for [`RETRY_FOR`]. Waiting for the
//! end of a task continues over connections and sessions indefinitely.

pub(crate) mod read;
pub(crate) mod submit;
pub(crate) mod view;

use std::time::Duration;

use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::{Connection, Error, Session};
use tokio::time::{Instant, timeout_at};

use crate::model::json::to_json;
use crate::model::task::record::{Cancel, State};
use crate::model::task::{MAX_LIVE, TaskId, paths};

/// Time for which requests are repeated after a lost connection.
pub(crate) const RETRY_FOR: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The specification is wrong.
    #[error("the task was not submitted: {0}")]
    Spec(String),
    /// There are too many live tasks.
    #[error(
        "the task was not submitted: there are {live} live tasks, and {max} are the maximum; wait until some have \
         ended, or cancel some (atalaya task list)",
        max = MAX_LIVE
    )]
    TooMany {
        /// Number of live tasks.
        live: usize,
    },
    /// The task does not exist.
    #[error("task {0} does not exist; see atalaya task list")]
    Unknown(TaskId),
    /// The task has ended.
    #[error("{task} has ended already: {}", state.name())]
    Ended { task: TaskId, state: State },
    /// No connection within [`RETRY_FOR`].
    #[error("the connection to ZooKeeper was lost and not restored within {RETRY_FOR:?}{0}")]
    Unreachable(&'static str),
    /// ZooKeeper refused a request.
    #[error(transparent)]
    Refused(#[from] Error),
}

/// Calls `request` with a connection until it does not fail because of a lost connection.
///
/// # Cancel safety
/// Dropping the future does not undo a request.
pub(crate) async fn retry<T>(
    session: &Session,
    mut request: impl AsyncFnMut(&Connection) -> Result<T, Error>,
) -> Result<T, ClientError> {
    let deadline = Instant::now() + RETRY_FOR;
    let mut after = 0;
    loop {
        let work = async {
            let connection = session.connection_after(after).await;
            let result = request(&connection).await;
            (connection, result)
        };
        let Ok((connection, result)) = timeout_at(deadline, work).await else {
            return Err(ClientError::Unreachable(""));
        };
        match result {
            Ok(done) => return Ok(done),
            Err(error) if error.is_connection_loss() => after = next_connection(&connection, after),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the number of the last connection that must not be used again. A request may time out although its
/// connection is still established.
fn next_connection(connection: &Connection, after: u64) -> u64 {
    if connection.is_current() { after } else { connection.number() }
}

/// Requests to cancel a task. Returns false if that was requested before, or the task is cancelled.
pub(crate) async fn cancel(session: &Session, task: &TaskId, request: &Cancel) -> Result<bool, ClientError> {
    let (spec, cancel, data) = (paths::spec(task), paths::cancel(task), to_json(request));
    let created = retry(session, async |connection| {
        connection.ensure(paths::CANCEL).await?;
        // The leader deletes the specification when the state is final.
        let check = Write::Check { path: &spec, version: -1 };
        let create = Write::Create { path: &cancel, data: &data, mode: CreateMode::Persistent };
        match connection.multi(&[check, create]).await {
            Ok(_) => Ok(Some(true)),
            Err(failure) if failure.error.is_node_exists() => Ok(Some(false)),
            Err(failure) if failure.error.is_no_node() => Ok(None),
            Err(failure) => Err(failure.error),
        }
    })
    .await?;
    if let Some(is_new) = created {
        return Ok(is_new);
    }
    match read::Reader::default().task(session, task).await?.map(|view| view.state()) {
        // A lost reply may have been that of an earlier attempt of this request.
        Some(State::Cancelled) => Ok(false),
        Some(state) if state.is_final() => Err(ClientError::Ended { task: task.clone(), state }),
        _ => Err(ClientError::Unknown(task.clone())),
    }
}

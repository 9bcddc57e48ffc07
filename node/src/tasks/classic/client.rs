//! A client: submits a task and waits for its result.
//!
//! Both znodes are ephemeral, so a client that dies takes its task with it. The task survives reconnects within the session.

use atalaya_recipes::backoff::Backoff;
use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::text::truncate;
use atalaya_recipes::{Connection, Error, Phase, Session};
use tracing::{debug, info};

use super::layout::{Layout, TaskState};

/// Failure to get a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    /// Another client uses the id.
    #[error("a task {0} exists already, or was not deleted yet; use another --id")]
    IdInUse(String),
    /// Another client deleted the task.
    #[error("task {0} was deleted by another client")]
    Deleted(String),
    /// The session ended, and the task with it.
    #[error("the session with ZooKeeper was lost, and task {0} with it; submit it again")]
    SessionLost(String),
    /// ZooKeeper refused a request.
    #[error(transparent)]
    Refused(#[from] Error),
}

pub(crate) struct Client {
    session: Session,
    layout: Layout,
}

impl Client {
    pub(crate) fn new(session: Session, layout: Layout) -> Client {
        Client { session, layout }
    }

    /// Submits the task `id`, whose data are `unassigned` until a master assigns it. Waits for the result, and deletes the
    /// task.
    pub(crate) async fn submit(
        &self,
        id: &str,
        input: &[u8],
        unassigned: &str,
    ) -> Result<String, SubmitError> {
        let own = self.session.connection().await.session_id();
        let ended = async {
            let is_over = |state: &atalaya_recipes::SessionState| {
                state.session != own || matches!(state.phase, Phase::Connecting | Phase::Closed)
            };
            // An error means that the session is closed.
            let _ = self.session.watch().wait_for(is_over).await;
        };
        tokio::select! {
            biased;
            () = ended => Err(SubmitError::SessionLost(id.to_owned())),
            result = self.submit_in(own, id, input, unassigned) => result,
        }
    }

    async fn submit_in(
        &self,
        own: i64,
        id: &str,
        input: &[u8],
        unassigned: &str,
    ) -> Result<String, SubmitError> {
        let mut backoff = Backoff::default();
        let mut is_created = false;
        loop {
            let connection = self.session.connection().await;
            let step = async {
                if !is_created {
                    self.create(&connection, own, id, input, unassigned).await?;
                    is_created = true;
                    info!(task = id, "submitted");
                }
                self.result(&connection, own, id).await
            };
            match step.await {
                Ok(Some(result)) => {
                    self.delete(&connection, id).await;
                    return Ok(result);
                }
                Ok(None) => {}
                Err(SubmitError::Refused(error)) if error.is_connection_loss() => {
                    backoff.pause(&self.session, &error).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Creates the input and the task, unless an earlier attempt did. The input comes first: a worker reads it as soon as
    /// the task is assigned.
    async fn create(
        &self,
        connection: &Connection,
        own: i64,
        id: &str,
        input: &[u8],
        unassigned: &str,
    ) -> Result<(), SubmitError> {
        let (task, data) = (self.layout.task(id), self.layout.input(id));
        let mode = CreateMode::Ephemeral;
        let writes = [
            Write::Create { path: &data, data: input, mode },
            Write::Create { path: &task, data: unassigned.as_bytes(), mode },
        ];
        loop {
            let error: Error = match connection.multi(&writes).await {
                Ok(_) => return Ok(()),
                Err(failure) => failure.into(),
            };
            if error.is_no_node() {
                connection.ensure(&self.layout.inputs()).await?;
                connection.ensure(&self.layout.tasks()).await?;
            } else if error.is_node_exists() {
                // The reply to an earlier attempt may have been lost.
                let stat = connection.stat(&task).await?;
                let is_own = stat.is_some_and(|stat| stat.ephemeral_owner == own);
                return if is_own { Ok(()) } else { Err(SubmitError::IdInUse(id.to_owned())) };
            } else {
                return Err(error.into());
            }
        }
    }

    /// Waits for the result. Returns `None` after a change without a result, or if the connection is lost.
    async fn result(
        &self,
        connection: &Connection,
        own: i64,
        id: &str,
    ) -> Result<Option<String>, SubmitError> {
        let (found, watcher) = connection.get_opt_and_watch(&self.layout.task(id)).await?;
        let Some((data, _)) = found.filter(|(_, stat)| stat.ephemeral_owner == own) else {
            return Err(SubmitError::Deleted(id.to_owned()));
        };
        match TaskState::parse(id, &data) {
            TaskState::Finished(result) => return Ok(Some(result)),
            TaskState::Assigned(text) => debug!(task = id, text = truncate(&text, 80), "assigned"),
            TaskState::Unassigned => {}
        }
        connection.watch_event(watcher).await;
        Ok(None)
    }

    /// Deletes task and input. The end of the session deletes what remains.
    async fn delete(&self, connection: &Connection, id: &str) {
        for path in [self.layout.task(id), self.layout.input(id)] {
            if let Err(error) = connection.delete_if_exists(&path, None).await {
                debug!(%error, "cannot delete the znode; the end of the session does");
            }
        }
    }
}

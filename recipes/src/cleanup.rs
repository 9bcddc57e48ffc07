//! Deletes a znode when the value that needs it is dropped. Used by the recipes' guards.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::{Connection, Session};

/// A znode that is deleted when this value is dropped.
#[derive(Debug)]
pub(crate) struct Cleanup {
    session: Session,
    pub(crate) path: String,
    /// Session and data of the znode, if it is ephemeral and others may create the same path. A znode that differs is
    /// not deleted.
    pub(crate) owner: Option<(i64, String)>,
    /// Task that creates the znode again when it is missing. It is aborted first.
    pub(crate) task: Option<JoinHandle<()>>,
    /// False if there is nothing to delete.
    is_armed: bool,
}

impl Cleanup {
    /// Creates the cleanup of the znode at `path`. It has no effect before [`Cleanup::arm`].
    pub(crate) fn new(session: Session, path: String) -> Cleanup {
        Cleanup { session, path, owner: None, task: None, is_armed: false }
    }

    /// Marks the znode as possibly existing.
    pub(crate) fn arm(&mut self) {
        self.is_armed = true;
    }

    /// Marks the znode as not existing, or as owned by another client.
    pub(crate) fn disarm(&mut self) {
        self.is_armed = false;
    }

    /// Deletes the znode now and waits at most a session timeout. If that elapses, or the future is dropped, the
    /// deletion continues in the background.
    pub(crate) async fn run(mut self) {
        let timeout = self.session.state().timeout;
        if let Some(removed) = self.spawn_removal() {
            // A task, so that the deletion continues if this future is dropped.
            let _ = tokio::time::timeout(timeout, removed).await;
        }
    }

    /// Spawns the deletion that is due, if any. The receiver completes when it has ended.
    fn spawn_removal(&mut self) -> Option<oneshot::Receiver<()>> {
        if !std::mem::take(&mut self.is_armed) {
            return None;
        }
        let (session, path) = (self.session.clone(), std::mem::take(&mut self.path));
        let (owner, task) = (self.owner.take(), self.task.take());
        let removal = async move {
            if let Some(task) = task {
                task.abort();
                let _ = task.await;
            }
            remove(session, path, owner).await;
        };
        Some(self.session.spawn(removal))
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        drop(self.spawn_removal());
    }
}

/// Deletes the znode, with retries: a persistent one would remain indefinitely, an ephemeral one as long as its session
/// lives.
async fn remove(session: Session, path: String, owner: Option<(i64, String)>) {
    let timeout = DEFAULT_TIMEOUT.max(session.state().timeout);
    let mut attempts = Attempts::new(&session, timeout, "delete", &path);
    let (path, owner) = (&path, &owner);
    let delete = |connection: Connection| async move {
        if let Some((owner, data)) = owner {
            if *owner != connection.session_id() {
                return Ok(());
            }
            let Some((found, stat)) = connection.synced().await?.get_opt(path).await? else { return Ok(()) };
            if stat.ephemeral_owner != *owner || found != data.as_bytes() {
                return Ok(());
            }
        }
        connection.delete_if_exists(path, None).await.map(drop)
    };
    if let Err(error) = attempts.retry(delete).await {
        debug!(path, %error, "cannot delete the znode in time");
    }
}

//! Takes a znode of ours away when whoever needs it is gone, wherever that was dropped. Used by the recipes' guards.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::{Connection, Error, Session};

/// A znode that is to go with this value.
#[derive(Debug)]
pub(crate) struct Cleanup {
    session: Session,
    path: String,
    /// The session that it goes with, if it does, and the data that tells it from others': what differs is somebody
    /// else's.
    owner: Option<(i64, String)>,
    /// The task that makes the znode again when it is missing: it is ended first.
    keeper: Option<JoinHandle<()>>,
    /// Where a task can run that removes it; `None` when there is nothing to remove.
    armed: Option<Handle>,
}

impl Cleanup {
    /// The znode at `path`, once it is armed.
    pub(crate) fn of(session: Session, path: String) -> Cleanup {
        Cleanup { session, path, owner: None, keeper: None, armed: None }
    }

    /// The ephemeral znode with this data that `owner` creates at `path` from now on, and which others may create as well.
    pub(crate) fn of_session(session: Session, path: String, owner: i64, data: &str) -> Cleanup {
        let owner = Some((owner, data.to_owned()));
        Cleanup { session, path, owner, keeper: None, armed: Some(Handle::current()) }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// From now on the znode may be there. To be called inside of the runtime that removes it.
    pub(crate) fn arm(&mut self) {
        self.armed = Some(Handle::current());
    }

    /// Arms it, and hands over the task that keeps the znode.
    pub(crate) fn arm_with(&mut self, keeper: JoinHandle<()>) {
        self.arm();
        self.keeper = Some(keeper);
    }

    /// The znode is gone, or somebody else's business.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }

    /// Removes it now, and waits for that, a session timeout at the longest. Then, or cancelled, it goes on by itself.
    pub(crate) async fn now(mut self) {
        let patience = self.session.state().timeout;
        if let Some((_, removal)) = self.removal() {
            // Its own task, so that nothing is forgotten when this is dropped.
            let _ = tokio::time::timeout(patience, tokio::spawn(removal)).await;
        }
    }

    /// What is left to do, once.
    fn removal(&mut self) -> Option<(Handle, impl Future<Output = ()> + Send + 'static)> {
        let runtime = self.armed.take()?;
        let (session, path) = (self.session.clone(), std::mem::take(&mut self.path));
        let (owner, keeper) = (self.owner.take(), self.keeper.take());
        let removal = async move {
            if let Some(keeper) = keeper {
                keeper.abort();
                let _ = keeper.await;
            }
            remove(session, path, owner).await;
        };
        Some((runtime, removal))
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some((runtime, removal)) = self.removal() {
            runtime.spawn(removal);
        }
    }
}

/// Tries on for a while: what is persistent would stay for ever, and what is ephemeral for as long as its session lives.
async fn remove(session: Session, path: String, owner: Option<(i64, String)>) {
    let mut attempts = Attempts::new(&session, DEFAULT_TIMEOUT.max(session.state().timeout), "delete", &path);
    let removed = async {
        loop {
            let connection = attempts.connection().await?;
            match remove_over(&connection, &path, owner.as_ref()).await {
                Ok(()) => return Ok(()),
                Err(error) => attempts.failed(error).await?,
            }
        }
    };
    if let Err(error) = removed.await {
        let error: Error = error;
        debug!(path, %error, "could not be removed in time");
    }
}

async fn remove_over(
    connection: &Connection,
    path: &str,
    owner: Option<&(i64, String)>,
) -> Result<(), Error> {
    if let Some((owner, data)) = owner {
        if *owner != connection.session_id() {
            return Ok(());
        }
        connection.sync().await?;
        let Some((found, stat)) = connection.get_opt(path).await? else { return Ok(()) };
        if stat.ephemeral_owner != *owner || found != data.as_bytes() {
            return Ok(());
        }
    }
    connection.delete_if_exists(path, None).await.map(drop)
}

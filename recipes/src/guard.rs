//! Guard of an acquired lock, read or write lock, or semaphore permit.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::acquire_task::{Acquirable, AcquireTask, IfTaken, Status};
use crate::owned_node::{Hold, lease_expired};
use crate::{Connection, Error, Phase, Session, SessionState};

/// Reason why an acquisition failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The session was closed.
    #[error("the ZooKeeper session is closed")]
    Closed,
    /// ZooKeeper refused a request and would refuse it again. For `try_acquire` also: there is no connection, or
    /// ZooKeeper did not answer in time.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The semaphore has a different number of permits.
    #[error("the semaphore at {path} has {stored} permits, not {expected}")]
    Inconsistent {
        /// Path of the semaphore.
        path: String,
        /// Number of permits that is stored in ZooKeeper.
        stored: u64,
        /// Number of permits that the caller specified.
        expected: u32,
    },
}

/// Guard of an acquired lock or permit. Dropping it releases the lock in the background; the znode is deleted at the
/// latest with the session.
///
/// A guard that was [lost](Guard::lost) stays lost: acquire again. Its znode, if it still exists, stays in the queue
/// until the guard is dropped, so that other contenders wait until the holder has stopped its work.
#[must_use = "dropping it releases the lock"]
pub struct Guard {
    task: AcquireTask,
    hold: Hold,
    lost: AtomicBool,
}

impl Guard {
    /// Returns true if the lock is certainly held at this moment: the connection over which it was acquired is
    /// established, the [local lease](crate::session_validity) holds, and no deletion of the own znode was reported.
    /// Check it before every externally visible action. Once it has returned false it never returns true again.
    pub fn holds(&self) -> bool {
        let holds = !self.lost.load(Ordering::Relaxed)
            && self.hold.is_certain()
            && matches!(*self.task.status.borrow(), Status::Held(_))
            // The task that watches the znode ends with its runtime.
            && self.task.status.has_changed().is_ok();
        if !holds {
            self.lost.store(true, Ordering::Relaxed);
        }
        holds
    }

    /// Waits until the lock is no longer certainly held: after a disconnect, the expiry of the lease, the deletion of
    /// the own znode, or the end of the session. Cancel safe. Needs a Tokio runtime with time.
    pub async fn lost(&self) {
        if self.holds() {
            let mut status = self.task.status.clone();
            tokio::select! {
                biased;
                () = lease_expired(&self.hold.connection) => {}
                () = self.hold.connection.lost() => {}
                _ = status.wait_for(|status| !matches!(status, Status::Held(_))) => {}
            }
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the fencing token: a number that increases with every acquisition while the ensemble keeps its data. It
    /// is the `czxid` of the own znode. Pass it to systems that can reject lower tokens.
    pub fn fencing_token(&self) -> i64 {
        self.hold.fencing_token
    }

    /// Returns the path of the own znode. Check it in every `multi` that is written while the lock is held.
    pub fn znode(&self) -> &str {
        &self.hold.znode
    }

    /// Returns the connection over which the lock was acquired. Its calls fail after the connection is lost.
    pub fn connection(&self) -> &Connection {
        &self.hold.connection
    }

    /// Releases the lock. Returns true if ZooKeeper has confirmed that the own znode is deleted. Returns false if the
    /// session has ended first, or after one session timeout; the deletion then continues in the background, at most
    /// until the end of the session.
    ///
    /// Cancelling this future has the effect of dropping the guard.
    pub async fn release(self) -> bool {
        self.task.release(true).await
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hold { znode, fencing_token, .. } = &self.hold;
        f.debug_struct("Guard")
            .field("znode", znode)
            .field("fencing_token", fencing_token)
            .finish_non_exhaustive()
    }
}

/// Waits until a contender has acquired its znode. Calls `contender` for each attempt.
pub(crate) async fn acquire<C: Acquirable>(
    session: &Session,
    contender: impl Fn() -> C,
) -> Result<Guard, AcquireError> {
    loop {
        let task = AcquireTask::spawn(session, contender(), IfTaken::Wait);
        if let Some(guard) = wait_for_outcome(task).await? {
            return Ok(guard);
        }
    }
}

/// Like [`acquire`], for at most `timeout`. Returns `None` after a timeout. By then the attempt has left no znode or,
/// if there is no connection, its znode is deleted over the next one.
pub(crate) async fn acquire_within<C: Acquirable>(
    session: &Session,
    timeout: Duration,
    contender: impl Fn() -> C,
) -> Result<Option<Guard>, AcquireError> {
    let begun = Instant::now();
    loop {
        let mut task = AcquireTask::spawn(session, contender(), IfTaken::Wait);
        let remaining = timeout.saturating_sub(begun.elapsed());
        if tokio::time::timeout(remaining, task.decided()).await.is_err() {
            task.release(false).await;
            return Ok(None);
        }
        if let Some(guard) = wait_for_outcome(task).await? {
            return Ok(Some(guard));
        }
    }
}

/// Acquires without waiting for other contenders. Returns `None` if one holds or waits; the attempt has then left no
/// znode.
pub(crate) async fn try_acquire<C: Acquirable>(
    session: &Session,
    path: &str,
    contender: C,
) -> Result<Option<Guard>, AcquireError> {
    let SessionState { phase, timeout, .. } = session.state();
    if phase != Phase::Connected {
        return Err(Error::NotConnected { operation: "acquire", path: path.to_owned() }.into());
    }
    let mut task = AcquireTask::spawn(session, contender, IfTaken::GiveUp);
    if tokio::time::timeout(timeout, task.decided()).await.is_err() {
        task.release(false).await;
        return Err(Error::Timeout { operation: "acquire", path: path.to_owned(), after: timeout }.into());
    }
    wait_for_outcome(task).await
}

/// Waits for the outcome of an attempt. Returns `None` if another contender was in the way, or if the lock was lost
/// before the caller could use it.
async fn wait_for_outcome(mut task: AcquireTask) -> Result<Option<Guard>, AcquireError> {
    match task.decided().await {
        Some(Status::Held(hold)) => Ok(Some(Guard { task, hold, lost: AtomicBool::new(false) })),
        Some(Status::Ended { outcome: Err(error), .. }) => Err(error),
        Some(_) => Ok(None),
        // The session's runtime was shut down.
        None => Err(AcquireError::Closed),
    }
}

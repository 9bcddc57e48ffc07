//! What was acquired, for as long as it is held: a lock, the right to read or to write, a place of a semaphore.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::acquire_task::{Acquirable, AcquireTask, Ended, Status, Wish};
use crate::clock::BootInstant;
use crate::owned_node::LeaseEnd;
use crate::{Connection, Error, Session};

/// Why something could not be acquired.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The session was closed.
    #[error("the ZooKeeper session is closed")]
    Closed,
    /// ZooKeeper refuses, and would again; or, to whoever only tries, there is no connection, or no answer in time.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The semaphore has another number of places.
    #[error("the semaphore at {path} has {stored} places, not {expected}")]
    Inconsistent {
        /// Where it is.
        path: String,
        /// How many it has.
        stored: u64,
        /// How many it was said to have.
        expected: u32,
    },
}

/// What was acquired. Dropping it, anywhere, gives it back in the background; the znode goes at the latest with the
/// session.
///
/// Once [lost](Guard::lost), a guard stays lost: acquire again. Its znode, if it is still there, stays in line until the
/// guard is dropped, so that others wait for whoever still has to stop what it does.
#[must_use = "dropping it gives back what was acquired"]
pub struct Guard {
    tenure: AcquireTask,
    connection: Connection,
    znode: String,
    fence: i64,
    lost: AtomicBool,
}

impl Guard {
    /// Whether it is held for certain at this very moment: the connection stands over which it was acquired, the
    /// [lease](crate::session_validity) holds, and the own znode was there when last heard of. Look before every act that the outside
    /// can see. Never true again once it was false.
    pub fn holds(&self) -> bool {
        let holds = !self.lost.load(Ordering::Relaxed)
            && self.connection.is_current()
            && !self.connection.session().lease_remaining(BootInstant::now()).is_zero()
            && matches!(*self.tenure.status.borrow(), Status::Held { .. })
            // The task that watches the znode goes with its runtime.
            && self.tenure.status.has_changed().is_ok();
        if !holds {
            self.lost.store(true, Ordering::Relaxed);
        }
        holds
    }

    /// Returns as soon as holding is no longer certain: on a disconnect, when the lease is over, when the own znode is
    /// gone, when the session is over. Cancellation safe. Needs a tokio runtime with time.
    pub async fn lost(&self) {
        if self.holds() {
            let mut status = self.tenure.status.clone();
            tokio::select! {
                biased;
                () = LeaseEnd::of(&self.connection) => {}
                () = self.connection.lost() => {}
                _ = status.wait_for(|status| !matches!(status, Status::Held { .. })) => {}
            }
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// A fencing token: a number that is higher for whoever acquires later, for as long as the ensemble's data lives. It is
    /// the `czxid` of the own znode. Hand it to whoever can refuse a lower one.
    pub fn fencing_token(&self) -> i64 {
        self.fence
    }

    /// The path of the own znode, to be checked in every `multi` that is written under what is held.
    pub fn znode(&self) -> &str {
        &self.znode
    }

    /// The connection over which it was acquired. Its calls fail once it is lost.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Gives it back. True when ZooKeeper has confirmed that the own znode is gone; false when the session has ended before
    /// that, or a session timeout was not enough: then it goes on in the background, at the latest with the session.
    ///
    /// Cancelling this is as dropping the guard.
    pub async fn release(self) -> bool {
        self.tenure.end(true).await
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Guard { znode, fence, .. } = self;
        f.debug_struct("Guard").field("znode", znode).field("fence", fence).finish_non_exhaustive()
    }
}

/// Waits until `claimant` has what it strives for.
pub(crate) async fn acquire<C: Acquirable>(
    session: &Session,
    claimant: impl Fn() -> C,
) -> Result<Guard, AcquireError> {
    loop {
        let tenure = AcquireTask::begin(session, claimant(), Wish::Wait);
        if let Some(guard) = settle(tenure).await? {
            return Ok(guard);
        }
    }
}

/// The same, for so long at most. `None` when it was not to be had in time; nothing is left of the try then, or, if there
/// is no connection, will be with the next one.
pub(crate) async fn acquire_within<C: Acquirable>(
    session: &Session,
    patience: Duration,
    claimant: impl Fn() -> C,
) -> Result<Option<Guard>, AcquireError> {
    let until = tokio::time::sleep(patience);
    tokio::pin!(until);
    loop {
        let tenure = AcquireTask::begin(session, claimant(), Wish::Wait);
        let mut status = tenure.status.clone();
        let in_time = tokio::select! {
            biased;
            _ = status.wait_for(|status| !matches!(status, Status::Seeking)) => true,
            () = &mut until => false,
        };
        if !in_time {
            tenure.end(false).await;
            return Ok(None);
        }
        if let Some(guard) = settle(tenure).await? {
            return Ok(Some(guard));
        }
    }
}

/// Acquires it if nobody is in the way. `None` if somebody is: then nothing is left of the try.
pub(crate) async fn try_acquire<C: Acquirable>(
    session: &Session,
    path: &str,
    claimant: C,
) -> Result<Option<Guard>, AcquireError> {
    let view = session.state();
    if session.state().phase != crate::Phase::Connected {
        return Err(Error::NotConnected { operation: "acquire", path: path.to_owned() }.into());
    }
    let tenure = AcquireTask::begin(session, claimant, Wish::GiveUp);
    let mut status = tenure.status.clone();
    let settled = status.wait_for(|status| !matches!(status, Status::Seeking));
    if tokio::time::timeout(view.timeout, settled).await.is_err() {
        tenure.end(false).await;
        return Err(
            Error::Timeout { operation: "acquire", path: path.to_owned(), after: view.timeout }.into()
        );
    }
    settle(tenure).await
}

/// Waits until it is decided. `None` if it was not to be had, or was lost before anyone could take it over.
async fn settle(mut tenure: AcquireTask) -> Result<Option<Guard>, AcquireError> {
    let status = tenure.status.wait_for(|status| !matches!(status, Status::Seeking)).await;
    let status = status.map(|status| status.clone());
    match status {
        Ok(Status::Held { connection, znode, fence }) => {
            Ok(Some(Guard { tenure, connection, znode, fence, lost: AtomicBool::new(false) }))
        }
        Ok(Status::Over { why: Ended::Failed(error), .. }) => Err(error),
        Ok(_) => Ok(None),
        // The runtime that the session lives on is gone.
        Err(_) => Err(AcquireError::Closed),
    }
}

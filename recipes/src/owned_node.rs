//! An ephemeral znode of this session, and the detection of its loss. [`crate::election`] leads, and a [`crate::Guard`]
//! holds, as long as its znode is certainly owned.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tracing::debug;

use crate::clock::BootInstant;
use crate::{Connection, Error};

/// A znode that a session holds.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    /// Connection over which the znode was read.
    pub(crate) connection: Connection,
    pub(crate) znode: String,
    /// Id of the transaction that created the znode. It increases with every holder.
    pub(crate) fencing_token: i64,
}

impl Hold {
    /// Returns true if the connection is established and the local lease holds.
    pub(crate) fn is_certain(&self) -> bool {
        self.connection.is_current() && self.has_lease()
    }

    fn has_lease(&self) -> bool {
        !self.connection.session().lease_remaining(BootInstant::now()).is_zero()
    }
}

/// A znode of this session, with a watch over the connection that read it.
pub(crate) struct OwnedNode {
    pub(crate) hold: Hold,
    /// Completes when the watch fires; `None` afterwards. Dropping it earlier sends a request to the server.
    event: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl fmt::Debug for OwnedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedNode").field("hold", &self.hold).finish_non_exhaustive()
    }
}

/// Reason why the znode is not certainly owned any more, although the connection is established.
#[derive(Debug)]
pub(crate) enum LossReason {
    /// The local lease expired: ZooKeeper's leader has not responded for too long.
    LeaseExpired,
    Deleted,
    /// The check of a changed znode failed.
    Unknown(Error),
}

impl OwnedNode {
    /// Reads and watches the znode at `path`. Returns `None` if it does not exist, or belongs to another session.
    pub(crate) async fn watch(connection: &Connection, path: String) -> Result<Option<OwnedNode>, Error> {
        let (stat, watcher) = connection.stat_and_watch(&path).await?;
        let own = stat.filter(|stat| stat.ephemeral_owner == connection.session_id());
        Ok(own.map(|stat| {
            let event = Some(Box::pin(async { drop(watcher.changed().await) }) as Pin<Box<_>>);
            let hold = Hold { connection: connection.clone(), znode: path, fencing_token: stat.czxid };
            OwnedNode { hold, event }
        }))
    }

    /// Acquires a local lease, if there is a node and no lease.
    pub(crate) async fn lease(node: Option<OwnedNode>) -> Result<Option<OwnedNode>, Error> {
        if let Some(OwnedNode { hold, .. }) = &node
            && !hold.has_lease()
        {
            hold.connection.sync().await?;
        }
        Ok(node)
    }

    /// Waits until the watch has fired. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if let Some(event) = &mut self.event {
            event.await;
            self.event = None;
        }
    }

    /// Renews the local lease until it expires nevertheless or the znode is deleted. The caller must watch the
    /// connection.
    pub(crate) async fn lost(&mut self) -> LossReason {
        let Hold { connection, znode, .. } = &self.hold.clone();
        let deleted = async {
            self.changed().await;
            connection.deleted(znode).await
        };
        // The lease is checked first in every poll, because the process may have been stopped for any length of time.
        tokio::select! {
            biased;
            () = lease_expired(connection) => LossReason::LeaseExpired,
            result = deleted => match result {
                Ok(()) => LossReason::Deleted,
                Err(error) => LossReason::Unknown(error),
            },
            () = renew(connection) => LossReason::LeaseExpired,
        }
    }
}

/// Keeps the local lease at three quarters of its length or more, by a `sync` if no write of this session has renewed
/// it. Never returns. A failed renewal is retried; the lease itself expires if none succeeds.
async fn renew(connection: &Connection) {
    // The lease lasts for half of the session timeout.
    let quarter = connection.timeout() / 8;
    loop {
        let left = connection.session().lease_remaining(BootInstant::now());
        let pause = match left.saturating_sub(quarter * 3) {
            Duration::ZERO => match connection.sync().await {
                Ok(()) => continue,
                Err(error) => {
                    debug!(%error, "cannot renew the local lease");
                    quarter
                }
            },
            until_due => until_due,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Waits until the local lease of a session expires. Reads the clock whenever it is polled, so it is correct even if
/// timers are late; it sleeps between polls.
pub(crate) async fn lease_expired(connection: &Connection) {
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let left = connection.session().lease_remaining(BootInstant::now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            sleep.as_mut().reset(tokio::time::Instant::now() + left);
        }
    })
    .await;
}

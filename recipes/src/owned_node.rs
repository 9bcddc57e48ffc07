//! An ephemeral znode of this session, and the detection of its loss. [`crate::election`] leads, and a [`crate::Guard`]
//! holds, as long as its znode is certainly owned.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tracing::debug;
use zookeeper_client::Stat;

use crate::clock::BootInstant;
use crate::{Connection, Error};

/// A znode of this session, with a watch over the connection that read it.
pub(crate) struct WatchedNode {
    path: String,
    stat: Stat,
    /// Completes when the watch fires; `None` afterwards. Dropping it earlier sends a request to the server.
    event: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl WatchedNode {
    /// Reads and watches the znode at `path`. Returns `None` if it does not exist, or belongs to another session.
    pub(crate) async fn new(connection: &Connection, path: String) -> Result<Option<WatchedNode>, Error> {
        let (stat, watcher) = connection.stat_and_watch(&path).await?;
        let own = stat.filter(|stat| stat.ephemeral_owner == connection.session_id());
        Ok(own.map(|stat| {
            let event = Some(Box::pin(async { drop(watcher.changed().await) }) as Pin<Box<_>>);
            WatchedNode { path, stat, event }
        }))
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Waits until the watch has fired. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if let Some(event) = &mut self.event {
            event.await;
            self.event = None;
        }
    }
}

impl fmt::Debug for WatchedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedNode").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A znode that this session owns, as read over one connection, with a local lease.
#[derive(Debug)]
pub(crate) struct OwnedNode {
    connection: Connection,
    node: WatchedNode,
}

/// Reason why the znode is not certainly owned any more, although the connection is established.
#[derive(Debug)]
pub(crate) enum LossReason {
    /// The local lease expired: ZooKeeper's leader has not responded for too long.
    LeaseExpired,
    /// The znode was deleted.
    Deleted,
    /// The check of a changed znode failed.
    Unknown(Error),
}

impl OwnedNode {
    /// Acquires a local lease, if there is none. Returns `None` if there is no `node`.
    pub(crate) async fn new(
        connection: &Connection,
        node: Option<WatchedNode>,
    ) -> Result<Option<OwnedNode>, Error> {
        let Some(node) = node else { return Ok(None) };
        if connection.session().lease_remaining(BootInstant::now()).is_zero() {
            connection.sync().await?;
        }
        Ok(Some(OwnedNode { connection: connection.clone(), node }))
    }

    pub(crate) fn path(&self) -> &str {
        &self.node.path
    }

    /// Returns the id of the transaction that created the znode. It increases with every holder.
    pub(crate) fn czxid(&self) -> i64 {
        self.node.stat.czxid
    }

    /// Renews the local lease until it expires nevertheless or the znode is deleted. The caller must watch the
    /// connection.
    pub(crate) async fn lost(&mut self) -> LossReason {
        let OwnedNode { connection, node } = self;
        let deleted = async {
            node.changed().await;
            connection.deleted(&node.path).await
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

//! Holding a znode of one's own, and knowing at once when that is no longer certain. What [`crate::election`] leads on,
//! and a [`crate::Guard`] stands for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;
use tracing::debug;
use zookeeper_client::Stat;

use crate::clock::BootInstant;
use crate::{Connection, Error};

/// A znode of this session's own, watched over the connection that it was seen over.
pub(crate) struct Watched {
    path: String,
    stat: Stat,
    /// Completes when anything has happened to it; `None` once it has. Dropped before that, it is a request to the server.
    event: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Watched {
    /// Looks at the znode at `path` and watches it; `None` if it does not exist, or is not this session's own.
    pub(crate) async fn new(connection: &Connection, path: String) -> Result<Option<Watched>, Error> {
        let (stat, watcher) = connection.stat_and_watch(&path).await?;
        let own = stat.filter(|stat| stat.ephemeral_owner == connection.session_id());
        Ok(own.map(|stat| {
            let event = Some(Box::pin(async { drop(watcher.changed().await) }) as Pin<Box<_>>);
            Watched { path, stat, event }
        }))
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns when anything has happened to it. Cancellation safe.
    pub(crate) async fn stirred(&mut self) {
        if let Some(event) = &mut self.event {
            event.await;
            self.event = None;
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A znode that was seen, over this connection, to be this session's own; with a lease.
#[derive(Debug)]
pub(crate) struct OwnedNode {
    connection: Connection,
    watched: Watched,
}

/// Why a hold is no longer certain, though the connection stands.
#[derive(Debug)]
pub(crate) enum End {
    /// ZooKeeper's leader has not answered for too long.
    Lease,
    /// The znode is gone.
    Robbed,
    /// Whether it is gone could not be found out.
    Unclear(Error),
}

impl OwnedNode {
    /// Sees to it that there is a lease.
    pub(crate) async fn of(connection: &Connection, watched: Watched) -> Result<OwnedNode, Error> {
        if connection.session().lease_remaining(BootInstant::now()).is_zero() {
            connection.sync().await?;
        }
        Ok(OwnedNode { connection: connection.clone(), watched })
    }

    pub(crate) fn path(&self) -> &str {
        &self.watched.path
    }

    /// The number of the transaction that created the znode: higher for whoever comes later.
    pub(crate) fn czxid(&self) -> i64 {
        self.watched.stat.czxid
    }

    /// Keeps the lease, and returns when it has ended all the same, or the znode is gone. The loss of the connection is
    /// for the caller to see.
    pub(crate) async fn ended(&mut self) -> End {
        let OwnedNode { connection, watched } = self;
        let robbed = async {
            watched.stirred().await;
            connection.deleted(&watched.path).await
        };
        // The lease comes first: it is looked at whenever this is polled, however long the process was stopped.
        tokio::select! {
            biased;
            () = LeaseEnd::of(connection) => End::Lease,
            result = robbed => match result {
                Ok(()) => End::Robbed,
                Err(error) => End::Unclear(error),
            },
            () = renew(connection) => End::Lease,
        }
    }
}

/// Keeps the lease at three quarters of its length or more, for ever: by a `sync`, unless a write of this session has
/// renewed it meanwhile. A failed renewal is only tried again: the lease itself decides.
async fn renew(connection: &Connection) {
    let quarter = connection.timeout() / 8;
    loop {
        let left = connection.session().lease_remaining(BootInstant::now());
        let pause = match left.saturating_sub(quarter * 3) {
            Duration::ZERO => match connection.sync().await {
                Ok(()) => continue,
                Err(error) => {
                    debug!(%error, "the lease was not renewed");
                    quarter
                }
            },
            until_due => until_due,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Completes when the lease of a link's session does not hold. Looks at the clock whenever it is polled, so it is right
/// also when timers are late; between polls it sleeps.
pub(crate) struct LeaseEnd<'a> {
    connection: &'a Connection,
    sleep: Pin<Box<Sleep>>,
}

impl<'a> LeaseEnd<'a> {
    pub(crate) fn of(connection: &'a Connection) -> LeaseEnd<'a> {
        LeaseEnd { connection, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }
}

impl Future for LeaseEnd<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let left = self.connection.session().lease_remaining(BootInstant::now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep.as_mut().reset(tokio::time::Instant::now() + left);
        }
    }
}

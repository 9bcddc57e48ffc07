//! Distributed lock, compatible with Kazoo and Curator on the wire, whose holder is notified at once when it is lost.
//!
//! # Guarantees
//! At most one guard of a path [holds](Guard::holds) at any time, among the guards of this crate and, as far as they
//! know it themselves, those of Kazoo. Waiting contenders acquire the lock in the order of arrival, and none waits
//! while the lock is free: an attempt that was cancelled, failed or timed out leaves no znode in the queue. The lock is
//! not re-entrant.
//!
//! # Znodes
//! `{path}/{32 hex}__lock__{10 digits}`, ephemeral and sequential, with the identifier as data: Kazoo 2.11's `Lock`.
//! With [`Lock::with_naming`], `_c_{uuid}-lock-{10 digits}` of Curator's `InterProcessMutex`, whose parents are
//! containers. The missing znodes of `{path}` are created, and remain.
//!
//! # Errors
//! Waiting continues over lost connections and expired sessions. [`AcquireError::Refused`] is an error that ZooKeeper
//! would return again (missing permission, invalid path). [`AcquireError::Closed`] is returned if the session is closed
//! while waiting.
//!
//! # Disconnect and session expiry
//! A waiting contender keeps its position over a disconnect, and joins the end of the queue again after an expiry. A
//! holder loses the lock in both cases, and also if the session's [local lease](crate::session_validity) expires or its
//! znode is deleted: [`Guard::lost`] returns, and [`Guard::holds`] is false from then on. After a disconnect the znode
//! stays in the queue until the guard is dropped.
//!
//! # Znodes of the wrong type
//! A contender ahead that is not ephemeral may block the lock indefinitely. It is logged, and reported in
//! [`Session::wrong_znodes`] while the lock waits behind it.
//!
//! # Cancel safety
//! All futures may be dropped at any await: a background task deletes the znodes that were, or may have been, created
//! in the queue as soon as there is a connection. The task ends with the session.
//!
//! # Bugs of other implementations
//! * Orphaned znodes in the queue after a create whose reply was lost (kazoo 732, curator 79, 18, 498): znode names
//!   carry an id, and the contender searches for it after every failure.
//! * A contender that hangs after a reconnect (kazoo 282, 482): it lists the queue again over each connection.
//! * A holder that continues after its znode was deleted (curator 171): it watches its own znode.
//!
//! # Example
//! `cargo run -p atalaya-recipes --example lock -- 127.0.0.1:2181`
//!
//! ```no_run
//! use std::time::Duration;
//! use atalaya_recipes::{Lock, Session};
//!
//! # async fn example(session: Session) -> Result<(), Box<dyn std::error::Error>> {
//! let lock = Lock::new(session, "/locks/crane", "node 1");
//! let Some(guard) = lock.acquire_within(Duration::from_secs(5)).await? else {
//!     println!("another client holds the lock");
//!     return Ok(());
//! };
//! tokio::select! {
//!     () = guard.lost() => println!("lock lost: stop the crane"),
//!     () = work(guard.fencing_token()) => println!("done"),
//! }
//! guard.release().await;
//! # Ok(())
//! # }
//! # async fn work(_fencing_token: i64) {}
//! ```

use std::time::Duration;

use crate::Session;
use crate::guard::{self, AcquireError, Guard};
use crate::lock_queue::Contender;
use crate::node_names::{ContenderId, Naming, Role};

/// Lock at a path. Each acquisition returns its own [`Guard`].
#[derive(Clone, Debug)]
pub struct Lock {
    session: Session,
    path: String,
    identifier: Vec<u8>,
    role: Role,
}

impl Lock {
    /// Creates a lock at `path` with Kazoo's naming. The contender's znode stores `identifier`. Does no I/O.
    pub fn new(session: Session, path: impl Into<String>, identifier: impl Into<Vec<u8>>) -> Lock {
        Lock::with_naming(session, path, identifier, Naming::Kazoo)
    }

    /// Creates a lock with the given naming. Does no I/O.
    pub fn with_naming(
        session: Session,
        path: impl Into<String>,
        identifier: impl Into<Vec<u8>>,
        naming: Naming,
    ) -> Lock {
        Lock { session, path: path.into(), identifier: identifier.into(), role: naming.into() }
    }

    pub(crate) fn with_role(self, role: Role) -> Lock {
        Lock { role, ..self }
    }

    /// Waits until the lock is acquired, without a time limit. Cancel safe.
    ///
    /// # Errors
    /// See the [module](self).
    pub async fn acquire(&self) -> Result<Guard, AcquireError> {
        guard::acquire(&self.session, || self.contender()).await
    }

    /// Waits until the lock is acquired, for at most `timeout`. Returns `None` after a timeout. By then the contender
    /// has left the queue or, if the connection is lost, leaves it when the connection is back. Cancel safe.
    ///
    /// # Errors
    /// See the [module](self).
    pub async fn acquire_within(&self, timeout: Duration) -> Result<Option<Guard>, AcquireError> {
        guard::acquire_within(&self.session, timeout, || self.contender()).await
    }

    /// Acquires the lock if no other contender holds it or waits for it. Otherwise returns `None` and leaves no znode
    /// in the queue. Cancel safe.
    ///
    /// # Errors
    /// See the [module](self). Also [`AcquireError::Refused`] if there is no connection, or no answer within the
    /// session timeout.
    pub async fn try_acquire(&self) -> Result<Option<Guard>, AcquireError> {
        guard::try_acquire(&self.session, &self.path, self.contender()).await
    }

    fn contender(&self) -> Contender {
        Contender::new(self.path.clone(), self.identifier.clone(), self.role, ContenderId::random())
    }
}

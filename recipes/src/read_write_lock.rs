//! Lock that many readers or one writer hold: Kazoo's `ReadLock` and `WriteLock` on the wire.
//!
//! # Guarantees
//! While the guard of a [`WriteLock`] holds, no other guard of the path does. The guards of [`ReadLock`]s hold together.
//! Contenders acquire in the order of arrival: a reader waits for the writers ahead of it only, a writer for all contenders
//! ahead of it. So a stream of readers does not starve a writer, and contenders never wait for each other in a circle.
//! Neither lock is re-entrant, and a reader cannot be upgraded to a writer: release it first.
//!
//! # Znodes
//! `{path}/{32 hex}__lock__{10 digits}` for writers, `{path}/{32 hex}__rlock__{10 digits}` for readers, ephemeral and
//! sequential, with the identifier as data, as in Kazoo 2.11. A plain [`Lock`](crate::Lock) on the same path ignores readers,
//! as Kazoo's does.
//!
//! # Errors, disconnect and session expiry, cancel safety
//! As for [`crate::lock`].
//!
//! # Bugs of other implementations
//! Readers and writers that wait for each other indefinitely (kazoo 649): each contender watches the last of the znodes that
//! it waits for, independent of the number of digits and the kind, and lists the queue again over every new connection. See
//! also the list in [`crate::lock`].
//!
//! # Example
//! `cargo run -p atalaya-recipes --example read_write_lock -- 127.0.0.1:2181`
//!
//! ```no_run
//! use atalaya_recipes::{ReadLock, Session, WriteLock};
//!
//! # async fn example(session: Session) -> Result<(), Box<dyn std::error::Error>> {
//! let read = ReadLock::new(session.clone(), "/locks/map", "node 1").acquire().await?;
//! println!("no client writes while {read:?} holds");
//! read.release().await;
//! let write = WriteLock::new(session, "/locks/map", "node 1").acquire().await?;
//! println!("exclusive, with the fencing token {}", write.fencing_token());
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use crate::guard::{AcquireError, Guard};
use crate::node_names::Role;
use crate::{Lock, Session};

/// Read lock. Each acquisition returns its own [`Guard`].
#[derive(Clone, Debug)]
pub struct ReadLock(Lock);

/// Write lock. Each acquisition returns its own [`Guard`].
#[derive(Clone, Debug)]
pub struct WriteLock(Lock);

impl ReadLock {
    /// Creates a read lock at `path`. The contender's znode stores `identifier`. Does no I/O.
    pub fn new(session: Session, path: impl Into<String>, identifier: impl Into<Vec<u8>>) -> ReadLock {
        ReadLock(Lock::with_role(session, path, identifier, Role::Reader))
    }

    /// Waits for the writers ahead; see [`Lock::acquire`].
    ///
    /// # Errors
    /// As for [`crate::lock`].
    pub async fn acquire(&self) -> Result<Guard, AcquireError> {
        self.0.acquire().await
    }

    /// Waits for the writers ahead, for at most `timeout`; see [`Lock::acquire_within`].
    ///
    /// # Errors
    /// As for [`crate::lock`].
    pub async fn acquire_within(&self, timeout: Duration) -> Result<Option<Guard>, AcquireError> {
        self.0.acquire_within(timeout).await
    }

    /// Acquires the lock if no writer holds it or waits for it; see [`Lock::try_acquire`].
    ///
    /// # Errors
    /// As for [`crate::lock`].
    pub async fn try_acquire(&self) -> Result<Option<Guard>, AcquireError> {
        self.0.try_acquire().await
    }
}

impl WriteLock {
    /// Creates a write lock at `path`. The contender's znode stores `identifier`. Does no I/O.
    pub fn new(session: Session, path: impl Into<String>, identifier: impl Into<Vec<u8>>) -> WriteLock {
        WriteLock(Lock::with_role(session, path, identifier, Role::Writer))
    }

    /// Waits for all contenders ahead; see [`Lock::acquire`].
    ///
    /// # Errors
    /// As for [`crate::lock`].
    pub async fn acquire(&self) -> Result<Guard, AcquireError> {
        self.0.acquire().await
    }

    /// Waits for all contenders ahead, for at most `timeout`; see [`Lock::acquire_within`].
    ///
    /// # Errors
    /// As for [`crate::lock`].
    pub async fn acquire_within(&self, timeout: Duration) -> Result<Option<Guard>, AcquireError> {
        self.0.acquire_within(timeout).await
    }

    /// Acquires the lock if no other contender holds it or waits for it; see [`Lock::try_acquire`].
    ///
    /// # Errors
    /// As for [`crate::lock`].
    pub async fn try_acquire(&self) -> Result<Option<Guard>, AcquireError> {
        self.0.try_acquire().await
    }
}

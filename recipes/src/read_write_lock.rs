//! A lock that many hold to read, or one to write: Kazoo's `ReadLock` and `WriteLock` on the wire.
//!
//! # What it promises
//! While a [`WriteLock`]'s guard of a path holds, no other guard of either kind does. [`ReadLock`]s hold together. Turns
//! come in the order of coming: a reader waits for the writers ahead of it and for nobody else, a writer for everyone
//! ahead of it. So readers that keep coming do not keep a writer waiting, and no circle of waiting comes about. Neither is
//! re-entrant, and a reader does not become a writer by asking: release first.
//!
//! # Znodes
//! `{path}/{32 hex}__lock__{10 digits}` of writers, `{path}/{32 hex}__rlock__{10 digits}` of readers, ephemeral and
//! sequential, data the identifier: as Kazoo 2.11's. A plain [`Lock`](crate::Lock) on the same path takes no notice of
//! readers, as Kazoo's does not.
//!
//! # Errors, behaviour on disconnect and on expiry, cancellation safety
//! As of [`crate::lock`].
//!
//! # What others suffered from
//! Readers and writers that wait for each other for ever (kazoo 649): each watches the znode just before its own of those
//! that it waits for, whatever its number of digits or its kind, and looks again over every new connection. And what
//! [`crate::lock`] lists.
//!
//! Try it: `cargo run -p atalaya-recipes --example read_write_lock -- 127.0.0.1:2181`.
//!
//! ```no_run
//! use atalaya_recipes::{ReadLock, Session, WriteLock};
//!
//! # async fn example(session: Session) -> Result<(), Box<dyn std::error::Error>> {
//! let reading = ReadLock::new(session.clone(), "/locks/map", "node 1").acquire().await?;
//! println!("nobody writes, for as long as {:?} holds", reading);
//! reading.release().await;
//! let writing = WriteLock::new(session, "/locks/map", "node 1").acquire().await?;
//! println!("alone, with the fencing token {}", writing.fencing_token());
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use crate::Session;
use crate::guard::{AcquireError, Guard};
use crate::lock::LockSpec;
use crate::node_names::Role;

/// The right to read. Each acquiring gives a [`Guard`] of its own.
#[derive(Clone, Debug)]
pub struct ReadLock {
    contest: LockSpec,
}

/// The right to write. Each acquiring gives a [`Guard`] of its own.
#[derive(Clone, Debug)]
pub struct WriteLock {
    contest: LockSpec,
}

impl ReadLock {
    /// The lock at `path`, for a reader that calls itself `identifier`. Nothing happens before it is acquired.
    pub fn new(session: Session, path: impl Into<String>, identifier: impl Into<Vec<u8>>) -> ReadLock {
        ReadLock { contest: LockSpec::new(session, path.into(), identifier.into(), Role::Reader) }
    }

    /// Waits for the writers ahead; see [`Lock::acquire`](crate::Lock::acquire).
    ///
    /// # Errors
    /// As of [`crate::lock`].
    pub async fn acquire(&self) -> Result<Guard, AcquireError> {
        self.contest.acquire().await
    }

    /// Waits for them, for so long at most; see [`Lock::acquire_within`](crate::Lock::acquire_within).
    ///
    /// # Errors
    /// As of [`crate::lock`].
    pub async fn acquire_within(&self, patience: Duration) -> Result<Option<Guard>, AcquireError> {
        self.contest.acquire_within(patience).await
    }

    /// Only if nobody writes or waits to write; see [`Lock::try_acquire`](crate::Lock::try_acquire).
    ///
    /// # Errors
    /// As of [`crate::lock`].
    pub async fn try_acquire(&self) -> Result<Option<Guard>, AcquireError> {
        self.contest.try_acquire().await
    }
}

impl WriteLock {
    /// The lock at `path`, for a writer that calls itself `identifier`. Nothing happens before it is acquired.
    pub fn new(session: Session, path: impl Into<String>, identifier: impl Into<Vec<u8>>) -> WriteLock {
        WriteLock { contest: LockSpec::new(session, path.into(), identifier.into(), Role::Writer) }
    }

    /// Waits for everyone ahead; see [`Lock::acquire`](crate::Lock::acquire).
    ///
    /// # Errors
    /// As of [`crate::lock`].
    pub async fn acquire(&self) -> Result<Guard, AcquireError> {
        self.contest.acquire().await
    }

    /// Waits for them, for so long at most; see [`Lock::acquire_within`](crate::Lock::acquire_within).
    ///
    /// # Errors
    /// As of [`crate::lock`].
    pub async fn acquire_within(&self, patience: Duration) -> Result<Option<Guard>, AcquireError> {
        self.contest.acquire_within(patience).await
    }

    /// Only if nobody holds it or waits for it; see [`Lock::try_acquire`](crate::Lock::try_acquire).
    ///
    /// # Errors
    /// As of [`crate::lock`].
    pub async fn try_acquire(&self) -> Result<Option<Guard>, AcquireError> {
        self.contest.try_acquire().await
    }
}

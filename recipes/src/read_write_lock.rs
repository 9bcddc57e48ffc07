//! Lock that any number of readers or one writer hold: Kazoo's `ReadLock` and `WriteLock` on the wire.
//!
//! # Guarantees
//! While the guard of a [write lock](ReadWriteLock::write_lock) holds, no other guard of the path does. The guards of
//! [read locks](ReadWriteLock::read_lock) hold together. Contenders acquire in the order of arrival: a reader waits for
//! the writers ahead of it only, a writer for all contenders ahead of it. So a stream of readers does not starve a
//! writer, and contenders never wait for each other in a circle. Neither lock is re-entrant, and a reader cannot be
//! upgraded to a writer: release it first.
//!
//! # Znodes
//! `{path}/{32 hex}__lock__{10 digits}` for writers, `{path}/{32 hex}__rlock__{10 digits}` for readers, ephemeral and
//! sequential, with the identifier as data, as in Kazoo 2.11. A plain [`Lock`] on the same path ignores
//! readers, as Kazoo's does.
//!
//! # Errors, disconnect and session expiry, cancel safety
//! As for [`crate::lock`].
//!
//! # Bugs of other implementations
//! Readers and writers that wait for each other indefinitely (kazoo 649): each contender watches the last of the znodes
//! that it waits for, independent of the number of digits and the kind, and lists the queue again over every new
//! connection. See also the list in [`crate::lock`].
//!
//! # Example
//! `cargo run -p atalaya-recipes --example read_write_lock -- 127.0.0.1:2181`
//!
//! ```no_run
//! use atalaya_recipes::{ReadWriteLock, Session};
//!
//! # async fn example(session: Session) -> Result<(), Box<dyn std::error::Error>> {
//! let lock = ReadWriteLock::new(session, "/locks/map", "node 1");
//! let read = lock.read_lock().acquire().await?;
//! println!("no client writes while {read:?} holds");
//! read.release().await;
//! let write = lock.write_lock().acquire().await?;
//! println!("exclusive, with the fencing token {}", write.fencing_token());
//! # Ok(())
//! # }
//! ```

use crate::node_names::Role;
use crate::{Lock, Session};

/// Read-write lock at a path.
#[derive(Clone, Debug)]
pub struct ReadWriteLock(Lock);

impl ReadWriteLock {
    /// Creates a read-write lock at `path`. The contender's znode stores `identifier`. Does no I/O.
    pub fn new(session: Session, path: impl Into<String>, identifier: impl Into<Vec<u8>>) -> ReadWriteLock {
        ReadWriteLock(Lock::new(session, path, identifier))
    }

    /// Returns the lock for reading. It waits for the writers ahead; [`Lock::try_acquire`] fails only if a writer holds
    /// it or waits for it.
    pub fn read_lock(&self) -> Lock {
        self.0.clone().with_role(Role::Reader)
    }

    /// Returns the lock for writing. It waits for all contenders ahead.
    pub fn write_lock(&self) -> Lock {
        self.0.clone().with_role(Role::Writer)
    }
}

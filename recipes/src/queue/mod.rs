//! Queues with priorities, compatible with Kazoo: [`Queue`], whose entries are deleted when they are taken, and
//! [`LockingQueue`], whose entries are held while they are processed.
//!
//! # Guarantees
//! * An entry is put exactly once and taken exactly once, even if responses are lost: each step also writes a dedup
//!   record, which is read after a loss. If the record cannot be read in time, the error is
//!   [`QueueError::OutcomeUnknown`].
//! * Entries are taken by priority (0 first, 999 last) and, within a priority, in the order in which they were put. A
//!   `Queue` lists its entries again after at most 64 of them, so an entry with a better priority may wait that long.
//! * If a process dies after it took an entry of a `Queue`, the entry is lost. An entry of a `LockingQueue` is free
//!   again when the session of its holder has ended.
//!
//! # Znodes
//! * `Queue`: `{path}/entry-{priority:03}-{10 digits}`, persistent sequential, with the value.
//! * `LockingQueue`: the same in `{path}/entries`; the holder of an entry has `{path}/taken/{name of the entry}`,
//!   ephemeral, with a token of 32 hex digits.
//! * Both: dedup records in the container `{path}__putters__`, one for each `Queue` or `LockingQueue` value in use (see
//!   [`crate::counter`]).
//!
//! # Errors
//! [`QueueError`].
//!
//! # Znodes of the wrong type
//! An entry that has children cannot be deleted: it is skipped, and reported in
//! [`Session::wrong_znodes`](crate::Session::wrong_znodes). A znode in `taken` that is not ephemeral is reported too;
//! its entry is held until an operator deletes it.
//!
//! # Disconnect and session expiry
//! Calls are retried over new connections and sessions until their timeout (30 s by default) or waiting time has
//! elapsed, and for at most one session timeout more. An entry is held in one session and lost with it:
//! [`HeldEntry::lost`].
//!
//! # Cancel safety
//! A dropped put has put its entry exactly once or not at all. A dropped take of a `Queue` may have taken an entry,
//! which is lost. A dropped take of a `LockingQueue` releases its entry.
//!
//! # Bugs of other implementations
//! * kazoo `Queue.put` puts an entry twice when a response is lost and the call is repeated.
//! * kazoo `Queue.get` loses an entry when the response to its delete is lost.
//! * kazoo 366: holds on consumed entries remain.
//! * kazoo 501: a client that loses the race for an entry waits although there are more.
//! * kazoo `LockingQueue.consume` reads the owner of the hold and deletes it later, when another client may own it.
//!
//! Examples: `cargo run -p atalaya-recipes --example queue -- 127.0.0.1:2181`, or `--example locking_queue`.
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) -> Result<(), atalaya_recipes::QueueError> {
//! use std::time::Duration;
//! use atalaya_recipes::LockingQueue;
//!
//! let queue = LockingQueue::new(session, "/jobs");
//! queue.put(b"calibrate 7", 100).await?;
//! if let Some(job) = queue.take_within(Duration::from_secs(60)).await? {
//!     println!("{}", String::from_utf8_lossy(job.data()));
//!     job.consume().await?;
//! }
//! # Ok(())
//! # }
//! ```

mod locking;
mod plain;

use std::time::Duration;

use tokio::sync::Mutex;

use crate::idempotent_write::{Failure, IdempotentWriter};
use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::session::Write;
use crate::{Connection, Error, Session};

pub use locking::{HeldEntry, LockingQueue};
pub use plain::Queue;

/// Usual priority of an entry; Kazoo's default.
pub const DEFAULT_PRIORITY: u16 = 100;

/// Interval at which blocked entries are checked again while there are no others.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of znodes of the wrong type that are reported for one queue.
const MAX_REPORTED: usize = 16;

/// Failure of a queue operation.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The operation took effect exactly once or not at all. It could not be found out in time which.
    #[error("outcome of an operation on {path} is unknown: {source}")]
    OutcomeUnknown {
        /// Path of the queue.
        path: String,
        /// Failure after which the outcome was unknown.
        source: Error,
    },
    /// The priority is not in 0 to 999.
    #[error("priority {0} is greater than 999")]
    Priority(u16),
    /// The session that held the entry has ended, or another client deleted the hold. The entry is free, or held by
    /// another client.
    #[error("entry {entry} is not held any more")]
    NotHeld {
        /// Path of the entry.
        entry: String,
    },
    /// The operation failed and had no effect.
    #[error(transparent)]
    Failed(#[from] Error),
}

#[derive(Debug)]
struct Entries {
    session: Session,
    path: String,
    timeout: Duration,
    writer: Mutex<IdempotentWriter>,
}

impl Entries {
    /// Describes the entries in `path` of the queue at `queue`.
    fn new(session: Session, queue: &str, path: String) -> Entries {
        let writer = Mutex::new(IdempotentWriter::new(session.clone(), format!("{queue}__putters__")));
        Entries { session, path, timeout: DEFAULT_TIMEOUT, writer }
    }

    /// Puts all values, or none.
    async fn put(&self, values: &[&[u8]], priority: u16) -> Result<(), QueueError> {
        if priority > 999 {
            return Err(QueueError::Priority(priority));
        }
        let prefix = format!("{}/entry-{priority:03}-", self.path);
        let writes: Vec<Write<'_>> =
            values.iter().map(|data| Write::CreateSequential { prefix: &prefix, data }).collect();
        let mut attempts = Attempts::new(&self.session, self.timeout, "put into", &self.path);
        let mut writer = self.writer.lock().await;
        loop {
            match writer.write(&mut attempts, None, &writes).await {
                Ok(()) => return Ok(()),
                Err(Failure::Refused(error)) if error.is_no_node() => self.ensure(&mut attempts).await?,
                Err(failure) => return Err(self.error(failure)),
            }
        }
    }

    async fn ensure(&self, attempts: &mut Attempts<'_>) -> Result<(), Error> {
        attempts.retry(|connection| async move { connection.ensure(&self.path).await }).await
    }

    fn error(&self, failure: Failure) -> QueueError {
        match failure {
            Failure::Unknown(source) => QueueError::OutcomeUnknown { path: self.path.clone(), source },
            Failure::SessionOver => QueueError::NotHeld { entry: self.path.clone() },
            Failure::Refused(error) | Failure::Failed(error) => QueueError::Failed(error),
        }
    }

    async fn len(&self) -> Result<usize, QueueError> {
        let mut attempts = Attempts::new(&self.session, self.timeout, "look at", &self.path);
        let read = |connection: Connection| async move { connection.synced().await?.stat(&self.path).await };
        let stat = attempts.retry(read).await?;
        Ok(stat.map_or(0, |stat| usize::try_from(stat.num_children).unwrap_or(0)))
    }
}

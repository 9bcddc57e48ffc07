//! Queues with priorities, Kazoo's on the wire: [`Queue`], whose entries are gone once they are taken, and
//! [`LockingQueue`], whose entries are held while they are worked on.
//!
//! # What they promise
//! * An entry that was put is in the queue once, and taken once, whatever is lost: a marker is written with each step,
//!   and looked at after a loss. Where that could not be done in time, [`QueueError::OutcomeUnknown`] says so.
//! * Entries come by priority (0 first, 999 last), and by their order of coming within a priority. A `Queue` looks at the
//!   order again after 64 entries at the latest.
//! * An entry of a `Queue` that was taken by a process that then dies is lost; one of a `LockingQueue` is free again when
//!   the session of whoever held it has ended.
//!
//! # Znodes
//! * `Queue`: `{path}/entry-{priority:03}-{10 digits}`, persistent sequential, with the value.
//! * `LockingQueue`: the same in `{path}/entries`; whoever works on one has `{path}/taken/{name of the entry}`, ephemeral,
//!   with a token in 32 hex.
//! * Both: markers in the container `{path}__putters__`, one for each of our values in use (see the counter's).
//!
//! # Errors
//! [`QueueError`].
//!
//! # Znodes of the wrong type
//! An entry that has children cannot be deleted: it is skipped, and reported in [`Session::wrong_znodes`](crate::Session::wrong_znodes).
//! So is a znode in `taken` that is not ephemeral; its entry is held until an operator deletes it.
//!
//! # Behaviour on disconnect and on expiry
//! Calls try on over new connections and sessions until their patience (30 s) or the time to wait is over, and one session
//! timeout more at the longest. What is held is held in one session, and lost with it: [`Taken::lost`].
//!
//! # Cancellation safety
//! A dropped put has put its entry once or not at all. A dropped take of a `Queue` may have taken an entry, which is lost
//! then; one of a `LockingQueue` lets go of it.
//!
//! # Answers to
//! kazoo `Queue.put` puts twice when a reply is lost and it is done again, `Queue.get` loses an entry when the reply to its
//! delete is; kazoo 366, holds on entries that are consumed stay; kazoo 501, a reader that comes second waits although
//! there are more; `LockingQueue.consume` looks whose the hold is and deletes it later, when it may be another's.
//!
//! Try it: `cargo run -p atalaya-recipes --example queue -- 127.0.0.1:2181`, or `--example locking_queue`.
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

use crate::idempotent_write::{Failure, Writer};
use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::session::Write;
use crate::{Error, Session};

pub use locking::{LockingQueue, Taken};
pub use plain::Queue;

/// What an entry's priority is unless it is told otherwise; Kazoo's default.
pub const PRIORITY: u16 = 100;

/// Interval at which entries that cannot be taken are looked at again while there are no others.
const RECHECK: Duration = Duration::from_secs(5);
/// Maximum number of znodes of the wrong type that are reported for one queue.
const REPORTED: usize = 16;

/// Why something with a queue did not work.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// It was done once or not at all; it could not be found out in time.
    #[error("whether it was done in {path} is unknown: {source}")]
    OutcomeUnknown {
        /// The queue.
        path: String,
        /// The failure that left the question.
        source: Error,
    },
    /// Priorities go from 0 to 999.
    #[error("a priority of {0} is more than 999")]
    Priority(u16),
    /// The session in which an entry was held is over, or somebody has taken it away: it is free for others, or theirs.
    #[error("entry {entry} is not held any more")]
    NotHeld {
        /// Its path.
        entry: String,
    },
    /// It failed, and nothing was done.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// What both queues have: where the entries are, and who writes them.
#[derive(Debug)]
struct Entries {
    session: Session,
    path: String,
    patience: Duration,
    writer: Mutex<Writer>,
}

impl Entries {
    /// Those in `path`, of the queue at `queue`.
    fn new(session: Session, queue: &str, path: String) -> Entries {
        let writer = Mutex::new(Writer::marked_within(session.clone(), format!("{queue}__putters__")));
        Entries { session, path, patience: DEFAULT_TIMEOUT, writer }
    }

    /// Puts them, all or none.
    async fn put(&self, values: &[&[u8]], priority: u16) -> Result<(), QueueError> {
        if priority > 999 {
            return Err(QueueError::Priority(priority));
        }
        let prefix = format!("{}/entry-{priority:03}-", self.path);
        let writes: Vec<Write<'_>> =
            values.iter().map(|data| Write::CreateSequential { prefix: &prefix, data }).collect();
        let mut attempts = Attempts::new(&self.session, self.patience, "put into", &self.path);
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
        loop {
            let connection = attempts.connection().await?;
            match connection.ensure(&self.path).await {
                Ok(()) => return Ok(()),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    fn error(&self, failure: Failure) -> QueueError {
        match failure {
            Failure::Unknown(source) => QueueError::OutcomeUnknown { path: self.path.clone(), source },
            Failure::SessionOver => QueueError::NotHeld { entry: self.path.clone() },
            Failure::Refused(error) | Failure::Failed(error) => QueueError::Failed(error),
        }
    }

    /// How many there are.
    async fn len(&self) -> Result<usize, QueueError> {
        let mut attempts = Attempts::new(&self.session, self.patience, "look at", &self.path);
        loop {
            let connection = attempts.connection().await?;
            let looked = async {
                connection.sync().await?;
                connection.stat(&self.path).await
            };
            match looked.await {
                Ok(stat) => return Ok(stat.map_or(0, |stat| usize::try_from(stat.num_children).unwrap_or(0))),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }
}

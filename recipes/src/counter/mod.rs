//! Counter that many clients add to; compatible with Kazoo on the wire.
//!
//! # Guarantees
//! An addition that returns `Ok` counts exactly once. An addition that returns an error does not count, except with
//! [`CounterError::OutcomeUnknown`]: then it has counted at most once.
//!
//! * [`Counter::exact`] finds out the outcome after lost replies, lost connections and lost sessions, until its
//!   timeout. The outcome stays unknown only if ZooKeeper did not answer in that time, or if the znodes were deleted.
//! * [`Counter::compatible`] writes only what Kazoo writes. If a reply is lost and another client's write may be
//!   mistaken for the lost one, it returns that the outcome is unknown, and never counts twice.
//!
//! Both can be used for one counter at the same time, together with Kazoo's.
//!
//! # Znodes
//! * `{path}`: decimal text. Empty data or a missing znode means the default. Each write requires the version that was
//!   read.
//! * `{path}__adders__/{32 hex}`, exact counters only: a dedup record per `Counter`, with the data `{token of the last
//!   addition} {sum}`, written in one `multi` with the counter. It is persistent, so that it outlives a session that
//!   ends between a lost reply and the read of the record. It is deleted when the counter is closed or dropped. The
//!   record of a dead process is deleted by a client that creates a record at least ten minutes later. The parent is a
//!   container, which ZooKeeper deletes after the last record.
//!
//! # Errors
//! [`CounterError`]. Data that is not a whole number of 64 bits is an error and is not modified: Kazoo's counters of
//! floats (`1.5`, and also `1.0`), its integers of more than 64 bits, and Curator's four bytes.
//!
//! # Disconnect and session expiry
//! A call retries over new connections and in new sessions until its timeout (30 s, see [`Counter::with_timeout`]),
//! plus at most one session timeout. An exact addition whose reply was lost reads its dedup record, in whichever
//! session it then is.
//!
//! # Cancel safety
//! A cancelled addition has counted at most once. It does not affect later additions of the same counter.
//!
//! # Bugs of other implementations
//! * Kazoo's `Counter` counts twice if a reply is lost, because it repeats the whole addition (`+= 1` added 2).
//! * Curator's `DistributedAtomicLong` leaves the question of whether an addition has counted to the caller.
//!
//! # Example
//! `cargo run -p atalaya-recipes --example counter -- 127.0.0.1:2181`
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) -> Result<(), atalaya_recipes::CounterError> {
//! use atalaya_recipes::Counter;
//!
//! let counter = Counter::exact(session, "/counter");
//! println!("reports so far: {}", counter.add(1).await?);
//! counter.close().await;
//! # Ok(())
//! # }
//! ```

mod addition;
mod number;
mod write_counter;

use std::time::Duration;

use tokio::sync::Mutex;

use self::addition::{Addition, AdditionRecord, Event, Step, SumWrite, ZnodeVersion};
use crate::dedup_record::{self, DedupRecord, RecordState};
use crate::error::excerpt;
use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::session::{MultiError, Write, Written, WrongZnodeReporter};
use crate::wrong_znode::WrongZnode;
use crate::{Connection, Error, Session};

pub use write_counter::WriteCounter;

/// Reason why an addition or a read failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CounterError {
    /// The addition has counted at most once.
    #[error("it is unknown whether {amount} was added to {path}: {source}")]
    OutcomeUnknown {
        /// Path of the counter.
        path: String,
        /// Amount of the addition.
        amount: i64,
        /// Failure that left the outcome unknown.
        source: Error,
    },
    /// The counter's data is not a whole number of 64 bits. Nothing was added.
    #[error("{path} contains {found:?}, which is not a whole number of 64 bits")]
    NotANumber {
        /// Path of the counter.
        path: String,
        /// Beginning of the data.
        found: String,
    },
    /// The sum exceeds 64 bits. Nothing was added.
    #[error("{path} is {value}: adding {amount} exceeds 64 bits")]
    Overflow {
        /// Path of the counter.
        path: String,
        /// Value of the counter.
        value: i64,
        /// Amount of the addition.
        amount: i64,
    },
    /// A request failed, and nothing was added.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Number in ZooKeeper. The additions of one `Counter` are made one after the other.
#[derive(Debug)]
pub struct Counter {
    session: Session,
    path: String,
    default: i64,
    timeout: Duration,
    /// Locked during an addition.
    state: Mutex<CounterState>,
}

#[derive(Debug)]
struct CounterState {
    /// `None` in a compatible counter.
    record: Option<DedupRecord>,
    /// Expected result of the next read. Set after an addition without contention; saves that read.
    expected_read: Option<Event>,
}

impl Counter {
    /// Creates a counter at `path` whose additions count exactly once, by means of a dedup record. Does no I/O.
    pub fn exact(session: Session, path: impl Into<String>) -> Counter {
        let path = path.into();
        let record = DedupRecord::new(session.clone(), format!("{path}__adders__"));
        Counter::new(session, path, Some(record))
    }

    /// Creates a counter at `path` that writes only what Kazoo writes. Does no I/O.
    pub fn compatible(session: Session, path: impl Into<String>) -> Counter {
        Counter::new(session, path.into(), None)
    }

    fn new(session: Session, path: String, record: Option<DedupRecord>) -> Counter {
        let state = Mutex::new(CounterState { record, expected_read: None });
        Counter { session, path, default: 0, timeout: DEFAULT_TIMEOUT, state }
    }

    /// Sets the value of an empty or missing counter. Default: 0.
    #[must_use]
    pub fn with_default(mut self, default: i64) -> Counter {
        self.default = default;
        self
    }

    /// Sets the maximum duration of a call, including retries but not the wait for other additions of the same
    /// `Counter`. Default: 30 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Counter {
        self.timeout = timeout;
        self
    }

    /// Returns the value, as of this call or later.
    pub async fn get(&self) -> Result<i64, CounterError> {
        let mut attempts = Attempts::new(&self.session, self.timeout, "get", &self.path);
        let read =
            |connection: Connection| async move { connection.synced().await?.get_opt(&self.path).await };
        attempts.retry(read).await?.map_or(Ok(self.default), |(data, _)| self.parse(&data))
    }

    /// Adds `amount`, which may be negative, and returns the sum.
    pub async fn add(&self, amount: i64) -> Result<i64, CounterError> {
        let CounterState { record, expected_read } = &mut *self.state.lock().await;
        let mut addition = Addition::new(amount);
        let token = uuid::Uuid::new_v4().simple().to_string();
        let mut attempts = Attempts::new(&self.session, self.timeout, "add", &self.path);
        let failed = |addition: &Addition, source| match addition.has_unknown_outcome() {
            true => CounterError::OutcomeUnknown { path: self.path.clone(), amount, source },
            false => CounterError::Failed(source),
        };
        // Taken, so that an addition that is cancelled does not leave an expectation that may be wrong.
        if let Some(read) = expected_read.take() {
            addition.on(read);
        }
        let mut contended = false;
        loop {
            let connection = attempts.connection().await.map_err(|error| failed(&addition, error))?;
            let result = match addition.step() {
                Step::Read => {
                    self.read(&connection, record.as_ref(), &token, addition.has_unknown_outcome()).await
                }
                Step::CreateRecord => match record {
                    Some(record) => {
                        record.create(&connection).await.map(|()| Event::RecordCreated).map_err(Into::into)
                    }
                    None => Ok(Event::RecordCreated),
                },
                Step::Write(write) => match self.write(&connection, record.as_ref(), &token, write).await {
                    Ok(version) => {
                        if !contended {
                            *expected_read = Some(write.expected_read(version));
                        }
                        Ok(Event::Written)
                    }
                    Err(error) => Err(error.into()),
                },
                Step::Counted(sum) => return Ok(sum),
                Step::Overflow(value) => {
                    return Err(CounterError::Overflow { path: self.path.clone(), value, amount });
                }
                Step::Unknown => return Err(failed(&addition, attempts.last_error())),
            };
            let waited = match result {
                Ok(event) => {
                    addition.on(event);
                    Ok(())
                }
                Err(CounterError::Failed(error)) => {
                    contended = true;
                    if error.outcome_unknown() {
                        addition.on(Event::OutcomeUnknown);
                    } else if error.is_conflict() {
                        addition.on(Event::Stale);
                    }
                    attempts.failed_or_contended(error).await
                }
                Err(error) => return Err(error),
            };
            waited.map_err(|error| failed(&addition, error))?;
        }
    }

    /// Deletes the dedup record of an exact counter. Dropping the counter also does, a little later.
    pub async fn close(self) {
        if let Some(record) = self.state.into_inner().record {
            record.znode.run().await;
        }
    }

    /// Reads the counter, which is created if it does not exist, and the dedup record. `sync`: the read must show all
    /// earlier writes.
    async fn read(
        &self,
        connection: &Connection,
        record: Option<&DedupRecord>,
        token: &str,
        sync: bool,
    ) -> Result<Event, CounterError> {
        if sync {
            connection.sync().await?;
        }
        let (found, record) = match record {
            None => (None, AdditionRecord::Unused),
            Some(record) => {
                let mut reads = connection.get_many(&[&self.path, &record.znode.path]).await?.into_iter();
                let found = reads.next().and_then(|read| read.found(&self.path).ok().flatten());
                let state = reads.next().map(|read| read.found(&record.znode.path)).transpose()?.flatten();
                let state = match dedup_record::decode(state, token) {
                    RecordState::Missing => AdditionRecord::Missing,
                    RecordState::Other(version) => AdditionRecord::Other(version),
                    // Written by this process, so it is a number.
                    RecordState::Own(sum) => sum.parse().map_or(AdditionRecord::Missing, AdditionRecord::Own),
                };
                (found, state)
            }
        };
        let (data, stat) = match found {
            Some(found) => found,
            // A separate read creates the znode, or returns the reason why it cannot be read.
            None => connection.get_or_create(&self.path).await?,
        };
        // The addition counts, but the counter is deleted with the session of its creator. Logged once.
        WrongZnodeReporter::default()
            .update(connection.session(), WrongZnode::not_persistent(&self.path, &stat));
        let at = ZnodeVersion { czxid: stat.czxid, version: stat.version };
        match self.parse(&data) {
            Ok(value) => Ok(Event::Read { value, at, record }),
            // The addition has counted, whatever another client has written since.
            Err(_) if matches!(record, AdditionRecord::Own(_)) => Ok(Event::Read { value: 0, at, record }),
            Err(error) => Err(error),
        }
    }

    /// Writes the sum, and returns the counter's version after that.
    async fn write(
        &self,
        connection: &Connection,
        record: Option<&DedupRecord>,
        token: &str,
        write: SumWrite,
    ) -> Result<i32, Error> {
        let Some(record) = record else {
            let sum = write.sum.to_string();
            return Ok(connection.set(&self.path, sum.as_bytes(), Some(write.at.version)).await?.version);
        };
        match self.write_with_record(connection, None, record, token, write).await?.first() {
            Some(Written::Set(stat)) => Ok(stat.version),
            _ => Ok(write.at.version.wrapping_add(1)),
        }
    }

    /// Makes up to three writes in one `multi`: `first` if any, the counter, and the dedup record.
    async fn write_with_record(
        &self,
        connection: &Connection,
        first: Option<Write<'_>>,
        record: &DedupRecord,
        token: &str,
        write: SumWrite,
    ) -> Result<Vec<Written>, MultiError> {
        let sum = write.sum.to_string();
        let text = dedup_record::encode(token, &sum);
        let counter = Write::Set { path: &self.path, data: sum.as_bytes(), version: Some(write.at.version) };
        let record =
            Write::Set { path: &record.znode.path, data: text.as_bytes(), version: write.record_version };
        let writes: Vec<Write<'_>> = first.into_iter().chain([counter, record]).collect();
        connection.multi(&writes).await
    }

    fn parse(&self, data: &[u8]) -> Result<i64, CounterError> {
        if data.is_empty() {
            return Ok(self.default);
        }
        number::parse(data)
            .ok_or_else(|| CounterError::NotANumber { path: self.path.clone(), found: excerpt(data) })
    }
}

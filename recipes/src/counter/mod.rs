//! A number that many add to, Kazoo's on the wire.
//!
//! # What it promises
//! Every addition that returned `Ok` counts once, and one that returned an error counts not at all, except with
//! [`CounterError::OutcomeUnknown`]: then it counted once or not at all.
//!
//! * [`Counter::exact`]: the outcome is found out, over lost replies, lost connections and lost sessions, as long as the
//!   patience lasts. It stays unknown only if no answer came for so long, or if somebody deleted the znodes.
//! * [`Counter::compatible`]: writes nothing but what Kazoo writes. When a reply is lost and somebody else's write may
//!   be mistaken for the lost one, the outcome is unknown, and that is returned: never a silent double count.
//!
//! Both may be used on one counter at the same time, and Kazoo's with them.
//!
//! # Znodes
//! * `{path}`: decimal text; empty, or not there, means the default. Written at the version that was read.
//! * `{path}__adders__/{32 hex}`, exact counters only: one marker each, persistent, so that it outlives a session that
//!   ends between a lost reply and the look at it. `{token of the newest addition} {sum}`, written in one `multi` with the
//!   counter. It goes when the counter is closed or dropped; one whose process died is removed by whoever makes a
//!   marker ten minutes later or more. The parent is a container: it goes with the last marker.
//!
//! # Errors
//! [`CounterError`]. What is not a whole number that fits 64 bits is refused and left as it is: Kazoo's counters of
//! floats (`1.5`, and also `1.0`), its integers beyond 64 bits, and Curator's four bytes.
//!
//! # Behaviour on disconnect and on expiry
//! A call tries on over new connections and new sessions until its patience is over (30 s, see
//! [`Counter::with_timeout`]), and one session timeout more at the longest. An exact addition that was lost looks at its
//! marker, whichever session it is then in.
//!
//! # Cancellation safety
//! An addition whose future was dropped counts once or not at all; the next one of the same counter is not disturbed.
//!
//! # Answers to
//! kazoo `Counter` counts twice when a reply is lost, for it retries the whole addition (`+= 1` made 2); Curator's
//! `DistributedAtomicLong` leaves the same question to the caller.
//!
//! Try it: `cargo run -p atalaya-recipes --example counter -- 127.0.0.1:2181`.
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
use zookeeper_client::Stat;

use self::addition::{Addition, At, Event, Mark, Step, Sum};
use crate::dedup_record::{self, DedupRecord, Told};
use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::session::{BulkRead, Write, Written};
use crate::wrong_znode::{WrongZnode, WrongZnodeReporter};
use crate::{Connection, Error, Session};

pub(crate) use write_counter::CountedWrite;
pub use write_counter::WriteCounter;

/// Why an addition, or a look, did not work.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CounterError {
    /// The addition counted once or not at all; nobody can tell.
    #[error("whether {amount} was added to {path} is unknown: {source}")]
    OutcomeUnknown {
        /// The counter.
        path: String,
        /// What was to be added.
        amount: i64,
        /// The failure that left the question.
        source: Error,
    },
    /// There is something else than a whole number of 64 bits. Nothing was added.
    #[error("{path} holds {found:?}, which is not a whole number of 64 bits")]
    NotANumber {
        /// The counter.
        path: String,
        /// What it holds.
        found: String,
    },
    /// The sum does not fit 64 bits. Nothing was added.
    #[error("{path} is at {value}: adding {amount} goes beyond 64 bits")]
    Overflow {
        /// The counter.
        path: String,
        /// Its value.
        value: i64,
        /// What was to be added.
        amount: i64,
    },
    /// It failed, and nothing was added.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A number in ZooKeeper. Additions of one `Counter` are made one after the other.
#[derive(Debug)]
pub struct Counter {
    session: Session,
    path: String,
    default: i64,
    patience: Duration,
    /// What an addition needs alone.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` in a compatible counter.
    marker: Option<DedupRecord>,
    /// What the last addition left, if nobody else was about.
    newest: Option<(i64, At, Mark)>,
}

impl Counter {
    /// One whose additions count exactly once, by a marker of its own.
    pub fn exact(session: Session, path: impl Into<String>) -> Counter {
        let path = path.into();
        let marker = DedupRecord::within(session.clone(), format!("{path}__adders__"));
        Counter::new(session, path, Some(marker))
    }

    /// One that writes what Kazoo writes, and nothing else.
    pub fn compatible(session: Session, path: impl Into<String>) -> Counter {
        Counter::new(session, path.into(), None)
    }

    fn new(session: Session, path: String, marker: Option<DedupRecord>) -> Counter {
        let state = Mutex::new(State { marker, newest: None });
        Counter { session, path, default: 0, patience: DEFAULT_TIMEOUT, state }
    }

    /// What an empty counter stands for; 0 unless set.
    #[must_use]
    pub fn with_default(mut self, default: i64) -> Counter {
        self.default = default;
        self
    }

    /// How long a call tries on, not counting its wait for additions of the same `Counter`.
    #[must_use]
    pub fn with_timeout(mut self, patience: Duration) -> Counter {
        self.patience = patience;
        self
    }

    /// The value, as of this call or later.
    pub async fn get(&self) -> Result<i64, CounterError> {
        let mut attempts = Attempts::new(&self.session, self.patience, "get", &self.path);
        loop {
            let connection = attempts.connection().await?;
            let read = async {
                connection.sync().await?;
                connection.get(&self.path).await
            };
            match read.await {
                Ok((data, _)) => return self.parse(&data),
                Err(error) if error.is_no_node() => return Ok(self.default),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// Adds `amount`, which may be negative, and returns the sum.
    pub async fn add(&self, amount: i64) -> Result<i64, CounterError> {
        let mut state = self.state.lock().await;
        let State { marker, newest } = &mut *state;
        let mut addition = Addition::new(amount);
        let token = uuid::Uuid::new_v4().simple().to_string();
        let mut attempts = Attempts::new(&self.session, self.patience, "add", &self.path);
        let unknown = |source| CounterError::OutcomeUnknown { path: self.path.clone(), amount, source };
        // Taken, so that an addition that is cancelled leaves nothing that may be wrong.
        if let Some((value, at, mark)) = newest.take() {
            addition.on(Event::Seen { value, at, mark });
        }
        let mut alone = true;
        loop {
            let connection = match attempts.connection().await {
                Ok(connection) => connection,
                Err(error) if addition.is_at_risk() => return Err(unknown(error)),
                Err(error) => return Err(error.into()),
            };
            let result = match addition.step() {
                Step::Look => self.look(&connection, marker.as_ref(), &token, addition.is_at_risk()).await,
                Step::Mark => match marker {
                    Some(marker) => {
                        marker.make(&connection).await.map(|()| Event::Marked).map_err(Into::into)
                    }
                    None => Ok(Event::Marked),
                },
                Step::Write(sum) => match self.write(&connection, marker.as_ref(), &token, sum).await {
                    Ok(version) => {
                        if alone {
                            let at = At { version, ..sum.at };
                            let mark =
                                sum.marker.map_or(Mark::Unused, |mark| Mark::Other(mark.wrapping_add(1)));
                            *newest = Some((sum.to, at, mark));
                        }
                        Ok(Event::Written)
                    }
                    Err(error) => Err(error.into()),
                },
                Step::Counted(sum) => return Ok(sum),
                Step::Overflow(value) => {
                    return Err(CounterError::Overflow { path: self.path.clone(), value, amount });
                }
                Step::Unknown => return Err(unknown(attempts.over())),
            };
            let waited = match result {
                Ok(event) => {
                    addition.on(event);
                    Ok(())
                }
                Err(CounterError::Failed(error)) if error.is_bad_version() || error.is_no_node() => {
                    alone = false;
                    addition.on(Event::Stale);
                    attempts.contended(error).await
                }
                Err(CounterError::Failed(error)) => {
                    alone = false;
                    if error.outcome_unknown() {
                        addition.on(Event::Lost);
                    }
                    attempts.failed(error).await
                }
                Err(error) => return Err(error),
            };
            match waited {
                Ok(()) => {}
                Err(error) if addition.is_at_risk() => return Err(unknown(error)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes the marker of an exact counter. Dropping the counter does as well, a little later.
    pub async fn close(self) {
        if let Some(marker) = self.state.into_inner().marker {
            marker.remove().await;
        }
    }

    async fn look(
        &self,
        connection: &Connection,
        marker: Option<&DedupRecord>,
        token: &str,
        at_risk: bool,
    ) -> Result<Event, CounterError> {
        if at_risk {
            connection.sync().await?;
        }
        let (data, stat, mark) = match marker {
            None => {
                let (data, stat) = self.read(connection).await?;
                (data, stat, Mark::Unused)
            }
            Some(marker) => {
                let mut answers = connection.get_many(&[&self.path, marker.path()]).await?.into_iter();
                let (data, stat) = match answers.next() {
                    Some(BulkRead::Data(data, stat)) => (data, stat),
                    // Which of many errors it is, and what to do about it, is told by reading it alone.
                    _ => self.read(connection).await?,
                };
                let mark = match answers.next() {
                    Some(read) => dedup_record::told(read, marker.path(), token)?,
                    None => Told::Absent,
                };
                let mark = match mark {
                    Told::Absent => Mark::Absent,
                    Told::Other(version) => Mark::Other(version),
                    // It is ours, so it can be read.
                    Told::Ours(sum) => sum.parse().map_or(Mark::Absent, Mark::Ours),
                };
                (data, stat, mark)
            }
        };
        // It counts all the same; but the count is lost with the session of the znode's owner. This is logged once.
        WrongZnodeReporter::default()
            .update(connection.session(), WrongZnode::not_persistent(&self.path, &stat));
        let at = At { czxid: stat.czxid, version: stat.version };
        match self.parse(&data) {
            Ok(value) => Ok(Event::Seen { value, at, mark }),
            // Ours is settled, whatever somebody has written since.
            Err(_) if matches!(mark, Mark::Ours(_)) => Ok(Event::Seen { value: 0, at, mark }),
            Err(error) => Err(error),
        }
    }

    /// Reads the counter, and makes it if it is not there.
    async fn read(&self, connection: &Connection) -> Result<(Vec<u8>, Stat), Error> {
        match connection.get(&self.path).await {
            Err(error) if error.is_no_node() => {
                connection.ensure(&self.path).await?;
                connection.get(&self.path).await
            }
            result => result,
        }
    }

    /// Makes the write, and returns the counter's version afterwards.
    async fn write(
        &self,
        connection: &Connection,
        marker: Option<&DedupRecord>,
        token: &str,
        sum: Sum,
    ) -> Result<i32, Error> {
        let text = sum.to.to_string();
        let set = Write::Set { path: &self.path, data: text.as_bytes(), version: Some(sum.at.version) };
        let (Some(marker), Some(version)) = (marker, sum.marker) else {
            return Ok(connection.set(&self.path, text.as_bytes(), Some(sum.at.version)).await?.version);
        };
        let witness = dedup_record::text(token, &text);
        let witness = Write::Set { path: marker.path(), data: witness.as_bytes(), version: Some(version) };
        let written = connection.multi(&[set, witness]).await?;
        match written.first() {
            Some(Written::Set(stat)) => Ok(stat.version),
            _ => Ok(sum.at.version.wrapping_add(1)),
        }
    }

    /// What is known of the counter after this write, whose outcome was this.
    fn after(&self, sum: Sum, written: Option<&Written>) -> Option<(i64, At, Mark)> {
        let Some(Written::Set(stat)) = written else { return None };
        let mark = sum.marker.map_or(Mark::Unused, |mark| Mark::Other(mark.wrapping_add(1)));
        Some((sum.to, At { version: stat.version, ..sum.at }, mark))
    }

    fn parse(&self, data: &[u8]) -> Result<i64, CounterError> {
        if data.is_empty() {
            return Ok(self.default);
        }
        number::parse(data).ok_or_else(|| CounterError::NotANumber {
            path: self.path.clone(),
            found: String::from_utf8_lossy(data).chars().take(80).collect(),
        })
    }
}

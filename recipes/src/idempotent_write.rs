//! Transactions that take effect exactly once or not at all, even if responses are lost: each also writes a
//! [`DedupRecord`], which is read after a loss. Used by the queues.

use zookeeper_client as zk;

use crate::dedup_record::{self, DedupRecord, RecordState};
use crate::retry::Attempts;
use crate::session::{MultiError, Write};
use crate::{Connection, Error, Session};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Read the record. Earlier writes of this session must be visible.
    ReadRecord,
    CreateRecord,
    /// Make the writes, together with a write of the record, which must be at this version.
    Write(i32),
    /// The writes have taken effect.
    Done,
    /// It cannot be found out any more if the writes took effect.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Read(RecordState),
    RecordCreated,
    Written,
    /// The record was at another version or missing, so nothing was written.
    Stale,
    /// The outcome of the write is unknown.
    Lost,
}

/// State of one transaction. No I/O. Each attempt requires the version of the record that was read before it, so a
/// delayed attempt cannot take effect after a later one.
#[derive(Debug)]
struct IdempotentWrite {
    step: Step,
    /// Version of the record that the attempt with an unknown outcome required.
    unconfirmed: Option<i32>,
}

impl IdempotentWrite {
    fn new(version: Option<i32>) -> IdempotentWrite {
        IdempotentWrite { step: version.map_or(Step::ReadRecord, Step::Write), unconfirmed: None }
    }

    fn on(&mut self, event: Event) {
        self.step = match (event, self.step) {
            (_, end @ (Step::Done | Step::Unknown)) => end,
            (Event::Read(RecordState::Own(_)), _) => Step::Done,
            // The outcome of the lost attempt was in the record, which has been deleted.
            (Event::Read(RecordState::Missing), _) if self.unconfirmed.is_some() => Step::Unknown,
            (Event::Read(RecordState::Missing), _) => Step::CreateRecord,
            (Event::Read(RecordState::Other(version)), _) => {
                // At any other version, the lost attempt cannot take effect any more.
                self.unconfirmed = self.unconfirmed.filter(|required| *required == version);
                Step::Write(version)
            }
            (Event::Written, Step::Write(_)) => Step::Done,
            (Event::Lost, Step::Write(version)) => {
                self.unconfirmed = Some(version);
                Step::ReadRecord
            }
            (Event::RecordCreated | Event::Written | Event::Stale | Event::Lost, _) => Step::ReadRecord,
        };
    }

    /// Returns the failure to report when `error` ends the attempts.
    fn failure(&self, error: Error) -> Failure {
        match self.unconfirmed {
            Some(_) => Failure::Unknown(error),
            None => Failure::Failed(error),
        }
    }
}

/// Failure of a transaction.
#[derive(Debug)]
pub(crate) enum Failure {
    /// ZooKeeper refused one of the writes, whose path is in the error. None took effect.
    Refused(Error),
    /// The session in which the writes had to be made has ended. None took effect.
    SessionOver,
    /// All writes took effect, or none.
    Unknown(Error),
    /// The attempts failed. None took effect.
    Failed(Error),
}

/// Makes transactions, one after the other, with one dedup record.
#[derive(Debug)]
pub(crate) struct IdempotentWriter {
    record: DedupRecord,
    /// Version of the record, if known.
    version: Option<i32>,
}

impl IdempotentWriter {
    /// Creates a writer whose record is a child of the container `parent`.
    pub(crate) fn new(session: Session, parent: String) -> IdempotentWriter {
        IdempotentWriter { record: DedupRecord::new(session, parent), version: None }
    }

    /// Removes the record.
    pub(crate) async fn close(self) {
        self.record.znode.run().await;
    }

    /// Makes `writes`, only in `session` if it is given.
    pub(crate) async fn write(
        &mut self,
        attempts: &mut Attempts<'_>,
        session: Option<i64>,
        writes: &[Write<'_>],
    ) -> Result<(), Failure> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        // The version is unknown until this write is complete, also if the future is dropped.
        let mut state = IdempotentWrite::new(self.version.take());
        loop {
            let connection = attempts.connection().await.map_err(|error| state.failure(error))?;
            let over = session.is_some_and(|session| session != connection.session_id());
            let result = match state.step {
                Step::ReadRecord => {
                    let read = async { connection.synced().await?.get_opt(&self.record.znode.path).await };
                    read.await.map(|found| Event::Read(dedup_record::decode(found, &token)))
                }
                Step::CreateRecord => self.record.create(&connection).await.map(|()| Event::RecordCreated),
                Step::Write(_) if over && state.unconfirmed.is_none() => return Err(Failure::SessionOver),
                // The lost attempt must not take effect later: a write of the record alone changes the version that it
                // requires.
                Step::Write(version) if over => match self.attempt(&connection, "", version, &[]).await {
                    Ok(()) => return Err(Failure::SessionOver),
                    Err(error) => event_of(error)?,
                },
                Step::Write(version) => match self.attempt(&connection, &token, version, writes).await {
                    Ok(()) => {
                        self.version = Some(version.wrapping_add(1));
                        Ok(Event::Written)
                    }
                    Err(error) => event_of(error).inspect_err(|_| self.version = Some(version))?,
                },
                Step::Done => return Ok(()),
                Step::Unknown => return Err(Failure::Unknown(attempts.last_error())),
            };
            let waited = match result {
                Ok(Event::Stale) => {
                    state.on(Event::Stale);
                    let path = self.record.znode.path.clone();
                    let error = Error::Refused { operation: "multi", path, source: zk::Error::BadVersion };
                    attempts.contended(error).await
                }
                Ok(event) => {
                    state.on(event);
                    Ok(())
                }
                // The container was deleted between two requests.
                Err(error) if error.is_no_node() => attempts.contended(error).await,
                Err(error) => {
                    if error.outcome_unknown() && !over {
                        state.on(Event::Lost);
                    }
                    attempts.failed(error).await
                }
            };
            waited.map_err(|error| state.failure(error))?;
        }
    }

    /// Writes the record first: if a later write is refused, the record was at the required version.
    async fn attempt(
        &self,
        connection: &Connection,
        token: &str,
        version: i32,
        writes: &[Write<'_>],
    ) -> Result<(), MultiError> {
        let data = dedup_record::encode(token, "");
        let set = Write::Set { path: &self.record.znode.path, data: data.as_bytes(), version: Some(version) };
        let mut all = vec![set];
        all.extend_from_slice(writes);
        connection.multi(&all).await.map(drop)
    }
}

/// Converts the failure of an attempt: a stale record is an event, a refusal of one of the caller's writes is final,
/// and all other errors are retried.
fn event_of(failure: MultiError) -> Result<Result<Event, Error>, Failure> {
    match (failure.at, failure.error) {
        (Some(0), error) if error.is_bad_version() || error.is_no_node() => Ok(Ok(Event::Stale)),
        (Some(at), error) if at > 0 => Err(Failure::Refused(error)),
        (_, error) => Ok(Err(error)),
    }
}

#[cfg(test)]
#[path = "idempotent_write_tests.rs"]
mod tests;

//! Several writes that take effect exactly once, or not at all, whatever is lost: a marker is written with them, and
//! looked at after a loss. Used by the queues.

use zookeeper_client as zk;

use crate::dedup_record::{self, DedupRecord, Told};
use crate::retry::Attempts;
use crate::session::{MultiError, Write};
use crate::{Connection, Error, Session};

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Read the marker; what was written before must be seen.
    Look,
    /// Create the marker.
    Mark,
    /// Make the writes, and write the marker, which must be at this version.
    Write(i32),
    /// They have taken effect.
    Done,
    /// Whether they have cannot be found out any more.
    Unknown,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Seen(Told),
    Marked,
    Written,
    /// The marker was at another version, or not there: nothing was written.
    Stale,
    /// Perhaps written.
    Lost,
}

/// One such writing. Pure. As each attempt needs the marker at the version that was seen, a late one cannot follow a
/// later one.
#[derive(Debug)]
struct IdempotentWrite {
    step: Step,
    /// The marker's version that an attempt was tied to that was lost.
    risk: Option<i32>,
}

impl IdempotentWrite {
    fn new(marker: Option<i32>) -> IdempotentWrite {
        IdempotentWrite { step: marker.map_or(Step::Look, Step::Write), risk: None }
    }

    fn on(&mut self, event: Event) {
        self.step = match (event, self.step) {
            (_, ended @ (Step::Done | Step::Unknown)) => ended,
            (Event::Seen(Told::Ours(_)), _) => Step::Done,
            // A marker that is gone took with it what it told.
            (Event::Seen(Told::Absent), _) if self.risk.is_some() => Step::Unknown,
            (Event::Seen(Told::Absent), _) => Step::Mark,
            (Event::Seen(Told::Other(version)), _) => {
                self.risk = self.risk.filter(|risk| *risk == version);
                Step::Write(version)
            }
            (Event::Written, Step::Write(_)) => Step::Done,
            (Event::Lost, Step::Write(version)) => {
                self.risk = Some(version);
                Step::Look
            }
            (Event::Marked | Event::Written | Event::Stale | Event::Lost, _) => Step::Look,
        };
    }
}

/// Why the writes did not take effect, or may not have.
#[derive(Debug)]
pub(crate) enum Failure {
    /// ZooKeeper refused one of the writes, whose path is in the error: none took effect.
    Refused(Error),
    /// The session in which they were to be made is over: none took effect.
    SessionOver,
    /// They took effect once or not at all.
    Unknown(Error),
    /// They failed, and none took effect.
    Failed(Error),
}

/// Whoever makes such writes, one after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    marker: DedupRecord,
    /// The version that the marker is at, if that is known.
    version: Option<i32>,
}

impl Writer {
    /// One whose marker is in a container of this path.
    pub(crate) fn marked_within(session: Session, parent: String) -> Writer {
        Writer { marker: DedupRecord::within(session, parent), version: None }
    }

    /// Removes the marker.
    pub(crate) async fn close(self) {
        self.marker.remove().await;
    }

    /// Makes `writes`; in this session, or in any.
    pub(crate) async fn write(
        &mut self,
        attempts: &mut Attempts<'_>,
        session: Option<i64>,
        writes: &[Write<'_>],
    ) -> Result<(), Failure> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        // Taken, so that a writing that is cancelled leaves nothing that may be wrong.
        let mut once = IdempotentWrite::new(self.version.take());
        loop {
            let give_up = |once: &IdempotentWrite, error| match once.risk {
                Some(_) => Failure::Unknown(error),
                None => Failure::Failed(error),
            };
            let connection = attempts.connection().await.map_err(|error| give_up(&once, error))?;
            let over = session.is_some_and(|session| session != connection.session_id());
            let result = match once.step {
                Step::Look => self.look(&connection, &token).await.map(Event::Seen),
                Step::Mark => self.marker.make(&connection).await.map(|()| Event::Marked),
                Step::Write(_) if over && once.risk.is_none() => return Err(Failure::SessionOver),
                // The one that was lost must not come after all: the marker is moved on without it.
                Step::Write(version) if over => match self.attempt(&connection, "", version, &[]).await {
                    Ok(()) => return Err(Failure::SessionOver),
                    Err(refusal) => match self.judge(refusal) {
                        Ok(event) => Ok(event),
                        Err(Failure::Failed(error)) => Err(error),
                        Err(failure) => return Err(failure),
                    },
                },
                Step::Write(version) => match self.attempt(&connection, &token, version, writes).await {
                    Ok(()) => {
                        self.version = Some(version.wrapping_add(1));
                        Ok(Event::Written)
                    }
                    Err(refusal) => match self.judge(refusal) {
                        Ok(event) => Ok(event),
                        Err(Failure::Failed(error)) => Err(error),
                        Err(failure) => {
                            self.version = Some(version);
                            return Err(failure);
                        }
                    },
                },
                Step::Done => return Ok(()),
                Step::Unknown => return Err(Failure::Unknown(attempts.over())),
            };
            let waited = match result {
                Ok(Event::Stale) => {
                    once.on(Event::Stale);
                    let source = zk::Error::BadVersion;
                    let path = self.marker.path().to_owned();
                    attempts.contended(Error::Refused { operation: "multi", path, source }).await
                }
                Ok(event) => {
                    once.on(event);
                    Ok(())
                }
                // The container went between two requests.
                Err(error) if error.is_no_node() => attempts.contended(error).await,
                Err(error) => {
                    if error.outcome_unknown() && !over {
                        once.on(Event::Lost);
                    }
                    attempts.failed(error).await
                }
            };
            waited.map_err(|error| give_up(&once, error))?;
        }
    }

    async fn look(&self, connection: &Connection, token: &str) -> Result<Told, Error> {
        connection.sync().await?;
        let path = self.marker.path();
        match connection.get_many(&[path]).await?.pop() {
            Some(read) => dedup_record::told(read, path, token),
            None => Ok(Told::Absent),
        }
    }

    /// The marker is the first: whatever else is refused, it was at its version then.
    async fn attempt(
        &self,
        connection: &Connection,
        token: &str,
        version: i32,
        writes: &[Write<'_>],
    ) -> Result<(), MultiError> {
        let text = dedup_record::text(token, "");
        let path = self.marker.path();
        let mut all = vec![Write::Set { path, data: text.as_bytes(), version: Some(version) }];
        all.extend_from_slice(writes);
        connection.multi(&all).await.map(drop)
    }

    fn judge(&self, refusal: MultiError) -> Result<Event, Failure> {
        match (refusal.at, refusal.error) {
            (Some(0), error) if error.is_bad_version() || error.is_no_node() => Ok(Event::Stale),
            (Some(at), error) if at > 0 => Err(Failure::Refused(error)),
            (_, error) => Err(Failure::Failed(error)),
        }
    }
}

#[cfg(test)]
#[path = "idempotent_write_tests.rs"]
mod tests;

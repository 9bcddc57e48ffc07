//! Counter of writes. The transaction of each write also increments the counter, so the sum is the number of writes,
//! whatever fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tracing::warn;

use super::{Counter, CounterError, CounterState};
use crate::counter::addition::{Addition, Event, Step};
use crate::delay::Delays;
use crate::session::{Write, Written, WrongZnodeReporter};
use crate::wrong_znode::{WrongZnode, ZnodeProblem};
use crate::{Connection, Error, Session};

const MIN_CONTENTION_DELAY: Duration = Duration::from_millis(2);
const MAX_CONTENTION_DELAY: Duration = Duration::from_millis(32);

/// Counts the writes of one process, together with those of others, at the znode of a [`Counter`]. Clones share their
/// state.
///
/// Exact like [`Counter::exact`], with the same znodes. If the counter cannot be incremented (its data is not a number,
/// the sum exceeds 64 bits, a permission is missing), the reason is logged once, and writes are made without being
/// counted.
#[derive(Clone, Debug)]
pub struct WriteCounter {
    state: Arc<Mutex<State>>,
    value: watch::Sender<Option<i64>>,
}

#[derive(Debug)]
struct State {
    counter: Counter,
    enabled: bool,
    /// Write to be counted, with its token. `None` if it was counted already or must not be counted.
    pending: Option<(Addition, String)>,
    /// Last logged reason why a write could not be counted.
    logged_problem: Option<String>,
    wrong_znodes: WrongZnodeReporter,
}

/// Outcome of [`Counter::increment`].
enum Increment {
    /// The write was counted, and the counter became `value`. `written`: the result of the write and the zxid of the
    /// transaction; `None` if it was counted before.
    Counted {
        value: i64,
        written: Option<(Written, i64)>,
    },
    /// The write cannot be counted, for this reason.
    Impossible(String),
    Closed,
}

impl WriteCounter {
    /// Creates a counter at `path`. Does no I/O before the first write.
    pub fn new(session: Session, path: impl Into<String>) -> WriteCounter {
        let state = State {
            counter: Counter::exact(session, path),
            enabled: true,
            pending: None,
            logged_problem: None,
            wrong_znodes: WrongZnodeReporter::default(),
        };
        WriteCounter { state: Arc::new(Mutex::new(state)), value: watch::Sender::new(None) }
    }

    /// Returns a receiver of the counter's value after the last write that was counted here, including the writes of
    /// other clients. `None` before the first one.
    pub fn value(&self) -> watch::Receiver<Option<i64>> {
        self.value.subscribe()
    }

    /// Enables or disables counting, for all writes that begin after this call.
    pub async fn set_enabled(&self, enabled: bool) {
        self.state.lock().await.enabled = enabled;
    }

    /// Begins a new write. An earlier write that was not made must not be made any more.
    pub(crate) async fn begin(&self) {
        let mut state = self.state.lock().await;
        let token = || uuid::Uuid::new_v4().simple().to_string();
        state.pending = state.enabled.then(|| (Addition::new(1), token()));
    }

    /// Makes `write` and counts it. Returns its result and the zxid of the transaction. Returns `None` if the write was
    /// not made, because it was counted before or cannot be counted: make it without the counter.
    ///
    /// # Errors
    /// The error of `write`. Nothing was written or counted, unless [`Error::outcome_unknown`]; a repeated call finds
    /// out.
    pub(crate) async fn write(
        &self,
        connection: &Connection,
        write: Write<'_>,
    ) -> Result<Option<(Written, i64)>, Error> {
        let State { counter, pending, logged_problem, wrong_znodes, .. } = &mut *self.state.lock().await;
        let Some((addition, token)) = pending else { return Ok(None) };
        let increment = counter.increment(connection, write, addition, token, wrong_znodes).await?;
        *pending = None;
        match increment {
            Increment::Counted { value, written } => {
                self.value.send_replace(Some(value));
                if written.is_some() {
                    *logged_problem = None;
                    wrong_znodes.clear();
                }
                return Ok(written);
            }
            Increment::Impossible(problem) if logged_problem.as_ref() != Some(&problem) => {
                warn!(path = counter.path, "cannot count: {problem}");
                *logged_problem = Some(problem);
            }
            Increment::Impossible(_) | Increment::Closed => {}
        }
        Ok(None)
    }

    /// Deletes the dedup record, or tries to for one session timeout.
    pub async fn close(&self) {
        let record = self.state.lock().await.counter.state.lock().await.record.take();
        if let Some(record) = record {
            record.znode.run().await;
        }
    }
}

impl Counter {
    /// Makes `write` and adds 1 to the counter, in one transaction, unless `addition` has counted before.
    async fn increment(
        &self,
        connection: &Connection,
        write: Write<'_>,
        addition: &mut Addition,
        token: &str,
        wrong_znodes: &mut WrongZnodeReporter,
    ) -> Result<Increment, Error> {
        let CounterState { record: Some(record), expected_read } = &mut *self.state.lock().await else {
            return Ok(Increment::Closed);
        };
        if let Some(read) = expected_read.take() {
            addition.on(read);
        }
        let mut delays = Delays::new(MIN_CONTENTION_DELAY, MAX_CONTENTION_DELAY);
        loop {
            match addition.step() {
                Step::Read => {
                    let sync = addition.has_unknown_outcome();
                    match self.read(connection, Some(record), token, sync).await {
                        Ok(read) => addition.on(read),
                        Err(CounterError::Failed(error)) if error.is_transient() => return Err(error),
                        Err(error) => {
                            if matches!(error, CounterError::NotANumber { .. }) {
                                let wrong = WrongZnode::new(&self.path, ZnodeProblem::NotANumber);
                                wrong_znodes.update(connection.session(), [wrong]);
                            }
                            return Ok(Increment::Impossible(error.to_string()));
                        }
                    }
                }
                Step::CreateRecord => match record.create(connection).await {
                    Ok(()) => addition.on(Event::RecordCreated),
                    Err(error) if error.is_transient() => return Err(error),
                    Err(error) => return Ok(Increment::Impossible(error.to_string())),
                },
                Step::Write(sum) => {
                    match self.write_with_record(connection, Some(write), record, token, sum).await {
                        Ok(written) => {
                            let mut written = written.into_iter();
                            let (first, counter) = (written.next(), written.next());
                            // Older servers do not return a usable stat for a create in a `multi`, so the zxid is taken
                            // from the counter's stat.
                            let stat = match counter {
                                Some(Written::Set(stat)) => Some(stat),
                                _ => None,
                            };
                            *expected_read = stat.map(|stat| sum.expected_read(stat.version));
                            let zxid = stat.map_or(0, |stat| stat.mzxid);
                            let written = first.map(|first| (first, zxid));
                            return Ok(Increment::Counted { value: sum.sum, written });
                        }
                        Err(refused) => {
                            // The second and the third write are the counter and the dedup record.
                            let by_counter = matches!(refused.at, Some(1 | 2));
                            if by_counter && !refused.error.is_transient() {
                                return Ok(Increment::Impossible(refused.error.to_string()));
                            }
                            let unknown = refused.error.outcome_unknown();
                            addition.on(if unknown { Event::OutcomeUnknown } else { Event::Stale });
                            if !by_counter || refused.error.is_connection_loss() {
                                return Err(refused.error);
                            }
                            // Another client has incremented the counter.
                            tokio::time::sleep(delays.next_delay()).await;
                        }
                    }
                }
                Step::Counted(value) => return Ok(Increment::Counted { value, written: None }),
                Step::Overflow(value) => {
                    return Ok(Increment::Impossible(format!("its value is {value}, the maximum")));
                }
                Step::Unknown => return Ok(Increment::Impossible("its dedup record was deleted".to_owned())),
            }
        }
    }
}

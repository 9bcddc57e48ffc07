//! A counter of writes: each goes one up in the very transaction that makes the write, so that the sum is the number of
//! writes, whatever fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tracing::warn;

use super::{Counter, CounterError};
use crate::counter::addition::{Addition, Event, Step};
use crate::dedup_record;
use crate::retry::jitter;
use crate::session::{Write, Written};
use crate::wrong_znode::{WrongZnode, WrongZnodeReporter, ZnodeProblem};
use crate::{Connection, Error, Session};

/// Counts what one process writes, beside others, at a [`Counter`]'s znode. Clones are the same.
///
/// Exact as [`Counter::exact`] is, with the same znodes. What stands in the counter's way (something else than a number, a
/// sum beyond 64 bits, a missing permission) is logged once; then what is written is not counted, and written all the same.
#[derive(Clone, Debug)]
pub struct WriteCounter {
    state: Arc<Mutex<State>>,
    /// What the counter was made last.
    newest: watch::Sender<Option<i64>>,
}

#[derive(Debug)]
struct State {
    counter: Counter,
    /// Whether anything is counted.
    on: bool,
    /// The write that is to be counted; `None`: it is, or is not to be.
    open: Option<(Addition, String)>,
    /// What stood in the counter's way when that was last logged.
    complaint: Option<String>,
    wrong_znodes: WrongZnodeReporter,
}

/// How a write was made.
pub(crate) enum CountedWrite {
    /// Together with the counter, in this transaction: what came of it.
    Counted(Written, i64),
    /// Not yet. It has been counted before, or cannot be: it is to be made alone.
    NotCounted,
}

const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

impl WriteCounter {
    /// At `path`. Nothing is written before the first write.
    pub fn new(session: Session, path: impl Into<String>) -> WriteCounter {
        let counter = Counter::exact(session, path);
        let state = Arc::new(Mutex::new(State {
            counter,
            on: true,
            open: None,
            complaint: None,
            wrong_znodes: WrongZnodeReporter::default(),
        }));
        WriteCounter { state, newest: watch::Sender::new(None) }
    }

    /// What the counter was when something was counted here last, others' writes included; `None` before the first.
    pub fn value(&self) -> watch::Receiver<Option<i64>> {
        self.newest.subscribe()
    }

    /// Counts what is new from now on, or does not.
    pub async fn set_enabled(&self, on: bool) {
        self.state.lock().await.on = on;
    }

    /// There is something new to write. What was not written before never will be.
    pub(crate) async fn begin(&self) {
        let mut state = self.state.lock().await;
        let token = || uuid::Uuid::new_v4().simple().to_string();
        state.open = state.on.then(|| (Addition::new(1), token()));
    }

    /// Makes `write`, which is not counted yet, and counts it.
    ///
    /// # Errors
    /// Those of `write`; then nothing is written and nothing counted, unless [`Error::outcome_unknown`]. Calling again finds out.
    pub(crate) async fn make(
        &self,
        connection: &Connection,
        write: Write<'_>,
    ) -> Result<CountedWrite, Error> {
        let State { counter, open, complaint, wrong_znodes, .. } = &mut *self.state.lock().await;
        let Some((addition, token)) = open else { return Ok(CountedWrite::NotCounted) };
        let mut pause = FIRST_PAUSE;
        let mut state = counter.state.lock().await;
        let crate::counter::State { marker, newest } = &mut *state;
        if let Some((value, at, mark)) = newest.take() {
            addition.on(Event::Seen { value, at, mark });
        }
        let problem = loop {
            match addition.step() {
                Step::Look => {
                    match counter.look(connection, marker.as_ref(), token, addition.is_at_risk()).await {
                        Ok(seen) => addition.on(seen),
                        Err(CounterError::Failed(error)) if error.is_transient() => return Err(error),
                        Err(other) => {
                            if matches!(other, CounterError::NotANumber { .. }) {
                                wrong_znodes.update(
                                    connection.session(),
                                    [WrongZnode::new(&counter.path, ZnodeProblem::NotANumber)],
                                );
                            }
                            break Some(other.to_string());
                        }
                    }
                }
                Step::Mark => {
                    if let Some(marker) = marker
                        && let Err(error) = marker.make(connection).await
                    {
                        if error.is_transient() {
                            return Err(error);
                        }
                        break Some(error.to_string());
                    }
                    addition.on(Event::Marked);
                }
                Step::Write(sum) => {
                    let text = sum.to.to_string();
                    let (Some(marker), Some(version)) = (marker.as_ref(), sum.marker) else { break None };
                    let witness = dedup_record::text(token, &text);
                    let writes = [
                        write,
                        Write::Set {
                            path: &counter.path,
                            data: text.as_bytes(),
                            version: Some(sum.at.version),
                        },
                        Write::Set { path: marker.path(), data: witness.as_bytes(), version: Some(version) },
                    ];
                    match connection.multi(&writes).await {
                        Ok(written) => {
                            self.newest.send_replace(Some(sum.to));
                            *newest = counter.after(sum, written.get(1));
                            *open = None;
                            *complaint = None;
                            wrong_znodes.clear();
                            // The stat of what a `multi` creates is not to be trusted; the counter's is.
                            let zxid = match written.get(1) {
                                Some(Written::Set(stat)) => stat.mzxid,
                                _ => 0,
                            };
                            return match written.into_iter().next() {
                                Some(first) => Ok(CountedWrite::Counted(first, zxid)),
                                None => Ok(CountedWrite::NotCounted),
                            };
                        }
                        Err(refusal)
                            if matches!(refusal.at, Some(1 | 2)) && !refusal.error.is_transient() =>
                        {
                            // The counter refuses, and would again.
                            break Some(refusal.error.to_string());
                        }
                        Err(refusal)
                            if matches!(refusal.at, Some(1 | 2)) && !refusal.error.is_connection_loss() =>
                        {
                            addition.on(Event::Stale);
                            tokio::time::sleep(jitter(pause)).await;
                            pause = (pause * 2).min(LONGEST_PAUSE);
                        }
                        Err(refusal) => {
                            let unknown = refusal.error.outcome_unknown();
                            addition.on(if unknown { Event::Lost } else { Event::Stale });
                            return Err(refusal.error);
                        }
                    }
                }
                Step::Counted(value) => {
                    self.newest.send_replace(Some(value));
                    break None;
                }
                Step::Overflow(value) => break Some(format!("it is at {value}")),
                Step::Unknown => break Some("somebody has deleted its marker".to_owned()),
            }
        };
        if let Some(problem) = problem
            && complaint.as_ref() != Some(&problem)
        {
            warn!(path = counter.path, "cannot count: {problem}");
            *complaint = Some(problem);
        }
        *open = None;
        Ok(CountedWrite::NotCounted)
    }

    /// Removes the marker, as far as that is possible within a session timeout.
    pub async fn close(&self) {
        let marker = self.state.lock().await.counter.state.lock().await.marker.take();
        if let Some(marker) = marker {
            marker.remove().await;
        }
    }
}

//! Queue of a store's writer. Its length is bounded, and all waiting reports are taken out together.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{Horizon, Outcome, StoreError};
use crate::report::Report;

/// Maximum number of calls that wait for the writer.
const WAITING: usize = 512;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Call that waits for the writer.
#[derive(Debug)]
pub(super) enum Job {
    Record(Vec<Report>, Answer<Vec<Outcome>>),
    Prune(Horizon, Answer<usize>),
    Forget(i64, Answer<usize>),
    Check(Answer<()>),
    Close(oneshot::Sender<()>),
}

/// Returns the error of calls after the store was closed.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

/// Sending end.
#[derive(Debug)]
pub(super) struct Jobs(mpsc::Sender<Job>);

impl Jobs {
    pub(super) fn channel() -> (Jobs, Waiting) {
        let (jobs, waiting) = mpsc::channel(WAITING);
        (Jobs(jobs), Waiting { jobs: waiting, next: None })
    }

    /// Queues a job and waits for its result.
    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(job(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(super) fn record(&self, reports: Vec<Report>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        self.ask(|answer| Job::Record(reports, answer)).boxed()
    }

    pub(super) fn prune(&self, horizon: Horizon) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.ask(move |answer| Job::Prune(horizon, answer)).boxed()
    }

    pub(super) fn forget_epoch(&self, epoch: i64) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.ask(move |answer| Job::Forget(epoch, answer)).boxed()
    }

    pub(super) fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.ask(Job::Check).boxed()
    }

    /// Closes the store after the jobs that are already queued. Returns when the writer has ended.
    pub(super) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Job::Close(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }
}

/// Receiving end.
#[derive(Debug)]
pub(super) struct Waiting {
    jobs: mpsc::Receiver<Job>,
    /// Job that was received already, but not yet executed.
    next: Option<Job>,
}

impl Waiting {
    /// Returns the next job, or `None` after all senders are dropped.
    pub(super) async fn next(&mut self) -> Option<Job> {
        match self.next.take() {
            Some(job) => Some(job),
            None => self.jobs.recv().await,
        }
    }

    /// Returns the next job like [`Waiting::next`], for a thread that may block.
    pub(super) fn blocking_next(&mut self) -> Option<Job> {
        self.next.take().or_else(|| self.jobs.blocking_recv())
    }

    /// Returns a call to record together with those that wait directly behind it, up to `most` reports; the last call
    /// may exceed that.
    pub(super) fn group(&mut self, reports: Vec<Report>, answer: Answer<Vec<Outcome>>, most: usize) -> Group {
        let mut total = reports.len();
        let mut calls = vec![(reports, answer)];
        while total < most {
            match self.jobs.try_recv() {
                Ok(Job::Record(reports, answer)) => {
                    total += reports.len();
                    calls.push((reports, answer));
                }
                Ok(other) => {
                    self.next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        // Cancelled calls are dropped. Their clients may send the reports again, but no longer wait for this result.
        calls.retain(|(_, answer)| !answer.is_closed());
        Group { calls }
    }

    /// Refuses all waiting jobs except a close.
    pub(super) fn refuse(&mut self, error: &StoreError) {
        let mut job = self.next.take().or_else(|| self.jobs.try_recv().ok());
        while let Some(refused) = job {
            match refused {
                Job::Record(_, answer) => drop(answer.send(Err(error.clone()))),
                Job::Prune(_, answer) | Job::Forget(_, answer) => drop(answer.send(Err(error.clone()))),
                Job::Check(answer) => drop(answer.send(Err(error.clone()))),
                Job::Close(_) => {
                    self.next = Some(refused);
                    return;
                }
            }
            job = self.jobs.try_recv().ok();
        }
    }

    /// Accepts no further jobs, and refuses those that wait.
    pub(super) fn close(&mut self) {
        self.jobs.close();
        while let Some(job) = self.next.take().or_else(|| self.jobs.try_recv().ok()) {
            if let Job::Close(answer) = job {
                let _ = answer.send(());
            } else {
                self.next = Some(job);
                self.refuse(&closed());
            }
        }
    }
}

/// Calls to record that are executed together.
#[derive(Debug)]
pub(super) struct Group {
    calls: Vec<(Vec<Report>, Answer<Vec<Outcome>>)>,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn reports(&self) -> impl Iterator<Item = &Report> + Clone {
        self.calls.iter().flat_map(|(reports, _)| reports)
    }

    /// Returns to each call the outcomes of its reports.
    pub(super) fn answer(self, outcomes: Result<Vec<Outcome>, StoreError>) {
        let mut outcomes = outcomes.map(Vec::into_iter);
        for (reports, answer) in self.calls {
            let own = match &mut outcomes {
                Ok(outcomes) => Ok(outcomes.take(reports.len()).collect()),
                Err(error) => Err(error.clone()),
            };
            let _ = answer.send(own);
        }
    }
}

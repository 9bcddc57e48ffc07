//! What the writer of a store is asked to do: so much at most waits for it, and all reports that wait are taken together.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{Horizon, Outcome, StoreError};
use crate::report::Report;

/// So many calls wait for the writer at most.
const WAITING: usize = 512;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// One call.
#[derive(Debug)]
pub(super) enum Job {
    Record(Vec<Report>, Answer<Vec<Outcome>>),
    Prune(Horizon, Answer<usize>),
    Forget(i64, Answer<usize>),
    Check(Answer<()>),
    Close(oneshot::Sender<()>),
}

/// What a store is told after it was closed.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

/// The end that asks.
#[derive(Debug)]
pub(super) struct Jobs(mpsc::Sender<Job>);

impl Jobs {
    pub(super) fn channel() -> (Jobs, Waiting) {
        let (jobs, waiting) = mpsc::channel(WAITING);
        (Jobs(jobs), Waiting { jobs: waiting, next: None })
    }

    /// Hands a job over and waits for what comes of it.
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

    /// After what was asked before. Returns when the writer has ended.
    pub(super) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Job::Close(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }
}

/// The end that does it.
#[derive(Debug)]
pub(super) struct Waiting {
    jobs: mpsc::Receiver<Job>,
    /// Was taken already.
    next: Option<Job>,
}

impl Waiting {
    /// The next job; `None`: nobody is left to ask.
    pub(super) async fn next(&mut self) -> Option<Job> {
        match self.next.take() {
            Some(job) => Some(job),
            None => self.jobs.recv().await,
        }
    }

    /// The same for a thread that may block.
    pub(super) fn blocking_next(&mut self) -> Option<Job> {
        self.next.take().or_else(|| self.jobs.blocking_recv())
    }

    /// A call to record, and those that wait right behind it: so many reports, give or take the last call's.
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
        // Whoever has gone comes back, or not: either way this is not what is waited for.
        calls.retain(|(_, answer)| !answer.is_closed());
        Group { calls }
    }

    /// Refuses all that waits now, but not to close.
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

    /// Takes nothing more, and refuses what waits.
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

/// Calls to record that are done together.
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

    /// Tells each call what became of its reports.
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

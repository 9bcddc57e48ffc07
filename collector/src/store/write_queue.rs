//! Queue of a store's writer. Its length is bounded, and all waiting calls of one kind are taken out together.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::error::StoreError;
use super::interface::{Horizon, Outcome, StoreFuture};
use crate::fleet_name::FleetName;
use crate::measurements::{Pruned, Retention, SampleBatch, SampleOutcome};
use crate::report::Report;

/// Maximum number of calls that wait for the writer.
const CAPACITY: usize = 512;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Call to add samples.
pub(super) type SampleCall = (SampleBatch, Answer<Vec<SampleOutcome>>);

/// Call that waits for the writer.
#[derive(Debug)]
pub(super) enum Job {
    Record(Vec<Report>, Answer<Vec<Outcome>>),
    Prune(Horizon, Answer<usize>),
    Forget(FleetName, i64, Answer<usize>),
    ForgetFleet(FleetName, Answer<usize>),
    AddSamples(SampleCall),
    PruneSamples(Retention, i64, Answer<Pruned>),
    ForgetNode(String, String, Answer<bool>),
    Check(Answer<()>),
    Close(oneshot::Sender<()>),
}

/// Sending end of the queue.
#[derive(Debug)]
pub(super) struct WriteQueue(mpsc::Sender<Job>);

impl WriteQueue {
    pub(super) fn channel() -> (WriteQueue, Receiver) {
        let (sender, jobs) = mpsc::channel(CAPACITY);
        (WriteQueue(sender), Receiver { jobs, next: None })
    }

    /// Queues a job and waits for its result.
    async fn call<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(job(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::closed(),
        })?;
        answered.await.unwrap_or_else(|_| Err(StoreError::closed()))
    }

    pub(super) fn record(&self, reports: Vec<Report>) -> StoreFuture<'_, Vec<Outcome>> {
        self.call(|answer| Job::Record(reports, answer)).boxed()
    }

    pub(super) fn prune(&self, horizon: Horizon) -> StoreFuture<'_, usize> {
        self.call(move |answer| Job::Prune(horizon, answer)).boxed()
    }

    pub(super) fn forget_epoch(&self, fleet: &FleetName, epoch: i64) -> StoreFuture<'_, usize> {
        let fleet = fleet.clone();
        self.call(move |answer| Job::Forget(fleet, epoch, answer)).boxed()
    }

    pub(super) fn forget_fleet(&self, fleet: &FleetName) -> StoreFuture<'_, usize> {
        let fleet = fleet.clone();
        self.call(move |answer| Job::ForgetFleet(fleet, answer)).boxed()
    }

    pub(super) fn add_samples(&self, batch: SampleBatch) -> StoreFuture<'_, Vec<SampleOutcome>> {
        self.call(|answer| Job::AddSamples((batch, answer))).boxed()
    }

    pub(super) fn prune_samples(&self, retention: Retention, after: i64) -> StoreFuture<'_, Pruned> {
        self.call(move |answer| Job::PruneSamples(retention, after, answer)).boxed()
    }

    pub(super) fn forget_node(&self, fleet: String, node: String) -> StoreFuture<'_, bool> {
        self.call(|answer| Job::ForgetNode(fleet, node, answer)).boxed()
    }

    pub(super) fn check(&self) -> StoreFuture<'_, ()> {
        self.call(Job::Check).boxed()
    }

    /// Closes the store after the jobs that are already queued. Returns when the writer has ended.
    pub(super) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Job::Close(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }
}

/// Receiving end of the queue.
#[derive(Debug)]
pub(super) struct Receiver {
    jobs: mpsc::Receiver<Job>,
    /// Job that was received already, but not yet executed.
    next: Option<Job>,
}

impl Receiver {
    /// Returns the next job, or `None` after all senders are dropped.
    pub(super) async fn next(&mut self) -> Option<Job> {
        match self.next.take() {
            Some(job) => Some(job),
            None => self.jobs.recv().await,
        }
    }

    /// Returns the next job like [`Receiver::next`], for a thread that may block.
    pub(super) fn blocking_next(&mut self) -> Option<Job> {
        self.next.take().or_else(|| self.jobs.blocking_recv())
    }

    /// Returns a call to record together with those that wait directly behind it, up to `max` reports; the last call
    /// may exceed that.
    pub(super) fn batch(&mut self, reports: Vec<Report>, answer: Answer<Vec<Outcome>>, max: usize) -> Batch {
        let mut total = reports.len();
        let mut calls = vec![(reports, answer)];
        while total < max {
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
        Batch { calls }
    }

    /// Returns a call to add samples together with those that wait directly behind it, up to `max` samples; the last
    /// call may exceed that. Cancelled calls are dropped.
    pub(super) fn sample_calls(&mut self, first: SampleCall, max: usize) -> Vec<SampleCall> {
        let mut total = first.0.samples.len();
        let mut calls = vec![first];
        while total < max {
            match self.jobs.try_recv() {
                Ok(Job::AddSamples(call)) => {
                    total += call.0.samples.len();
                    calls.push(call);
                }
                Ok(other) => {
                    self.next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        calls.retain(|(_, answer)| !answer.is_closed());
        calls
    }

    /// Refuses all waiting jobs except a close.
    pub(super) fn refuse(&mut self, error: &StoreError) {
        let mut job = self.next.take().or_else(|| self.jobs.try_recv().ok());
        while let Some(refused) = job {
            match refused {
                Job::Record(_, answer) => drop(answer.send(Err(error.clone()))),
                Job::Prune(_, answer) | Job::Forget(.., answer) | Job::ForgetFleet(_, answer) => {
                    drop(answer.send(Err(error.clone())));
                }
                Job::AddSamples((_, answer)) => drop(answer.send(Err(error.clone()))),
                Job::PruneSamples(.., answer) => drop(answer.send(Err(error.clone()))),
                Job::ForgetNode(.., answer) => drop(answer.send(Err(error.clone()))),
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
                self.refuse(&StoreError::closed());
            }
        }
    }
}

/// Calls to record that are executed together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    calls: Vec<(Vec<Report>, Answer<Vec<Outcome>>)>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Divides the calls by the fleet of their reports.
    pub(super) fn by_fleet(self) -> BTreeMap<FleetName, Batch> {
        let mut fleets: BTreeMap<FleetName, Batch> = BTreeMap::new();
        for (reports, answer) in self.calls {
            let fleet = reports.first().map(|report| report.fleet.clone()).unwrap_or_default();
            fleets.entry(fleet).or_default().calls.push((reports, answer));
        }
        fleets
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

/// Returns to each call to add samples the outcomes of its samples.
pub(super) fn answer_samples(calls: Vec<SampleCall>, outcomes: Result<Vec<Vec<SampleOutcome>>, StoreError>) {
    let mut outcomes = outcomes.map(Vec::into_iter);
    for (_, answer) in calls {
        let own = match &mut outcomes {
            Ok(outcomes) => Ok(outcomes.next().unwrap_or_default()),
            Err(error) => Err(error.clone()),
        };
        let _ = answer.send(own);
    }
}

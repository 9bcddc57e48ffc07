//! Queue of a store's writer. Its length is bounded, and all waiting calls of one kind are taken out together. After a commit
//! for several calls, the writer waits a moment for the next calls of these clients.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::error::StoreError;
use super::interface::{Horizon, Outcome, StoreFuture};
use crate::fleet_name::FleetName;
use crate::measurements::{Pruned, Retention, SampleBatch, SampleOutcome};
use crate::report::Report;

/// Maximum number of calls that wait for the writer.
const CAPACITY: usize = 512;
/// Maximum time for which the writer waits for further calls; half the duration of the previous commit if that is less.
const MAX_WAIT: Duration = Duration::from_millis(1);
/// Polling interval of the length of the queue.
const POLLING_INTERVAL: Duration = Duration::from_micros(20);

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Call to record reports.
pub(super) type RecordCall = (Vec<Report>, Answer<Vec<Outcome>>);
/// Call to add samples.
pub(super) type SampleCall = (SampleBatch, Answer<Vec<SampleOutcome>>);

/// Call that waits for the writer.
#[derive(Debug)]
pub(super) enum Job {
    Record(RecordCall),
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
        (WriteQueue(sender), Receiver { jobs, next: None, last_commit: None })
    }

    /// Queues a job and waits for its result.
    pub(super) fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(Answer<T>) -> Job + Send + 'static,
    ) -> StoreFuture<'_, T> {
        async move {
            let (answer, answered) = oneshot::channel();
            self.0.try_send(job(answer)).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => StoreError::Busy,
                mpsc::error::TrySendError::Closed(_) => StoreError::closed(),
            })?;
            answered.await.unwrap_or_else(|_| Err(StoreError::closed()))
        }
        .boxed()
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
    last_commit: Option<Commit>,
}

/// Calls that were executed together.
#[derive(Debug)]
struct Commit {
    calls: usize,
    begin: Instant,
    /// Time at which the calls were answered; `None` before.
    end: Option<Instant>,
}

impl Commit {
    /// Returns the time until which the next commit waits for as many calls as this one had, similar to `commit_delay` of
    /// PostgreSQL: most clients send their next report when they have the answer, and a commit for the first few of
    /// them would make the others wait for one commit more. `None` if there was only one client.
    fn deadline_of_next(&self) -> Option<Instant> {
        let end = self.end.filter(|_| self.calls > 1)?;
        Some(end + (end.duration_since(self.begin) / 2).min(MAX_WAIT))
    }
}

impl Receiver {
    /// Returns the next job, or `None` after all senders are dropped.
    pub(super) async fn next(&mut self) -> Option<Job> {
        self.end_commit();
        match self.next.take() {
            Some(job) => Some(job),
            None => self.jobs.recv().await,
        }
    }

    /// Returns the next job like [`Receiver::next`], for a thread that may block.
    pub(super) fn blocking_next(&mut self) -> Option<Job> {
        self.end_commit();
        self.next.take().or_else(|| self.jobs.blocking_recv())
    }

    /// Records that the last calls are answered.
    fn end_commit(&mut self) {
        if let Some(commit) = &mut self.last_commit {
            commit.end.get_or_insert_with(Instant::now);
        }
    }

    /// Blocks until as many calls wait as the last commit had, for at most [`MAX_WAIT`].
    fn wait_for_calls(&self) {
        let Some(commit) = &self.last_commit else { return };
        let Some(deadline) = commit.deadline_of_next() else { return };
        // The first call is received already.
        while self.jobs.len() + 1 < commit.calls && Instant::now() < deadline {
            std::thread::sleep(POLLING_INTERVAL);
        }
    }

    /// Returns a call to record together with those that wait directly behind it, up to `max` reports; the last call
    /// may exceed that. Blocks for at most [`MAX_WAIT`].
    pub(super) fn batch(&mut self, first: RecordCall, max: usize) -> Batch {
        let record = |job| match job {
            Job::Record(call) => (Some(call), None),
            other => (None, Some(other)),
        };
        Batch { calls: self.calls(first, max, Vec::len, record) }
    }

    /// Returns a call to add samples together with those that wait directly behind it, up to `max` samples; the last
    /// call may exceed that. Blocks for at most [`MAX_WAIT`].
    pub(super) fn sample_calls(&mut self, first: SampleCall, max: usize) -> Vec<SampleCall> {
        let add = |job| match job {
            Job::AddSamples(call) => (Some(call), None),
            other => (None, Some(other)),
        };
        self.calls(first, max, |batch| batch.samples.len(), add)
    }

    /// Returns a call together with those of its kind that wait directly behind it, up to a total length of `max`.
    fn calls<C, T>(
        &mut self,
        first: (C, Answer<T>),
        max: usize,
        length: impl Fn(&C) -> usize,
        of_kind: impl Fn(Job) -> (Option<(C, Answer<T>)>, Option<Job>),
    ) -> Vec<(C, Answer<T>)> {
        let mut total = length(&first.0);
        if total < max {
            self.wait_for_calls();
        }
        let mut calls = vec![first];
        while total < max
            && let Ok(job) = self.jobs.try_recv()
        {
            let (call, other) = of_kind(job);
            self.next = other;
            let Some(call) = call else { break };
            total += length(&call.0);
            calls.push(call);
        }
        // Cancelled calls are dropped. Their clients may send the same again, but no longer wait for this result.
        calls.retain(|(_, answer)| !answer.is_closed());
        self.last_commit = Some(Commit { calls: calls.len(), begin: Instant::now(), end: None });
        calls
    }

    /// Refuses all waiting jobs except a close.
    pub(super) fn refuse(&mut self, error: &StoreError) {
        let mut job = self.next.take().or_else(|| self.jobs.try_recv().ok());
        while let Some(refused) = job {
            match refused {
                Job::Record((_, answer)) => drop(answer.send(Err(error.clone()))),
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
    calls: Vec<RecordCall>,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the time that the next commit waits after one with this number of calls and this duration.
    fn wait(calls: usize, duration: Duration) -> Option<Duration> {
        let begin = Instant::now();
        let commit = Commit { calls, begin, end: Some(begin + duration) };
        commit.deadline_of_next().map(|deadline| deadline.duration_since(begin + duration))
    }

    #[test]
    fn commit_waits_for_the_clients_of_the_last_one_for_half_its_duration_and_at_most_a_millisecond() {
        assert_eq!(wait(2, Duration::from_micros(300)), Some(Duration::from_micros(150)));
        assert_eq!(wait(500, Duration::from_secs(2)), Some(MAX_WAIT));
        assert_eq!(wait(1, Duration::from_micros(300)), None, "one client is never waited for");
        assert_eq!(wait(0, Duration::from_micros(300)), None);
        let unanswered = Commit { calls: 9, begin: Instant::now(), end: None };
        assert_eq!(unanswered.deadline_of_next(), None);
    }
}

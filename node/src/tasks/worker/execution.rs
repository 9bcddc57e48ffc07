//! One execution: claims the assignment, executes the action, and writes the outcome.
//!
//! The claim and the new version of the assignment are written in one transaction, so an assignment is claimed at most
//! once. The outcome is created in the transaction that deletes claim and assignment: if the session has expired, or the
//! leader has withdrawn the assignment, it fails, and the outcome is dropped.

use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::session::{CreateMode, Write, Written};
use atalaya_recipes::{Backoff, Connection, Error, Session};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::fail_points;
use crate::metrics::TaskMetrics;
use crate::model::json::to_json;
use crate::model::task::record::{Assignment, Outcome, Progress, Result as TaskResult};
use crate::model::task::{TaskId, paths};
use crate::tasks::actions::{self, ExecutionOutcome, ExecutionRequest, Executor, LocalLease, StopReason};

/// Minimum time between two publications of the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Execution<'a> {
    pub(super) session: &'a Session,
    pub(super) session_id: i64,
    pub(super) node: &'a str,
    pub(super) executor: &'a Executor,
    /// Reason why the action must not be executed.
    pub(super) refusal: Option<String>,
    pub(super) metrics: &'a TaskMetrics,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) task: TaskId,
    pub(super) assignment: Assignment,
}

fn name(result: TaskResult) -> &'static str {
    match result {
        TaskResult::Done => "done",
        TaskResult::Failed => "failed",
        TaskResult::TimedOut => "timed-out",
        TaskResult::Interrupted => "interrupted",
        TaskResult::Refused => "refused",
    }
}

impl Execution<'_> {
    /// Runs until the outcome is written or dropped.
    pub(super) async fn run(&self) {
        fail_points::point("tasks-claim");
        let Some(fence) = self.claim().await else { return };
        fail_points::point("tasks-claimed");
        let Assignment { action, attempt, .. } = &self.assignment;
        info!(task = %self.task, action, attempt, "executing");
        let executing = self.metrics.execution_started();
        let Some(outcome) = self.execute(fence).await else {
            self.metrics.executed(action, "cancelled");
            info!(task = %self.task, "stopped: the task was cancelled");
            return self.withdraw_claim().await;
        };
        drop(executing);
        self.metrics.executed(action, name(outcome.result));
        info!(task = %self.task, action, result = ?outcome.result, "executed");
        fail_points::point("tasks-executed");
        self.report(&outcome).await;
        fail_points::point("tasks-reported");
    }

    /// Returns a connection of this session; `None` if the session has ended.
    async fn connection(&self) -> Option<Connection> {
        let connection = self.session.connection().await;
        (connection.session_id() == self.session_id).then_some(connection)
    }

    /// Claims the assignment. Returns the fencing token, or `None` if the assignment was withdrawn or claimed before.
    async fn claim(&self) -> Option<i64> {
        let (run, claim) = (paths::run(self.node, &self.task), paths::claim(&self.task, self.node));
        let (data, progress) = (to_json(&self.assignment), to_json(&Progress::default()));
        let mut backoff = Backoff::default();
        loop {
            let connection = self.connection().await?;
            let writes = [
                Write::Set { path: &run, data: &data, version: Some(0) },
                Write::Create { path: &claim, data: &progress, mode: CreateMode::Ephemeral },
            ];
            match fail_points::during("tasks-claiming", connection.multi(&writes)).await {
                Ok(written) => match written.first() {
                    Some(Written::Set(stat)) => return Some(stat.czxid),
                    _ => return None,
                },
                // The reply to an earlier request may have been lost.
                Err(refusal) if refusal.at.is_some() && !refusal.error.is_connection_loss() => {
                    match self.own_claim(&connection, &run, &claim).await {
                        Ok(fence) => return fence,
                        Err(error) => backoff.pause(self.session, &error).await,
                    }
                }
                Err(refusal) => backoff.pause(self.session, &refusal.error).await,
            }
        }
    }

    /// Returns the fencing token if the claim is of this session.
    async fn own_claim(&self, connection: &Connection, run: &str, claim: &str) -> Result<Option<i64>, Error> {
        let owner = connection.stat(claim).await?.map(|stat| stat.ephemeral_owner);
        let run = connection.stat(run).await?;
        Ok(run.filter(|run| run.version == 1 && owner == Some(self.session_id)).map(|run| run.czxid))
    }

    /// Executes the action. Returns `None` if the assignment was withdrawn.
    async fn execute(&self, fence: i64) -> Option<Outcome> {
        let request = ExecutionRequest {
            task: self.task.to_string(),
            action: self.assignment.action.clone(),
            args: self.assignment.args.clone(),
            attempt: self.assignment.attempt,
            fence,
            run_for: self.assignment.run_for_ms.map(Duration::from_millis),
            file: self.assignment.file.clone(),
        };
        let checked = self.executor.check(&request.action, &request.args);
        if let Some(reason) = self.refusal.clone().or(checked.err()) {
            let reason = Some(reason);
            return Some(Outcome { result: TaskResult::Refused, reason, ..Outcome::default() });
        }
        let (progress, newest) = watch::channel(String::new());
        let mut stopping = self.stopping.clone();
        let stop = async {
            tokio::select! {
                () = self.withdrawn() => StopReason::Cancelled,
                Ok(_) = stopping.wait_for(|stopping| *stopping) => StopReason::Shutdown,
                () = self.session_ended() => StopReason::LeaseEnding,
            }
        };
        let execution = self.executor.execute(request, || self.lease(), progress, stop);
        let execution = tokio::select! {
            execution = execution => execution,
            () = self.keep_lease() => std::future::pending().await,
            () = self.publish_progress(newest) => std::future::pending().await,
        };
        self.outcome(execution)
    }

    fn outcome(&self, execution: actions::Execution) -> Option<Outcome> {
        let result = match execution.outcome {
            ExecutionOutcome::Done => TaskResult::Done,
            ExecutionOutcome::Failed => TaskResult::Failed,
            ExecutionOutcome::TimedOut => TaskResult::TimedOut,
            ExecutionOutcome::Stopped(StopReason::Cancelled) => return None,
            ExecutionOutcome::Stopped(StopReason::Shutdown | StopReason::LeaseEnding) => {
                TaskResult::Interrupted
            }
        };
        let mut outcome = Outcome {
            result,
            exit_code: execution.exit_code,
            signal: execution.signal,
            duration_ms: u64::try_from(execution.duration.as_millis()).unwrap_or(u64::MAX),
            output: execution.output,
            omitted: execution.output_cut,
            reason: execution.reason,
        };
        outcome.limit();
        Some(outcome)
    }

    /// Returns the local lease of the session of the claim.
    fn lease(&self) -> LocalLease {
        let state = self.session.state();
        if state.session != self.session_id {
            return LocalLease::default();
        }
        LocalLease {
            remaining: self.session.lease_remaining(BootInstant::now()),
            session_timeout: state.timeout,
        }
    }

    /// Renews the local lease, which only writes and `sync` do.
    async fn keep_lease(&self) {
        loop {
            let connection = self.session.connection().await;
            let interval = connection.timeout() / 8;
            if let Err(error) = connection.sync().await {
                debug!(%error, "cannot renew the lease");
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// Waits until the session of the claim has ended.
    async fn session_ended(&self) {
        let mut states = self.session.watch();
        let id = self.session_id;
        let ended = |state: &atalaya_recipes::SessionState| state.session != id && state.session != 0;
        let _ = states.wait_for(ended).await;
    }

    /// Waits until the assignment is deleted.
    async fn withdrawn(&self) {
        let path = paths::run(self.node, &self.task);
        let mut backoff = Backoff::default();
        loop {
            let connection = self.session.connection().await;
            match connection.stat_and_watch(&path).await {
                Ok((None, _)) => return,
                Ok((Some(_), watcher)) => {
                    backoff.reset();
                    connection.watch_event(watcher).await;
                }
                Err(error) => backoff.pause(self.session, &error).await,
            }
        }
    }

    async fn publish_progress(&self, mut newest: watch::Receiver<String>) {
        let claim = paths::claim(&self.task, self.node);
        while newest.changed().await.is_ok() {
            let text = newest.borrow_and_update().clone();
            let connection = self.session.connection().await;
            let data = to_json(&Progress { text });
            if let Err(error) = connection.set(&claim, &data, None).await {
                debug!(%error, "cannot publish the progress");
            }
            tokio::time::sleep(PROGRESS_INTERVAL).await;
        }
        std::future::pending().await
    }

    /// Writes the outcome, unless the session has ended or the assignment was withdrawn.
    async fn report(&self, outcome: &Outcome) {
        let (run, claim) = (paths::run(self.node, &self.task), paths::claim(&self.task, self.node));
        let (done, data) = (paths::done(&self.task, self.node), to_json(outcome));
        let mut backoff = Backoff::default();
        let mut may_have_written = false;
        loop {
            let Some(connection) = self.connection().await else {
                warn!(task = %self.task, "the result is dropped: the session of its claim has ended");
                return;
            };
            let writes = [
                Write::Delete { path: &claim, version: None },
                Write::Delete { path: &run, version: Some(1) },
                Write::Create { path: &done, data: &data, mode: CreateMode::Persistent },
            ];
            match fail_points::during("tasks-reporting", connection.multi(&writes)).await {
                Ok(_) => return,
                // An outcome that the leader has not deleted yet.
                Err(refusal) if refusal.error.is_node_exists() => backoff.conflict().await,
                Err(refusal) if refusal.at.is_some() && !refusal.error.is_connection_loss() => {
                    if !may_have_written {
                        warn!(task = %self.task, error = %refusal.error, "the result is dropped: the assignment was withdrawn");
                    }
                    return self.withdraw_claim().await;
                }
                Err(refusal) => {
                    may_have_written = true;
                    backoff.pause(self.session, &refusal.error).await;
                }
            }
        }
    }

    /// Deletes the claim after the assignment was withdrawn, so that the task can be assigned again.
    async fn withdraw_claim(&self) {
        let claim = paths::claim(&self.task, self.node);
        let mut backoff = Backoff::default();
        while let Some(connection) = self.connection().await {
            match connection.stat(&claim).await {
                Ok(Some(stat)) if stat.ephemeral_owner == self.session_id => {
                    match connection.delete_if_exists(&claim, None).await {
                        Ok(_) => return,
                        Err(error) => backoff.pause(self.session, &error).await,
                    }
                }
                Ok(_) => return,
                Err(error) => backoff.pause(self.session, &error).await,
            }
        }
    }
}

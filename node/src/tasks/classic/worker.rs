//! A worker: executes the task that its znode names, and records the result.
//!
//! The execution is a future beside the watches, so watches are handled while it runs. It is stopped when the task is
//! deleted or finished by another worker, when the znode of this worker does not name the task any more, when the local
//! lease expires, and at the shutdown.

use std::pin::pin;
use std::time::Duration;

use atalaya_recipes::backoff::Backoff;
use atalaya_recipes::persistent_node::Conflict;
use atalaya_recipes::session::Write;
use atalaya_recipes::{Connection, Error, Session};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::layout::{Layout, TaskState, WorkerState, clean_result, finished_data};
use super::lease;
use super::registration::{Own, Registration};

/// Maximum time for which the input of a task may be missing.
const INPUT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time between the two writes of a Python master: first the worker, then the task. A result between them would be
/// overwritten by the second one.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// A worker whose tasks are executed by `E`: an async function of the task's id, its input, and a token that is cancelled
/// to stop it. It returns the result, or `None` if it was stopped.
pub(crate) struct Worker<E> {
    session: Session,
    layout: Layout,
    id: String,
    /// Data of the own znode while this worker is free.
    free: &'static str,
    execute: E,
}

#[derive(Debug)]
enum End {
    /// The result was recorded and this worker is free.
    Recorded(String),
    /// There is nothing to record, for this reason.
    Dropped(&'static str),
    /// The result may have been recorded, or not. It is not known because the task was deleted before this worker was
    /// connected again.
    Unconfirmed,
    /// The znode of this worker does not name the task any more.
    Revoked,
    /// The session may have ended. If it has not, the task is executed again.
    Uncertain,
    Stopped,
}

/// Result of the preparation of a task.
enum Start {
    Ready {
        created: i64,
        input: Vec<u8>,
    },
    /// The execution is not possible; the text is the result.
    Impossible {
        created: i64,
        result: &'static str,
    },
    End(End),
}

const DELETED: &str = "the task was deleted";
const FINISHED: &str = "the task has a result already";

impl<E> Worker<E>
where
    E: AsyncFn(&str, Vec<u8>, CancellationToken) -> Option<String>,
{
    pub(crate) fn new(
        session: Session,
        layout: Layout,
        id: String,
        free: &'static str,
        execute: E,
    ) -> Worker<E> {
        Worker { session, layout, id, free, execute }
    }

    /// Executes tasks until `stop` is cancelled.
    ///
    /// # Errors
    /// Another live session owns the znode of this worker.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Result<(), Conflict> {
        let registration =
            Registration::new(self.session.clone(), self.layout.clone(), self.id.clone(), self.free);
        let own = registration.subscribe();
        let stop = stop.child_token();
        let mut work = pin!(self.work(own, &stop));
        let conflict = tokio::select! {
            biased;
            conflict = registration.run() => conflict,
            () = &mut work => return Ok(()),
        };
        stop.cancel();
        work.await;
        Err(conflict)
    }

    async fn work(&self, mut own: watch::Receiver<Option<Own>>, stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let assigned = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                assigned = next_assignment(&mut own) => assigned,
            };
            let Some(task) = assigned.task.clone() else { continue };
            let end = self.perform(&assigned, &task, own.clone(), stop).await;
            match &end {
                End::Recorded(result) => info!(task, result, "finished"),
                End::Dropped(reason) => warn!(task, reason, "result dropped"),
                End::Unconfirmed => {
                    warn!(task, "finished, but the task was deleted before its result could be confirmed");
                }
                End::Revoked => warn!(task, "the assignment was revoked; stopped the execution"),
                End::Uncertain => {
                    warn!(task, "the session may have ended; stopped the execution");
                    backoff.conflict().await;
                    continue;
                }
                End::Stopped => {
                    info!(task, "stopped the execution");
                    return;
                }
            }
            backoff.reset();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = own.wait_for(|own| own.as_ref() != Some(&assigned)) => {}
            }
        }
    }

    /// Executes one task and records its result.
    async fn perform(
        &self,
        assigned: &Own,
        task: &str,
        mut own: watch::Receiver<Option<Own>>,
        stop: &CancellationToken,
    ) -> End {
        let token = stop.child_token();
        let settled = tokio::time::Instant::now() + SETTLE_TIMEOUT;
        let mut revoked = pin!(revoked(&mut own, assigned));
        let start = tokio::select! {
            biased;
            () = stop.cancelled() => return End::Stopped,
            () = &mut revoked => return End::Revoked,
            start = self.start(assigned, task) => start,
        };
        let (created, result) = match start {
            Start::End(end) => return end,
            Start::Impossible { created, result } => (created, Some(result.to_owned())),
            Start::Ready { created, input } => {
                info!(task, "executing");
                let mut execution = pin!((self.execute)(task, input, token.clone()));
                let interrupted = tokio::select! {
                    biased;
                    () = stop.cancelled() => End::Stopped,
                    () = lease::uncertain(&self.session, assigned.session) => End::Uncertain,
                    () = &mut revoked => End::Revoked,
                    reason = self.ended(task, created) => End::Dropped(reason),
                    result = &mut execution => End::Recorded(result.unwrap_or_default()),
                };
                match interrupted {
                    End::Recorded(result) => (created, Some(result)),
                    end => {
                        token.cancel();
                        execution.await;
                        if !matches!(end, End::Dropped(_)) {
                            return end;
                        }
                        (created, None)
                    }
                }
            }
        };
        // Revocation is not watched here: the transaction checks it.
        tokio::select! {
            biased;
            () = stop.cancelled() => End::Stopped,
            end = async {
                // Without an assignment in the task until then, there will be none.
                let _ = tokio::time::timeout_at(settled, self.settled(task, created)).await;
                self.record(assigned, task, created, result.as_deref()).await
            } => end,
        }
    }

    /// Waits until the task names its worker, is finished, or is deleted.
    async fn settled(&self, task: &str, created: i64) {
        let path = self.layout.task(task);
        let mut backoff = Backoff::default();
        loop {
            let connection = self.session.connection().await;
            match connection.get_opt_and_watch(&path).await {
                Ok((Some((data, stat)), watcher))
                    if stat.czxid == created && TaskState::parse(task, &data) == TaskState::Unassigned =>
                {
                    connection.watch_event(watcher).await;
                }
                Ok(_) => return,
                Err(error) => backoff.pause(&self.session, &error).await,
            }
        }
    }

    /// Reads the task and its input. Waits for the input: some clients create it after the task.
    async fn start(&self, assigned: &Own, task: &str) -> Start {
        let deadline = tokio::time::Instant::now() + INPUT_TIMEOUT;
        let mut backoff = Backoff::default();
        loop {
            let Some(connection) = self.connection(assigned).await else { return Start::End(End::Revoked) };
            match self.try_start(&connection, assigned, task, deadline).await {
                Ok(Some(start)) => return start,
                Ok(None) => {}
                Err(error) => backoff.pause(&self.session, &error).await,
            }
        }
    }

    async fn try_start(
        &self,
        connection: &Connection,
        assigned: &Own,
        task: &str,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Start>, Error> {
        let (found, changed) = connection.get_opt_and_watch(&self.layout.task(task)).await?;
        let Some((data, stat)) = found else {
            return Ok(Some(Start::End(self.record(assigned, task, 0, None).await)));
        };
        let created = stat.czxid;
        if let TaskState::Finished(_) = TaskState::parse(task, &data) {
            return Ok(Some(Start::End(self.record(assigned, task, created, None).await)));
        }
        let (input, input_created) = connection.get_opt_and_watch(&self.layout.input(task)).await?;
        if let Some((input, _)) = input {
            return Ok(Some(Start::Ready { created, input }));
        }
        tokio::select! {
            _ = connection.watch_event(changed) => Ok(None),
            _ = connection.watch_event(input_created) => Ok(None),
            () = tokio::time::sleep_until(deadline) => {
                Ok(Some(Start::Impossible { created, result: "error: the task has no input" }))
            }
        }
    }

    /// Waits until the task is deleted or has a result. Returns the reason.
    async fn ended(&self, task: &str, created: i64) -> &'static str {
        let path = self.layout.task(task);
        let mut backoff = Backoff::default();
        loop {
            let connection = self.session.connection().await;
            match connection.get_opt_and_watch(&path).await {
                Ok((Some((data, stat)), watcher)) if stat.czxid == created => {
                    if let TaskState::Finished(_) = TaskState::parse(task, &data) {
                        return FINISHED;
                    }
                    connection.watch_event(watcher).await;
                }
                Ok(_) => return DELETED,
                Err(error) => backoff.pause(&self.session, &error).await,
            }
        }
    }

    /// Records the result, if there is one, and makes this worker free, in one transaction.
    async fn record(&self, assigned: &Own, task: &str, created: i64, result: Option<&str>) -> End {
        let (mut backoff, mut is_sent) = (Backoff::default(), false);
        loop {
            let Some(connection) = self.connection(assigned).await else { return End::Revoked };
            match self.try_record(&connection, assigned, (task, created), result, &mut is_sent).await {
                Ok(end) => return end,
                Err(error) if is_conflict(&error) => {
                    is_sent = false;
                    backoff.conflict().await;
                }
                Err(error) => backoff.pause(&self.session, &error).await,
            }
        }
    }

    /// Tries to record the result once. Sets `is_sent` when it sends the result, whose outcome is unknown after a
    /// connection loss.
    async fn try_record(
        &self,
        connection: &Connection,
        assigned: &Own,
        (task, created): (&str, i64),
        result: Option<&str>,
        is_sent: &mut bool,
    ) -> Result<End, Error> {
        let (own_path, task_path) = (self.layout.worker(&self.id), self.layout.task(task));
        // After a lost reply, this shows whether the transaction took effect.
        connection.sync().await?;
        let busy = WorkerState::Busy(task.to_owned());
        let own = connection.get_opt(&own_path).await?;
        let holds =
            own.filter(|(data, stat)| stat.czxid == assigned.created && WorkerState::parse(data) == busy);
        let found = connection.get_opt(&task_path).await?.filter(|(_, stat)| stat.czxid == created);
        let state = found.as_ref().map(|(data, _)| TaskState::parse(task, data));
        let free =
            |version| Write::Set { path: &own_path, data: self.free.as_bytes(), version: Some(version) };
        match (holds, state, result) {
            (None, Some(TaskState::Finished(recorded)), Some(result)) if recorded == clean_result(result) => {
                Ok(End::Recorded(recorded))
            }
            (None, None, _) if *is_sent => Ok(End::Unconfirmed),
            (None, ..) => Ok(End::Revoked),
            (Some((_, own)), Some(TaskState::Unassigned | TaskState::Assigned(_)), Some(result)) => {
                let version = found.map(|(_, stat)| stat.version);
                let data = finished_data(task, result);
                let finish = Write::Set { path: &task_path, data: data.as_bytes(), version };
                *is_sent = true;
                connection.multi(&[finish, free(own.version)]).await?;
                Ok(End::Recorded(clean_result(result)))
            }
            (Some((_, own)), state, _) => {
                connection.multi(&[free(own.version)]).await?;
                Ok(End::Dropped(if state.is_some() { FINISHED } else { DELETED }))
            }
        }
    }

    /// Waits for a connection. Returns `None` if it belongs to another session than the assignment.
    async fn connection(&self, assigned: &Own) -> Option<Connection> {
        let connection = self.session.connection().await;
        (connection.session_id() == assigned.session).then_some(connection)
    }
}

fn is_conflict(error: &Error) -> bool {
    error.is_no_node() || error.is_bad_version()
}

/// Waits until the own znode names a task.
async fn next_assignment(own: &mut watch::Receiver<Option<Own>>) -> Own {
    let is_assigned = |own: &Option<Own>| own.as_ref().is_some_and(|own| own.task.is_some());
    match own.wait_for(is_assigned).await.ok().and_then(|own| own.clone()) {
        Some(own) => own,
        // The registration has ended; the caller stops this worker.
        None => std::future::pending().await,
    }
}

/// Waits until the own znode does not contain the assignment any more.
async fn revoked(own: &mut watch::Receiver<Option<Own>>, assigned: &Own) {
    let is_other = |own: &Option<Own>| !own.as_ref().is_some_and(|own| own.is_same_assignment(assigned));
    if own.wait_for(is_other).await.is_err() {
        std::future::pending().await
    }
}

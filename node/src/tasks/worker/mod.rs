//! A worker: offers the actions of its board, and executes the tasks that the leader assigns to it.
//!
//! # Znodes
//!
//! `worker/{node}` describes the worker and stays when it ends. `alive/{node}` is ephemeral. Assignments appear below
//! `run/{node}`; the worker claims one before it executes it.
//!
//! # Disconnect and session expiry
//!
//! Executions continue while the session is disconnected, up to the end of its local lease. Those of an expired session
//! are stopped, and their results are dropped: the leader may have assigned the tasks to another worker.
//!
//! # Cancellation safety
//!
//! If the future is dropped, the commands are killed and their tasks are assigned again. [`Worker::stop`] ends them with
//! an outcome first.

mod execution;
pub mod info;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use atalaya_recipes::persistent_node::{Conflict, PersistentNode};
use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{Backoff, Connection, Error, Session};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use self::execution::Execution;
use super::actions::Executor;
use crate::metrics::TaskMetrics;
use crate::model::acl_policy::AclPolicy;
use crate::model::json::to_json;
use crate::model::task::record::Assignment;
use crate::model::task::worker_info::WorkerInfo;
use crate::model::task::{TaskId, paths};

/// Minimum time between two publications of a changed description.
const MIN_PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which an unchanged description is published again. Leaders forget workers that have been absent for a week.
const REFRESH_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// A worker.
#[derive(Debug)]
pub struct Worker {
    session: Session,
    id: String,
    executor: Executor,
    /// Description; `None` while the board executes nothing.
    info: watch::Receiver<Option<WorkerInfo>>,
    /// Policy for the ACLs of the fleet's znodes.
    policy: AclPolicy,
    /// Znode through which clients outside the fleet could assign tasks to this worker.
    exposed: Mutex<Option<String>>,
    stopping: watch::Sender<bool>,
    /// Number of executions in progress.
    busy: watch::Sender<usize>,
    metrics: TaskMetrics,
}

impl Worker {
    /// Returns a worker that does nothing until [`run`](Self::run). `info` is its description.
    pub fn new(
        session: Session,
        id: &str,
        executor: Executor,
        info: watch::Receiver<Option<WorkerInfo>>,
        policy: AclPolicy,
    ) -> Worker {
        let (stopping, busy) = (watch::Sender::new(false), watch::Sender::new(0));
        let (id, exposed, metrics) = (id.to_owned(), Mutex::default(), TaskMetrics::default());
        Worker { session, id, executor, info, policy, exposed, stopping, busy, metrics }
    }

    /// Counts executions with this recorder.
    #[must_use]
    pub(crate) fn with_metrics(self, metrics: TaskMetrics) -> Worker {
        Worker { metrics, ..self }
    }

    /// Stops all executions, and waits until their outcomes are written, at most for `timeout`. The worker accepts no
    /// further assignments.
    pub async fn stop(&self, timeout: Duration) {
        self.stopping.send_replace(true);
        let mut busy = self.busy.subscribe();
        let _ = tokio::time::timeout(timeout, busy.wait_for(|busy| *busy == 0)).await;
    }

    /// Serves until dropped. Returns if another process with this id is a worker, or if the znode of the worker is
    /// persistent.
    pub async fn run(&self) -> Conflict {
        let mut info = self.info.clone();
        // The receiver lives as long as the node.
        if info.wait_for(Option::is_some).await.is_err() {
            return std::future::pending().await;
        }
        // Boxed, because some boards execute nothing.
        Box::pin(self.work(info)).await
    }

    async fn work(&self, info: watch::Receiver<Option<WorkerInfo>>) -> Conflict {
        let (alive, present) = watch::channel(None);
        let node = PersistentNode::new(self.session.clone(), paths::alive(&self.id));
        tokio::select! {
            conflict = node.run(present) => conflict,
            () = self.publish(info, &alive) => std::future::pending().await,
            () = self.serve() => std::future::pending().await,
        }
    }

    /// Publishes the description, and `alive` after the first publication.
    async fn publish(
        &self,
        mut info: watch::Receiver<Option<WorkerInfo>>,
        alive: &watch::Sender<Option<Vec<u8>>>,
    ) {
        let mut backoff = Backoff::default();
        loop {
            let connection = self.session.connection().await;
            backoff.reconnected();
            let current = info.borrow_and_update().clone();
            // A board that executes nothing any more stays a worker without actions until the node ends.
            let data = to_json(&current.unwrap_or_default());
            if let Err(error) = self.register(&connection, &data).await {
                backoff.pause(&self.session, &error).await;
                continue;
            }
            backoff.reset();
            if alive.borrow().is_none() {
                info!(znode = paths::worker(&self.id), "ready for tasks");
                alive.send_replace(Some(Vec::new()));
            }
            let last = Instant::now();
            tokio::select! {
                Ok(()) = info.changed() => tokio::time::sleep_until(last + MIN_PUBLISH_INTERVAL).await,
                () = tokio::time::sleep(REFRESH_INTERVAL) => {}
            }
        }
    }

    async fn register(&self, connection: &Connection, data: &[u8]) -> Result<(), Error> {
        for parent in paths::PARENTS {
            connection.ensure(parent).await?;
        }
        let runs = paths::runs(&self.id);
        connection.ensure(&runs).await?;
        self.check_acls(connection, &[paths::ROOT, paths::SPEC, paths::STATE, paths::RUN, &runs]).await?;
        let path = paths::worker(&self.id);
        match connection.set(&path, data, None).await {
            Err(error) if error.is_no_node() => {
                connection.create(&path, data, CreateMode::Persistent).await.map(drop)
            }
            result => result.map(drop),
        }
    }

    /// Finds the first of `paths` that clients outside the fleet can write: then only actions that change nothing are
    /// executed.
    async fn check_acls(&self, connection: &Connection, paths: &[&str]) -> Result<(), Error> {
        let mut found = None;
        for path in paths.iter().take_while(|_| !self.policy.is_open()) {
            let (acl, _) = connection.get_acl(path).await?;
            if self.policy.foreign_writer(&acl).is_some() {
                found = Some((*path).to_owned());
                break;
            }
        }
        let mut exposed = self.exposed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = found.as_ref().filter(|path| exposed.as_ref() != Some(path)) {
            warn!(
                path,
                "clients outside the fleet can write this znode, so only read-only actions are executed; restrict it with: atalaya acl apply"
            );
        }
        *exposed = found;
        Ok(())
    }

    /// Returns the reason why an action must not be executed, if clients outside the fleet could have assigned it.
    fn refusal(&self, action: &str) -> Option<String> {
        let exposed = self.exposed.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let config = self.executor.changes().borrow().clone();
        let is_allowed = config.tasks().is_some_and(|tasks| tasks.allow_unauthenticated)
            || self.executor.catalogue().get(action).is_some_and(|action| action.read_only);
        (!is_allowed).then(|| {
            format!("clients outside the fleet can write {exposed}; restrict it with atalaya acl apply, and restart the node")
        })
    }

    /// Executes the tasks that are assigned, until dropped.
    async fn serve(&self) {
        let mut executions = FuturesUnordered::new();
        // The assignments of `executions`, and those that have ended but are still in the list.
        let (mut executing, mut started) = (BTreeSet::new(), BTreeSet::new());
        let (new, mut assignments) = watch::channel(Vec::new());
        let follow = self.follow_assignments(&new);
        tokio::pin!(follow);
        loop {
            self.busy.send_replace(executions.len());
            let is_stopping = *self.stopping.borrow();
            tokio::select! {
                () = &mut follow => {}
                Some(ended) = executions.next(), if !executions.is_empty() => {
                    executing.remove(&ended);
                }
                Ok(()) = assignments.changed() => {}
            }
            let slots = self.executor.slots().max(1);
            let listed: Vec<Assigned> = assignments.borrow_and_update().clone();
            let keys: BTreeSet<Key> = listed.iter().map(Assigned::key).collect();
            started.retain(|key| keys.contains(key) || executing.contains(key));
            for assigned in listed {
                let key = assigned.key();
                if is_stopping || executions.len() >= slots || started.contains(&key) {
                    continue;
                }
                started.insert(key.clone());
                executing.insert(key.clone());
                let execution = Execution {
                    session: &self.session,
                    session_id: assigned.session,
                    node: &self.id,
                    executor: &self.executor,
                    refusal: self.refusal(&assigned.assignment.action),
                    metrics: &self.metrics,
                    stopping: self.stopping.subscribe(),
                    task: assigned.task,
                    assignment: assigned.assignment,
                };
                // Boxed: the list reserves memory for a future also while it is empty.
                executions.push(Box::pin(async move {
                    execution.run().await;
                    key
                }));
            }
        }
    }

    /// Publishes the assignments that are not claimed, until dropped.
    async fn follow_assignments(&self, new: &watch::Sender<Vec<Assigned>>) {
        let mut backoff = Backoff::default();
        loop {
            let connection = self.session.connection().await;
            backoff.reconnected();
            let follow = async {
                loop {
                    match self.read_assignments(&connection, new).await {
                        Ok(()) => backoff.reset(),
                        Err(error) => backoff.pause(&self.session, &error).await,
                    }
                }
            };
            tokio::select! {
                biased;
                () = connection.lost() => {}
                () = follow => {}
            }
        }
    }

    /// Reads and publishes the assignments, and waits until their list changes.
    async fn read_assignments(
        &self,
        connection: &Connection,
        new: &watch::Sender<Vec<Assigned>>,
    ) -> Result<(), Error> {
        let (names, watcher) = connection.children_opt_and_watch(&paths::runs(&self.id)).await?;
        let mut tasks: Vec<TaskId> =
            names.unwrap_or_default().iter().filter_map(|name| TaskId::of_znode(name)).collect();
        tasks.sort_unstable();
        let mut found = Vec::new();
        for task in tasks.into_iter().take(MAX_ASSIGNMENTS) {
            let Some((data, stat)) = connection.get_opt(&paths::run(&self.id, &task)).await? else {
                continue;
            };
            // Version 0: not claimed. Data that is not an assignment is executed as an unknown action, and refused.
            if stat.version == 0 {
                let assignment = Assignment::parse(&data).unwrap_or_else(|| Assignment {
                    attempt: 1,
                    action: "unreadable".to_owned(),
                    ..Assignment::default()
                });
                let session = connection.session_id();
                found.push(Assigned { task, czxid: stat.czxid, session, assignment });
            }
        }
        new.send_replace(found);
        watcher.changed().await;
        Ok(())
    }
}

/// Maximum number of assignments that are read. The leader assigns as many as there are slots.
const MAX_ASSIGNMENTS: usize = 100;

/// An assignment that is not claimed.
#[derive(Clone, Debug)]
struct Assigned {
    task: TaskId,
    /// Transaction that created it.
    czxid: i64,
    /// Session in which it was read.
    session: i64,
    assignment: Assignment,
}

/// Task, transaction of the assignment, and session.
type Key = (TaskId, i64, i64);

impl Assigned {
    fn key(&self) -> Key {
        (self.task.clone(), self.czxid, self.session)
    }
}

//! The znode of a worker: created in each session, never written by two sessions, watched for assignments.

use std::time::Duration;

use atalaya_recipes::backoff::Backoff;
use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::persistent_node::Conflict;
use atalaya_recipes::{Connection, Error, Session};
use tokio::sync::watch;
use tracing::{info, warn};

use super::layout::{Layout, WorkerState};

/// The own znode as it was last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) session: i64,
    /// Id of the transaction that created the znode.
    pub(super) created: i64,
    pub(super) version: i32,
    /// Id of the assigned task.
    pub(super) task: Option<String>,
}

impl Own {
    /// Returns true if `other` is the same znode with the same task. The master may have written it again.
    pub(super) fn is_same_assignment(&self, other: &Own) -> bool {
        (self.session, self.created, &self.task) == (other.session, other.created, &other.task)
    }
}

/// Keeps the znode of a worker registered.
pub(super) struct Registration {
    session: Session,
    layout: Layout,
    id: String,
    /// Data of the znode when it is created.
    free: &'static str,
    own: watch::Sender<Option<Own>>,
    /// Another session that owns the znode, and the time at which it was first seen.
    other: Option<(i64, BootInstant)>,
}

impl Registration {
    pub(super) fn new(session: Session, layout: Layout, id: String, free: &'static str) -> Registration {
        Registration { session, layout, id, free, own: watch::Sender::new(None), other: None }
    }

    /// Returns a receiver of the own znode; `None` while it does not exist.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Own>> {
        self.own.subscribe()
    }

    /// Keeps the znode registered until another live session turns out to own it.
    pub(super) async fn run(mut self) -> Conflict {
        let mut backoff = Backoff::default();
        loop {
            let connection = self.session.connection().await;
            backoff.reconnected();
            tokio::select! {
                biased;
                () = connection.lost() => {}
                conflict = self.maintain(&connection, &mut backoff) => return conflict,
            }
        }
    }

    async fn maintain(&mut self, connection: &Connection, backoff: &mut Backoff) -> Conflict {
        loop {
            match self.step(connection, backoff).await {
                Ok(None) => {}
                Ok(Some(conflict)) => return conflict,
                Err(error) => backoff.pause(&self.session.clone(), &error).await,
            }
        }
    }

    /// Reads the znode, and creates it or waits until it changes.
    async fn step(
        &mut self,
        connection: &Connection,
        backoff: &mut Backoff,
    ) -> Result<Option<Conflict>, Error> {
        let path = self.layout.worker(&self.id);
        let (found, watcher) = connection.get_opt_and_watch(&path).await?;
        let Some((data, stat)) = found else {
            self.own.send_replace(None);
            return self.create(connection, &path, backoff).await.map(|()| None);
        };
        let owner = stat.ephemeral_owner;
        if owner == connection.session_id() {
            self.other = None;
            backoff.reset();
            let task = match WorkerState::parse(&data) {
                WorkerState::Free => None,
                WorkerState::Busy(task) => Some(task),
            };
            let own = Own { session: owner, created: stat.czxid, version: stat.version, task };
            let is_known = self.own.borrow().as_ref().is_some_and(|known| known.created == own.created);
            if !is_known {
                info!(id = self.id, "registered");
            }
            self.own.send_replace(Some(own));
            watcher.changed().await;
            return Ok(None);
        }
        self.own.send_replace(None);
        if owner == 0 {
            return Ok(Some(Conflict::Persistent));
        }
        if self.session.is_previous_session(owner) {
            info!(path, "removing the znode that an earlier session of this process left");
            connection.delete_if_exists(&path, Some(stat.version)).await?;
            return Ok(None);
        }
        let until = self.owner_deadline(owner, connection.timeout());
        let left = until.since(BootInstant::now());
        if left.is_zero() {
            return Ok(Some(Conflict::Held { session: owner }));
        }
        let _ = tokio::time::timeout(left, watcher.changed()).await;
        // The server may lag behind and still show an owner that is gone.
        connection.sync().await?;
        Ok(None)
    }

    async fn create(&self, connection: &Connection, path: &str, backoff: &mut Backoff) -> Result<(), Error> {
        match connection.create_ephemeral(path, self.free.as_bytes()).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_no_node() => connection.ensure(&self.layout.workers()).await,
            Err(error) if error.is_node_exists() => {
                backoff.conflict().await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the time until which another owner is waited for. A session that ended abnormally keeps its znodes for one
    /// session timeout and up to a tick more, which is at most half of the timeout.
    fn owner_deadline(&mut self, owner: i64, timeout: Duration) -> BootInstant {
        let first_seen = match self.other {
            Some((session, first_seen)) if session == owner => first_seen,
            _ => {
                warn!(id = self.id, "session {owner:#x} holds this id; waiting for it to end");
                self.other.insert((owner, BootInstant::now())).1
            }
        };
        first_seen + timeout * 3 / 2
    }
}

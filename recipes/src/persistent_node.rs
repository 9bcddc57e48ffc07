//! An ephemeral znode that exists as long as the process lives: it is created again in each new session, holds the
//! newest data, and is never shared with another session.
//!
//! # Znodes
//! The ephemeral znode at the given path. Missing parents are created as persistent znodes.
//!
//! # Errors
//! [`PersistentNode::run`] returns only a [`Conflict`]: the znode belongs to another live session. It waits first: for
//! one session timeout if the owner writes in that time, and for 3/2 of it if the owner is silent, because its session
//! may have ended while its znodes are not deleted yet. After all other errors it retries.
//!
//! # Disconnect and session expiry
//! After every reconnect the znode is verified, and created again if it is missing. A znode left by an earlier session
//! of this process is deleted. If another client deletes the znode while the session is connected, the next write
//! creates it again.
//!
//! # Cancel safety
//! Dropping the future of `run` leaves the znode as it is until the session ends.
//!
//! Example: `cargo run -p atalaya-recipes --example persistent_node -- 127.0.0.1:2181`.

use tokio::sync::watch;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::clock::BootInstant;
use crate::counter::WriteCounter;
use crate::node_ownership::{Event, NodeOwnership, Step};
use crate::session::{CreateMode, Write, Written};
use crate::{Connection, Error, Session, Stat};

pub use crate::node_ownership::Conflict;

/// State of a [`PersistentNode`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// True if the znode was verified or written over the current connection.
    pub held: bool,
    /// Number of successful writes.
    pub stored: u64,
    /// Id of the transaction of the last write. It is higher than those of all earlier writes to the znode.
    pub zxid: i64,
}

/// An ephemeral znode that is kept over sessions. See the [module documentation](self).
#[derive(Debug)]
pub struct PersistentNode {
    session: Session,
    path: String,
    state: watch::Sender<NodeState>,
    counter: Option<WriteCounter>,
}

impl PersistentNode {
    /// Creates the recipe for the znode at `path`. Nothing happens before [`PersistentNode::run`].
    pub fn new(session: Session, path: impl Into<String>) -> PersistentNode {
        PersistentNode {
            session,
            path: path.into(),
            state: watch::Sender::new(NodeState::default()),
            counter: None,
        }
    }

    /// Adds 1 to `counter` for each value that is stored, in the transaction that stores it. A value that must be
    /// stored again in another session is counted once. A value that is replaced before it could be stored is not
    /// counted.
    #[must_use]
    pub fn counted(mut self, counter: WriteCounter) -> PersistentNode {
        self.counter = Some(counter);
        self
    }

    /// Returns a receiver of the state.
    pub fn state(&self) -> watch::Receiver<NodeState> {
        self.state.subscribe()
    }

    /// Keeps the newest value of `data` in the znode. Creates the znode when `data` is first `Some`.
    pub async fn run(self, mut data: watch::Receiver<Option<Vec<u8>>>) -> Conflict {
        let mut ownership = NodeOwnership::default();
        let mut backoff = Backoff::default();
        if data.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
        data.mark_changed();
        loop {
            let connection = self.session.connection().await;
            backoff.reconnected();
            let connected =
                Event::Connected { session: connection.session_id(), timeout: connection.timeout() };
            ownership.on(connected, BootInstant::now());
            tokio::select! {
                biased;
                () = connection.lost() => {}
                conflict = self.maintain(&connection, &mut ownership, &mut data, &mut backoff) => return conflict,
            }
            ownership.on(Event::Disconnected, BootInstant::now());
            self.state.send_modify(|state| state.held = false);
        }
    }

    /// Maintains the znode over one connection until there is a conflict. The caller drops the future when the
    /// connection is lost.
    async fn maintain(
        &self,
        connection: &Connection,
        ownership: &mut NodeOwnership,
        data: &mut watch::Receiver<Option<Vec<u8>>>,
        backoff: &mut Backoff,
    ) -> Conflict {
        let mut awaited = None;
        loop {
            let result = match ownership.step() {
                Step::AwaitConnection => std::future::pending().await,
                Step::Create => match self.store(connection, None, data).await {
                    Err(error) if error.is_no_node() => {
                        connection.ensure_parent(&self.path).await.map(|()| Event::Missing)
                    }
                    result => result,
                },
                Step::Inspect => self.inspect(connection).await,
                Step::Write(version) => self.store(connection, Some(version), data).await,
                Step::Remove(version) => {
                    info!(path = %self.path, "removing the znode that an earlier session of this process left");
                    connection.delete(&self.path, Some(version)).await.map(|()| Event::Missing)
                }
                Step::AwaitOwner { session, until } => {
                    if awaited.replace(session) != Some(session) {
                        warn!(path = %self.path, "session {session:#x} holds this znode; waiting for it to end");
                    }
                    self.await_owner(connection, until).await
                }
                Step::AwaitData(_) => match data.changed().await {
                    Ok(()) => {
                        // The value is taken, and counted, when it is written.
                        data.mark_changed();
                        Ok(Event::NewData)
                    }
                    // The sender was dropped: the znode keeps its last value.
                    Err(_) => std::future::pending().await,
                },
                Step::GiveUp(conflict) => return conflict,
            };
            let event = match result {
                Ok(event) => event,
                Err(error) if error.is_no_node() => Event::Missing,
                Err(error) if error.is_node_exists() => Event::Exists,
                Err(error) if error.is_bad_version() => Event::Stale,
                Err(error) => {
                    backoff.pause(connection.session(), &error).await;
                    Event::Unclear
                }
            };
            match event {
                // A successful inspection does not reset the backoff, because writes may still be refused.
                Event::Created | Event::Written { .. } => backoff.reset(),
                Event::Missing | Event::Exists | Event::Stale => backoff.conflict().await,
                _ => {}
            }
            ownership.on(event, BootInstant::now());
            let held = ownership.is_held();
            self.state.send_if_modified(|state| std::mem::replace(&mut state.held, held) != held);
        }
    }

    /// Creates the znode with the newest data if `version` is `None`, or else writes it. Counts the data if they are
    /// newer than those that were stored last.
    async fn store(
        &self,
        connection: &Connection,
        version: Option<i32>,
        data: &mut watch::Receiver<Option<Vec<u8>>>,
    ) -> Result<Event, Error> {
        if data.has_changed().unwrap_or(false)
            && let Some(counter) = &self.counter
        {
            Box::pin(counter.begin()).await;
        }
        let data = &data.borrow_and_update().clone().unwrap_or_default();
        let path = self.path.as_str();
        let written = |stat: Stat| Event::Written { owner: stat.ephemeral_owner, version: stat.version };
        let write = match version {
            Some(_) => Write::Set { path, data, version },
            None => Write::Create { path, data, mode: CreateMode::Ephemeral },
        };
        let counted = match &self.counter {
            // Boxed, because most values are not counted.
            Some(counter) => Box::pin(counter.write(connection, write)).await?,
            None => None,
        };
        let (event, zxid) = match (counted, version) {
            (Some((Written::Set(stat), zxid)), _) => (written(stat), zxid),
            (Some((Written::Created(_), zxid)), _) => (Event::Created, zxid),
            // Without a stat the new version is unknown.
            (Some((_, zxid)), _) => (Event::Unclear, zxid),
            (None, Some(_)) => {
                let stat = connection.set(path, data, version).await?;
                (written(stat), stat.mzxid)
            }
            (None, None) => (Event::Created, connection.create_ephemeral(path, data).await?.mzxid),
        };
        self.state.send_modify(|state| {
            state.stored += 1;
            state.zxid = zxid;
        });
        Ok(event)
    }

    async fn inspect(&self, connection: &Connection) -> Result<Event, Error> {
        // The server may lag behind and still show an owner that is gone.
        let Some(stat) = connection.synced().await?.stat(&self.path).await? else {
            return Ok(Event::Missing);
        };
        let is_leftover = self.session.is_previous_session(stat.ephemeral_owner);
        Ok(Event::Found { owner: stat.ephemeral_owner, version: stat.version, is_leftover })
    }

    async fn await_owner(&self, connection: &Connection, until: BootInstant) -> Result<Event, Error> {
        let (stat, watcher) = connection.stat_and_watch(&self.path).await?;
        if stat.is_none() {
            return Ok(Event::Missing);
        }
        // The watch fires for writes of the owner too, which show that the owner is alive.
        let _ = tokio::time::timeout(until.since(BootInstant::now()), watcher.changed()).await;
        Ok(Event::Waited)
    }
}

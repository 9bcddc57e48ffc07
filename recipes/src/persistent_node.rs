//! An ephemeral znode that is there for as long as the process lives: made again in every new session, kept at the
//! newest data, and never shared with another session.
//!
//! # Znodes
//! The one at its path, ephemeral. What is missing above it is made as persistent znodes.
//!
//! # Errors
//! [`PersistentNode::run`] ends only with a [`Conflict`]: another session holds the path and is alive. It waits first:
//! one session timeout for a holder that writes meanwhile, half of one more for a silent one, whose session may have
//! ended without its znodes being gone yet. All else is retried at the next connection.
//!
//! # Behaviour on disconnect and on expiry
//! After every reconnect the znode is verified and, when it is gone, made again. What an earlier session of this process
//! left is removed. A znode that somebody deletes while the connection stands is made again at the next write.
//!
//! # Cancellation safety
//! Dropping the future stops the keeping; the znode stays until the session ends.
//!
//! Try it: `cargo run -p atalaya-recipes --example persistent_node -- 127.0.0.1:2181`.

use tokio::sync::watch;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::clock::BootInstant;
use crate::counter::{CountedWrite, WriteCounter};
use crate::node_ownership::{Event, NodeOwnership, Step};
use crate::session::{CreateMode, Write, Written};
use crate::{Connection, Error, Session, Stat};

pub use crate::node_ownership::Conflict;

/// How one of them stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Known to be ours over the present connection.
    pub held: bool,
    /// How many times data was stored.
    pub stored: u64,
    /// The transaction that stored it last: higher than those of all that was there before.
    pub zxid: i64,
}

/// Keeps one ephemeral znode.
#[derive(Debug)]
pub struct PersistentNode {
    session: Session,
    path: String,
    state: watch::Sender<NodeState>,
    tally: Option<WriteCounter>,
}

impl PersistentNode {
    /// One at `path`; nothing happens before [`PersistentNode::run`].
    pub fn new(session: Session, path: impl Into<String>) -> PersistentNode {
        PersistentNode {
            session,
            path: path.into(),
            state: watch::Sender::new(NodeState::default()),
            tally: None,
        }
    }

    /// Counts each of the data that are stored, in the transaction that stores it: once, also when it has to be stored again in
    /// another session, and not if newer data came before it could be.
    #[must_use]
    pub fn counted(mut self, tally: WriteCounter) -> PersistentNode {
        self.tally = Some(tally);
        self
    }

    /// To be told how it stands.
    pub fn state(&self) -> watch::Receiver<NodeState> {
        self.state.subscribe()
    }

    /// Keeps the znode at the newest value of `data`, from the first that is not `None` on.
    pub async fn run(self, mut data: watch::Receiver<Option<Vec<u8>>>) -> Conflict {
        let mut claim = NodeOwnership::default();
        let mut trouble = Backoff::default();
        if data.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
        data.mark_changed();
        loop {
            let connection = self.session.connection().await;
            trouble.reconnected();
            claim.on(Event::LinkUp(connection.session_id(), connection.timeout()), BootInstant::now());
            let conflict = tokio::select! {
                biased;
                () = connection.lost() => None,
                conflict = self.keep(&connection, &mut claim, &mut data, &mut trouble) => Some(conflict),
            };
            if let Some(conflict) = conflict {
                return conflict;
            }
            claim.on(Event::LinkDown, BootInstant::now());
            self.state.send_modify(|state| state.held = false);
        }
    }

    /// Works over one connection until it is lost (the caller sees to that) or there is a conflict.
    async fn keep(
        &self,
        connection: &Connection,
        claim: &mut NodeOwnership,
        data: &mut watch::Receiver<Option<Vec<u8>>>,
        trouble: &mut Backoff,
    ) -> Conflict {
        let mut awaited = None;
        let mut zxid = 0;
        loop {
            let result = match claim.step() {
                Step::AwaitLink => std::future::pending().await,
                Step::Create => self.create(connection, data, &mut zxid).await,
                Step::Inspect => self.inspect(connection).await,
                Step::Write(version) => self.write(connection, version, data, &mut zxid).await,
                Step::Remove(version) => {
                    info!(path = %self.path, "removing the znode that an earlier session of this process left");
                    connection.delete(&self.path, Some(version)).await.map(|()| Event::Gone)
                }
                Step::AwaitOwner { session, until } => {
                    if awaited.replace(session) != Some(session) {
                        warn!(path = %self.path, "session {session:#x} holds this znode; waiting for it to end");
                    }
                    self.await_owner(connection, until).await
                }
                Step::OwnedNode => match data.changed().await {
                    Ok(()) => {
                        // Seen when it is written.
                        data.mark_changed();
                        Ok(Event::NewData)
                    }
                    // Nobody will bring new data: what is there stays.
                    Err(_) => std::future::pending().await,
                },
                Step::GiveUp(conflict) => return conflict,
            };
            let event = match result {
                Ok(event) => event,
                Err(error) if error.is_no_node() => Event::Gone,
                Err(error) if error.is_node_exists() => Event::Exists,
                Err(error) if error.is_bad_version() => Event::Stale,
                Err(error) => {
                    trouble.pause(connection.session(), &error).await;
                    Event::Unclear
                }
            };
            // Only a write ends the trouble: an inspection succeeds also when writes are refused.
            match event {
                Event::Created | Event::Written { .. } => trouble.over(),
                Event::Gone | Event::Exists | Event::Stale => trouble.detour().await,
                _ => {}
            }
            if matches!(event, Event::Created | Event::Written { .. }) {
                self.state.send_modify(|state| {
                    state.stored += 1;
                    state.zxid = zxid;
                });
            }
            claim.on(event, BootInstant::now());
            let held = claim.is_held();
            self.state.send_if_modified(|state| std::mem::replace(&mut state.held, held) != held);
        }
    }

    async fn create(
        &self,
        connection: &Connection,
        data: &mut watch::Receiver<Option<Vec<u8>>>,
        zxid: &mut i64,
    ) -> Result<Event, Error> {
        let newest = self.newest(data).await;
        let write = Write::Create { path: &self.path, data: &newest, mode: CreateMode::Ephemeral };
        match self.store(connection, write, zxid).await {
            Err(error) if error.is_no_node() => {
                let parent = self.path.rsplit_once('/').map_or("", |(parent, _)| parent);
                connection.ensure(parent).await.map(|()| Event::Gone)
            }
            result => result.map(|_| Event::Created),
        }
    }

    /// The newest data. What is newer than what was stored last is to be counted.
    async fn newest(&self, data: &mut watch::Receiver<Option<Vec<u8>>>) -> Vec<u8> {
        if data.has_changed().unwrap_or(false)
            && let Some(tally) = &self.tally
        {
            tally.begin().await;
        }
        data.borrow_and_update().clone().unwrap_or_default()
    }

    /// Makes `write`, and counts it. Gives the stat afterwards, of a write that was made and that tells one, and in which
    /// transaction it was.
    async fn store(
        &self,
        connection: &Connection,
        write: Write<'_>,
        zxid: &mut i64,
    ) -> Result<Option<Stat>, Error> {
        let made = match &self.tally {
            Some(tally) => tally.make(connection, write).await?,
            None => CountedWrite::NotCounted,
        };
        let stat = match (made, write) {
            (CountedWrite::Counted(written, counted), _) => {
                *zxid = counted;
                return Ok(match written {
                    Written::Set(stat) => Some(stat),
                    _ => None,
                });
            }
            (CountedWrite::NotCounted, Write::Create { path, data, mode }) => {
                connection.create(path, data, mode).await?
            }
            (CountedWrite::NotCounted, Write::Set { path, data, version }) => {
                connection.set(path, data, version).await?
            }
            (CountedWrite::NotCounted, _) => return Ok(None),
        };
        *zxid = stat.mzxid;
        Ok(Some(stat))
    }

    async fn inspect(&self, connection: &Connection) -> Result<Event, Error> {
        // The server may lag behind: an owner that is gone elsewhere would be waited for.
        connection.sync().await?;
        let Some(stat) = connection.stat(&self.path).await? else { return Ok(Event::Gone) };
        let leftover = self.session.is_previous_session(stat.ephemeral_owner);
        Ok(Event::Found { owner: stat.ephemeral_owner, version: stat.version, leftover })
    }

    async fn write(
        &self,
        connection: &Connection,
        version: i32,
        data: &mut watch::Receiver<Option<Vec<u8>>>,
        zxid: &mut i64,
    ) -> Result<Event, Error> {
        let newest = self.newest(data).await;
        let write = Write::Set { path: &self.path, data: &newest, version: Some(version) };
        // A write always tells; who reads on takes the znode for somebody else's if one does not.
        let Some(stat) = self.store(connection, write, zxid).await? else { return Ok(Event::Unclear) };
        Ok(Event::Written { owner: stat.ephemeral_owner, version: stat.version })
    }

    async fn await_owner(&self, connection: &Connection, until: BootInstant) -> Result<Event, Error> {
        let (stat, watcher) = connection.stat_and_watch(&self.path).await?;
        if stat.is_none() {
            return Ok(Event::Gone);
        }
        // Its writes stir the watch as well: that is how a live holder is told from a dead one.
        let _ = tokio::time::timeout(until.since(BootInstant::now()), watcher.changed()).await;
        Ok(Event::Waited)
    }
}

//! Barrier that a group of a given size enters together and leaves together; compatible with Kazoo on the wire.
//!
//! # Guarantees
//! [`DoubleBarrier::enter`] returns when the required number of members were at the barrier at the same moment, and
//! never because of a `ready` znode that an earlier group left behind. [`DoubleBarrierGuard::leave`] returns when all
//! members of the group have left or are gone. Both have a deadline.
//!
//! A group that enters together is a *generation*, identified by the `czxid` of its `ready` znode.
//!
//! # Znodes
//! * `{path}/{32 hex}`: a member, ephemeral, with its identifier as data.
//! * `{path}/ready`, persistent: created by the member that finds the group complete. Members that joined before it
//!   belong to its generation, members that joined after it to the next one. The last member that leaves deletes it.
//! * `{path}`, persistent: its version counts this crate's changes of `ready`, so that no client deletes another
//!   `ready` than the one that it has seen. Its data is not changed.
//!
//! # Errors
//! [`DoubleBarrierError`]. A member that gets an error has left the barrier, or leaves it when its session ends.
//!
//! # Disconnect and session expiry
//! After a disconnect the member waits for the next connection and reads the barrier again, so it misses no change. A
//! member whose session ends before it has passed joins again; if the group was completed in between, it belongs to the
//! next generation. For the others, a member whose session ends inside is gone.
//!
//! # Cancel safety
//! Dropping a call or a [`DoubleBarrierGuard`] deletes the member's znode.
//!
//! # Kazoo interoperability
//! Clients of Kazoo and of this crate can share a barrier. Kazoo's members delete `ready` when they leave. A member of
//! this crate that is disconnected exactly between the creation and the deletion cannot see that `ready` was created,
//! and gets [`DoubleBarrierError::Incomplete`]. Kazoo cannot distinguish generations: let one leave before the next one
//! enters.
//!
//! # Bugs of other implementations
//! * Kazoo's `DoubleBarrier` hangs after a disconnect, because it waits for an event that was already delivered.
//! * It hangs, or passes early, if a `ready` was left behind, because it counts it as a member.
//! * A Curator client that is disconnected while it enters cannot enter again (curator 850).
//!
//! # Example
//! `cargo run -p atalaya-recipes --example double_barrier -- 127.0.0.1:2181`
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) -> Result<(), atalaya_recipes::DoubleBarrierError> {
//! use std::time::Duration;
//! use atalaya_recipes::DoubleBarrier;
//!
//! let barrier = DoubleBarrier::new(session, "/calibration", 3, "node 1");
//! let guard = barrier.enter(Duration::from_secs(60)).await?;
//! println!("all three members have entered");
//! guard.leave(Duration::from_secs(60)).await?;
//! # Ok(())
//! # }
//! ```

mod generation;

use std::time::Duration;

use uuid::Uuid;

use self::generation::{EnterStep, LeaveStep, Member};
use crate::cleanup::Cleanup;
use crate::retry::Attempts;
use crate::session::{BulkRead, CreateMode, Write, WrongZnodeReporter};
use crate::wrong_znode::WrongZnode;
use crate::{Connection, Error, EventType, Session};

/// Generation whose `ready` was created, but deleted before its `czxid` could be read.
const UNKNOWN_GENERATION: i64 = i64::MAX;

/// Reason why entering or leaving failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoubleBarrierError {
    /// The group was not complete in time.
    #[error("{path}: {members} of {size} members had joined after {after:?}")]
    Incomplete {
        /// Path of the barrier.
        path: String,
        /// Number of members when the barrier was last read.
        members: usize,
        /// Required number of members.
        size: usize,
        /// Time limit that has passed.
        after: Duration,
    },
    /// Other members were still inside at the deadline. The own znode is deleted.
    #[error("{path}: other members were still inside after {after:?}")]
    OthersInside {
        /// Path of the barrier.
        path: String,
        /// Time limit that has passed.
        after: Duration,
    },
    /// A request failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Barrier for a group of a given size.
#[derive(Clone, Debug)]
pub struct DoubleBarrier {
    session: Session,
    path: String,
    size: usize,
    identifier: String,
}

/// Guard of a member that has entered. Dropping it deletes the member's znode; other members then do not wait for it.
#[derive(Debug)]
pub struct DoubleBarrierGuard {
    barrier: DoubleBarrier,
    znode: Cleanup,
    generation: i64,
}

/// State of the barrier in ZooKeeper.
struct Snapshot {
    members: Vec<Member>,
    /// `czxid` of `ready`.
    ready: Option<i64>,
    /// Data and version of the parent, read no later than `ready`.
    parent: (Vec<u8>, i32),
}

impl DoubleBarrier {
    /// Creates a barrier at `path` for `size` members. The member's znode stores `identifier`, for information only.
    /// Does no I/O.
    pub fn new(
        session: Session,
        path: impl Into<String>,
        size: usize,
        identifier: impl Into<String>,
    ) -> DoubleBarrier {
        DoubleBarrier { session, path: path.into(), size, identifier: identifier.into() }
    }

    /// Joins, and waits until the group is complete, for at most `timeout`. Each call is a separate member.
    pub async fn enter(&self, timeout: Duration) -> Result<DoubleBarrierGuard, DoubleBarrierError> {
        let own = format!("{}/{}", self.path, Uuid::new_v4().simple());
        let mut znode = Cleanup::new(self.session.clone(), own.clone());
        znode.arm();
        let (mut members, mut wrong_znodes) = (0, WrongZnodeReporter::default());
        let mut attempts = Attempts::new(&self.session, Duration::MAX, "enter", &self.path);
        let entering = async {
            loop {
                let connection = attempts.connection().await?;
                match self.enter_once(&connection, &own, &mut members, &mut wrong_znodes).await {
                    Ok(Some(generation)) => return Ok(generation),
                    Ok(None) => {}
                    Err(error) => attempts.failed_or_contended(error).await?,
                }
            }
        };
        let error = match tokio::time::timeout(timeout, entering).await {
            Ok(Ok(generation)) => {
                return Ok(DoubleBarrierGuard { barrier: self.clone(), znode, generation });
            }
            Ok(Err(error)) => DoubleBarrierError::Failed(error),
            Err(_) => {
                let (path, size) = (self.path.clone(), self.size);
                DoubleBarrierError::Incomplete { path, members, size, after: timeout }
            }
        };
        znode.run().await;
        Err(error)
    }

    /// Reads the barrier once and carries out the next step. Returns the generation if the group is complete.
    async fn enter_once(
        &self,
        connection: &Connection,
        own: &str,
        members: &mut usize,
        wrong_znodes: &mut WrongZnodeReporter,
    ) -> Result<Option<i64>, Error> {
        let ready = self.ready();
        // Watched before the members are counted: if another member completes the group after that, the watch fires.
        let (_, ready_created) = connection.stat_and_watch(&ready).await?;
        let snapshot = self.read(connection, wrong_znodes).await?;
        *members = snapshot.members.len();
        match generation::enter_step(own, self.size, &snapshot.members, snapshot.ready) {
            EnterStep::Pass(generation) => return Ok(Some(generation)),
            EnterStep::Join => {
                let data = self.identifier.as_bytes();
                connection.create_with_parents(own, data, CreateMode::Ephemeral).await?;
            }
            EnterStep::CreateReady { replace } => {
                let own = Write::Check { path: own, version: 0 };
                let create = Write::Create { path: &ready, data: b"", mode: CreateMode::Persistent };
                let delete = Write::Delete { path: &ready, version: None };
                let mut writes = vec![self.count_change(&snapshot), own];
                writes.extend(replace.then_some(delete));
                writes.push(create);
                connection.multi(&writes).await?;
            }
            EnterStep::DeleteReady => {
                let delete = Write::Delete { path: &ready, version: None };
                connection.multi(&[self.count_change(&snapshot), delete]).await?;
            }
            EnterStep::Wait => {
                let (own_stat, own_changed) = connection.stat_and_watch(own).await?;
                if own_stat.is_none() {
                    return Ok(None);
                }
                tokio::select! {
                    biased;
                    () = connection.lost() => {}
                    event = ready_created.changed() => {
                        // A fast member of Kazoo may have left and deleted it again.
                        if event.event_type == EventType::NodeCreated {
                            let stat = connection.stat(&ready).await?;
                            return Ok(Some(stat.map_or(UNKNOWN_GENERATION, |stat| stat.czxid)));
                        }
                    }
                    _ = own_changed.changed() => {}
                }
            }
        }
        Ok(None)
    }

    fn ready(&self) -> String {
        format!("{}/ready", self.path)
    }

    /// Returns a write that accompanies every change of `ready`. It fails if `ready` was changed since the snapshot.
    fn count_change<'a>(&'a self, snapshot: &'a Snapshot) -> Write<'a> {
        let (data, version) = &snapshot.parent;
        Write::Set { path: &self.path, data, version: Some(*version) }
    }

    /// Reads the barrier. Deletes znodes of earlier sessions of this process, and reports members that are not
    /// ephemeral.
    async fn read(
        &self,
        connection: &Connection,
        wrong_znodes: &mut WrongZnodeReporter,
    ) -> Result<Snapshot, Error> {
        let names = connection.synced().await?.children_or_empty(&self.path).await?;
        let mut paths = vec![self.path.clone()];
        paths.extend(names.iter().map(|name| format!("{}/{name}", self.path)));
        let mut reads = connection.get_many(&paths).await?.into_iter();
        let parent = match reads.next() {
            Some(BulkRead::Data(data, stat)) => (data, stat.version),
            // The parent does not exist, so it has no children.
            _ => (Vec::new(), 0),
        };
        let mut snapshot = Snapshot { members: Vec::new(), ready: None, parent };
        let mut wrong = Vec::new();
        let ready = self.ready();
        for (path, read) in paths.into_iter().skip(1).zip(reads) {
            let BulkRead::Data(_, stat) = read else { continue };
            if path == ready {
                snapshot.ready = Some(stat.czxid);
            } else if self.session.is_previous_session(stat.ephemeral_owner) {
                connection.delete(&path, None).await?;
            } else {
                wrong.extend(WrongZnode::not_ephemeral(&path, &stat));
                snapshot.members.push(Member { path, czxid: stat.czxid });
            }
        }
        wrong_znodes.update(connection.session(), wrong);
        Ok(snapshot)
    }
}

impl DoubleBarrierGuard {
    /// Returns the path of the member's znode, to check it in a `multi` or to watch it.
    pub fn znode(&self) -> &str {
        &self.znode.path
    }

    /// Returns the generation: a number that all members of the group share, and that increases with every generation
    /// of this barrier. Returns `None` if the group had left before the number could be read.
    pub fn generation(&self) -> Option<i64> {
        (self.generation != UNKNOWN_GENERATION).then_some(self.generation)
    }

    /// Leaves, and waits until the other members have left, for at most `timeout`.
    pub async fn leave(mut self, timeout: Duration) -> Result<(), DoubleBarrierError> {
        let mut attempts = Attempts::new(&self.barrier.session, Duration::MAX, "leave", &self.barrier.path);
        let mut wrong_znodes = WrongZnodeReporter::default();
        let leaving = async {
            loop {
                let connection = attempts.connection().await?;
                match self.leave_once(&connection, &mut wrong_znodes).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(error) => attempts.failed_or_contended(error).await?,
                }
            }
        };
        let error = match tokio::time::timeout(timeout, leaving).await {
            Ok(Ok(())) => {
                self.znode.disarm();
                return Ok(());
            }
            Ok(Err(error)) => DoubleBarrierError::Failed(error),
            Err(_) => DoubleBarrierError::OthersInside { path: self.barrier.path.clone(), after: timeout },
        };
        self.znode.run().await;
        Err(error)
    }

    /// Reads the barrier once and carries out the next step. Returns true if all members have left.
    async fn leave_once(
        &self,
        connection: &Connection,
        wrong_znodes: &mut WrongZnodeReporter,
    ) -> Result<bool, Error> {
        let barrier = &self.barrier;
        let snapshot = barrier.read(connection, wrong_znodes).await?;
        let ready = barrier.ready();
        let count_change = barrier.count_change(&snapshot);
        let delete_ready = Write::Delete { path: &ready, version: None };
        let delete_own = Write::Delete { path: &self.znode.path, version: None };
        match generation::leave_step(&self.znode.path, self.generation, &snapshot.members, snapshot.ready) {
            LeaveStep::Done { delete_ready: false } => return Ok(true),
            LeaveStep::Done { delete_ready: true } => {
                return match connection.multi(&[count_change, delete_ready]).await.map_err(Error::from) {
                    Err(error) if !error.is_no_node() => Err(error),
                    _ => Ok(true),
                };
            }
            LeaveStep::DeleteLast { delete_ready: true } => {
                connection.multi(&[count_change, delete_ready, delete_own]).await?;
            }
            LeaveStep::DeleteLast { delete_ready: false } | LeaveStep::Delete => {
                connection.delete(&self.znode.path, None).await?;
            }
            LeaveStep::WaitFor(path) => {
                let (stat, changed) = connection.stat_and_watch(&path).await?;
                if stat.is_some() {
                    connection.watch_event(changed).await;
                }
            }
        }
        Ok(false)
    }
}

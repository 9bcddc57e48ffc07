//! A barrier that a party of a given size enters together and leaves together; Kazoo's on the wire.
//!
//! # What it promises
//! [`DoubleBarrier::enter`] returns when as many members as asked for have stood at the barrier at one moment, and never
//! by a `ready` that an earlier party left behind. [`DoubleBarrierGuard::leave`] returns when everybody of the party has left or is
//! gone. Neither waits for ever: each has a deadline.
//!
//! # Znodes
//! * `{path}/{32 hex}`: a member, ephemeral, with its identifier.
//! * `{path}/ready`, persistent: made by whoever finds the party complete. Who joined before it is of the party, who
//!   joined after is of the next one. It goes with the last of the party that leaves.
//! * `{path}` itself, persistent: its version counts what ours do to `ready`, so that none of them removes another `ready`
//!   than the one that it saw. Its data stays as it is.
//!
//! # Errors
//! [`DoubleBarrierError`]. Whoever gets one has left the barrier, or will when its session ends.
//!
//! # Behaviour on disconnect and on expiry
//! A lost connection is waited out, and the barrier looked at anew: what was missed is seen. A member whose session ends
//! before it has passed joins anew; if the party was completed meanwhile, that is the next party. One whose session ends
//! inside is gone for the others.
//!
//! # Cancellation safety
//! A dropped call, and a dropped [`DoubleBarrierGuard`], take the member's znode away.
//!
//! # Beside Kazoo
//! Both ways. Kazoo's members delete `ready` as soon as they leave; one of ours whose connection is lost at the very
//! moment between has no means to see that it was made, and ends with [`DoubleBarrierError::Incomplete`]. Kazoo's
//! cannot tell parties apart: let one leave before the next one enters.
//!
//! # Answers to
//! kazoo `DoubleBarrier` hangs after a lost connection, for it waits for an event that has been; it hangs, or passes
//! early, on a `ready` that was left behind, for it counts it as a member. curator 850: one that lost its connection while
//! it entered cannot enter again.
//!
//! Try it: `cargo run -p atalaya-recipes --example double_barrier -- 127.0.0.1:2181`.
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) -> Result<(), atalaya_recipes::DoubleBarrierError> {
//! use std::time::Duration;
//! use atalaya_recipes::DoubleBarrier;
//!
//! let barrier = DoubleBarrier::new(session, "/calibration", 3, "node 1");
//! let inside = barrier.enter(Duration::from_secs(60)).await?;
//! println!("all three are here");
//! inside.leave(Duration::from_secs(60)).await?;
//! # Ok(())
//! # }
//! ```

mod party;

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;
use zookeeper_client::EventType;

use self::party::{Entering, Leaving, Member};
use crate::cleanup::Cleanup;
use crate::retry::Attempts;
use crate::session::{BulkRead, CreateMode, Write};
use crate::wrong_znode::{WrongZnode, WrongZnodeReporter};
use crate::{Connection, Error, Session};

/// A `ready` that was seen to be made, and was gone before it could be looked at.
const UNSEEN: i64 = i64::MAX;

/// Why entering or leaving did not work.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoubleBarrierError {
    /// The party was not complete in time.
    #[error("{path}: {here} of {size} were there within {after:?}")]
    Incomplete {
        /// The barrier.
        path: String,
        /// How many stood there when it was last looked at.
        here: usize,
        /// How many there should be.
        size: usize,
        /// How long was waited.
        after: Duration,
    },
    /// Others were still inside at the deadline. Our znode is gone.
    #[error("{path}: others are still inside after {after:?}")]
    OthersInside {
        /// The barrier.
        path: String,
        /// How long was waited.
        after: Duration,
    },
    /// It failed otherwise.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A barrier for a party of a given size.
#[derive(Clone, Debug)]
pub struct DoubleBarrier {
    session: Session,
    path: String,
    size: usize,
    identifier: String,
}

/// Has entered. Dropping it takes the member away; others do not wait for it then.
#[derive(Debug)]
pub struct DoubleBarrierGuard {
    barrier: DoubleBarrier,
    znode: Cleanup,
    name: String,
    party: i64,
}

/// The barrier as it was seen.
struct Seen {
    members: Vec<Member>,
    ready: Option<i64>,
    /// What is in the parent, and its version; seen no later than `ready`.
    parent: (Vec<u8>, i32),
}

impl DoubleBarrier {
    /// The one at `path`, for `size` members; this one stores `identifier`, which serves people only.
    pub fn new(
        session: Session,
        path: impl Into<String>,
        size: usize,
        identifier: impl Into<String>,
    ) -> DoubleBarrier {
        DoubleBarrier { session, path: path.into(), size, identifier: identifier.into() }
    }

    /// Joins, and waits until the party is complete. Each call is another member.
    pub async fn enter(&self, within: Duration) -> Result<DoubleBarrierGuard, DoubleBarrierError> {
        let name = Uuid::new_v4().simple().to_string();
        let mut znode = Cleanup::of(self.session.clone(), format!("{}/{name}", self.path));
        znode.arm();
        let mut here = 0;
        let entered = tokio::time::timeout(within, self.entered(&name, znode.path(), &mut here)).await;
        match entered {
            Ok(Ok(party)) => Ok(DoubleBarrierGuard { barrier: self.clone(), znode, name, party }),
            Ok(Err(error)) => {
                znode.now().await;
                Err(error.into())
            }
            Err(_) => {
                znode.now().await;
                Err(DoubleBarrierError::Incomplete {
                    path: self.path.clone(),
                    here,
                    size: self.size,
                    after: within,
                })
            }
        }
    }

    /// Works on it until the party is complete, and returns its `ready`.
    async fn entered(&self, name: &str, own: &str, here: &mut usize) -> Result<i64, Error> {
        let mut attempts = Attempts::until(&self.session, None, "enter", &self.path);
        let mut wrong_znodes = WrongZnodeReporter::default();
        loop {
            let connection = attempts.connection().await?;
            match self.enter_over(&connection, name, own, here, &mut wrong_znodes).await {
                Ok(Some(party)) => return Ok(party),
                Ok(None) => {}
                // Somebody was faster: look again.
                Err(error) if error.is_node_exists() || error.is_no_node() || error.is_bad_version() => {
                    attempts.contended(error).await?
                }
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// One look, and what is to be done after it. The party's `ready`, if we passed.
    async fn enter_over(
        &self,
        connection: &Connection,
        name: &str,
        own: &str,
        here: &mut usize,
        wrong_znodes: &mut WrongZnodeReporter,
    ) -> Result<Option<i64>, Error> {
        let ready = self.ready();
        // Watched before the members are counted: whoever completes the party later stirs it.
        let (_, made) = connection.stat_and_watch(&ready).await?;
        let seen = self.look(connection, wrong_znodes).await?;
        *here = seen.members.len();
        match party::entering(name, self.size, &seen.members, seen.ready) {
            Entering::Pass(party) => return Ok(Some(party)),
            Entering::Join => self.join(connection, own).await?,
            Entering::MakeReady { replace } => {
                let own = Write::Check { path: own, version: 0 };
                let make = Write::Create { path: &ready, data: b"", mode: CreateMode::Persistent };
                let remove = Write::Delete { path: &ready, version: None };
                if replace {
                    connection.multi(&[self.counted(&seen), own, remove, make]).await?;
                } else {
                    connection.multi(&[self.counted(&seen), own, make]).await?;
                }
            }
            Entering::RemoveReady => {
                let remove = Write::Delete { path: &ready, version: None };
                connection.multi(&[self.counted(&seen), remove]).await?;
            }
            Entering::Wait => {
                let (still_there, gone) = connection.stat_and_watch(own).await?;
                if still_there.is_none() {
                    return Ok(None);
                }
                tokio::select! {
                    biased;
                    () = connection.lost() => {}
                    event = made.changed() => {
                        // It may be gone again by now, when a fast one of Kazoo's has left.
                        if event.event_type == EventType::NodeCreated {
                            let stat = connection.stat(&ready).await?;
                            return Ok(Some(stat.map_or(UNSEEN, |stat| stat.czxid)));
                        }
                    }
                    _ = gone.changed() => {}
                }
            }
        }
        Ok(None)
    }

    async fn join(&self, connection: &Connection, own: &str) -> Result<(), Error> {
        let data = self.identifier.as_bytes();
        match connection.create_ephemeral(own, data).await {
            Err(error) if error.is_no_node() => {
                connection.ensure(&self.path).await?;
                connection.create_ephemeral(own, data).await.map(drop)
            }
            result => result.map(drop),
        }
    }

    fn ready(&self) -> String {
        format!("{}/ready", self.path)
    }

    /// To go with every change of `ready`: refused when there was another one since the look.
    fn counted<'a>(&'a self, seen: &'a Seen) -> Write<'a> {
        let (data, version) = &seen.parent;
        Write::Set { path: &self.path, data, version: Some(*version) }
    }

    /// Everything at the barrier, as it is now or later. What an earlier session of ours left is removed first.
    /// Reports members that are not ephemeral.
    async fn look(
        &self,
        connection: &Connection,
        wrong_znodes: &mut WrongZnodeReporter,
    ) -> Result<Seen, Error> {
        connection.sync().await?;
        let names = match connection.children(&self.path).await {
            Ok(names) => names,
            Err(error) if error.is_no_node() => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut paths = vec![self.path.clone()];
        paths.extend(names.iter().map(|name| format!("{}/{name}", self.path)));
        let mut answers = connection.get_many(&paths).await?.into_iter();
        let parent = match answers.next() {
            Some(BulkRead::Data(data, stat)) => (data, stat.version),
            // Then there is nothing below it.
            _ => (Vec::new(), 0),
        };
        let mut seen = Seen { members: Vec::new(), ready: None, parent };
        let mut wrong = Vec::new();
        for ((name, path), read) in names.into_iter().zip(paths.iter().skip(1)).zip(answers) {
            let BulkRead::Data(_, stat) = read else { continue };
            if name == "ready" {
                seen.ready = Some(stat.czxid);
            } else if self.session.is_previous_session(stat.ephemeral_owner) {
                connection.delete(path, None).await?;
            } else {
                wrong.extend(WrongZnode::not_ephemeral(path, &stat));
                seen.members.push(Member { name, czxid: stat.czxid });
            }
        }
        wrong_znodes.update(connection.session(), wrong);
        Ok(seen)
    }
}

impl DoubleBarrierGuard {
    /// The path of the member's znode: to check it in a `multi`, or to watch it.
    pub fn znode(&self) -> &str {
        self.znode.path()
    }

    /// Which party it is: the same number for everybody of it, and a higher one for each later party at this barrier.
    /// `None`: it was over before its number could be read.
    pub fn generation(&self) -> Option<i64> {
        (self.party != UNSEEN).then_some(self.party)
    }

    /// Leaves, and waits until the others have.
    pub async fn leave(mut self, within: Duration) -> Result<(), DoubleBarrierError> {
        let until = Instant::now() + within;
        let left = tokio::time::timeout_at(until, self.left()).await;
        match left {
            Ok(Ok(())) => {
                self.znode.disarm();
                Ok(())
            }
            Ok(Err(error)) => {
                self.znode.now().await;
                Err(error.into())
            }
            Err(_) => {
                let path = self.barrier.path.clone();
                self.znode.now().await;
                Err(DoubleBarrierError::OthersInside { path, after: within })
            }
        }
    }

    async fn left(&self) -> Result<(), Error> {
        let barrier = &self.barrier;
        let mut attempts = Attempts::until(&barrier.session, None, "leave", &barrier.path);
        let mut wrong_znodes = WrongZnodeReporter::default();
        loop {
            let connection = attempts.connection().await?;
            match self.leave_over(&connection, &mut wrong_znodes).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.is_no_node() || error.is_bad_version() => {
                    attempts.contended(error).await?
                }
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// One look, and what is to be done after it. True: everybody has left.
    async fn leave_over(
        &self,
        connection: &Connection,
        wrong_znodes: &mut WrongZnodeReporter,
    ) -> Result<bool, Error> {
        let barrier = &self.barrier;
        let seen = barrier.look(connection, wrong_znodes).await?;
        let ready = barrier.ready();
        let remove_ready = Write::Delete { path: &ready, version: None };
        let remove_own = Write::Delete { path: self.znode.path(), version: None };
        match party::leaving(&self.name, self.party, &seen.members, seen.ready) {
            Leaving::Done { ready: false } => return Ok(true),
            Leaving::Done { ready: true } => {
                match connection.multi(&[barrier.counted(&seen), remove_ready]).await.map_err(Error::from) {
                    Err(error) if !error.is_no_node() => return Err(error),
                    _ => return Ok(true),
                };
            }
            Leaving::RemoveLast { ready: true } => {
                connection.multi(&[barrier.counted(&seen), remove_ready, remove_own]).await?;
            }
            Leaving::RemoveLast { ready: false } | Leaving::Remove => {
                connection.delete(self.znode.path(), None).await?;
            }
            Leaving::WaitFor(name) => {
                let path = format!("{}/{name}", barrier.path);
                let (stat, gone) = connection.stat_and_watch(&path).await?;
                if stat.is_some() {
                    connection.watch_event(gone).await;
                }
            }
        }
        Ok(false)
    }
}

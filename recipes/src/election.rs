//! Leader election, compatible with Kazoo and Curator on the wire. A leader never acts without a lease.
//!
//! An [`Election`] joins the queue below a znode. At the head of the queue it runs the leader's code as a future, which
//! it drops, at any await, as soon as leadership is no longer certain.
//!
//! # Znodes
//! `{path}/{32 hex}__lock__{10 digits}`, ephemeral and sequential, with the contender's identifier as data: Kazoo
//! 2.11's `Election`, whose programs join the same queue, ahead or behind. `{path}` and its missing parents are created
//! as persistent znodes. With [`Naming::CuratorLatch`] and [`Naming::CuratorLock`] the name is `_c_{uuid}-latch-{10
//! digits}` or `_c_{uuid}-lock-{10 digits}`, as in Curator's `LeaderLatch` and `LeaderSelector`, and the parents are
//! containers.
//!
//! With [`Election::with_limit`], the queue has a maximum length, and the other contenders wait in a line beside it.
//!
//! # Leadership
//! A contender leads while all of these conditions hold:
//!
//! * The connection is established.
//! * Over this connection its own znode was seen at the head of the queue, after a `sync` or after it was created.
//! * The znode has not changed since. It is watched.
//! * The [local lease](crate::session_validity) holds, measured by a clock that counts the machine's sleep.
//!
//! Every write of the session renews the lease; after a quarter of its length without a write, a `sync` does. The lease
//! is checked each time before the leader's code is polled, so a process that was stopped, or a machine that was
//! asleep, is deposed when it resumes.
//!
//! # Disconnect and session expiry
//! On a disconnect the leader's code is dropped and the znode is kept. If the session continues and the znode is still
//! its own and first, the contender leads again: the code is called again, with the same [`Leadership::fencing_token`].
//! After an expiry it joins the end of the queue; znodes of the old session are deleted, so that no contender waits for
//! them.
//!
//! # Znodes of the wrong type
//! A contender that is not ephemeral remains when its creator ends, and all behind it wait indefinitely. The contender
//! directly behind it logs it and reports it in [`Session::wrong_znodes`], and does not delete it.
//!
//! # Cancel safety
//! Dropping the future of [`Election::run`] ends leadership at once; the znode stays in the queue until the session
//! ends. When the leader's code returns, [`Election::run`] deletes the znode itself.
//!
//! # Bugs of other implementations
//! * Orphaned znodes in the queue after a create whose reply was lost (kazoo 732, curator 79, 18, 498): znode names
//!   carry an id, and the contender searches for it after every failure.
//! * A leader that continues without a znode (curator 171): the leader watches its own znode.
//! * Two leaders (curator 696, 653, 644, 504), and a leader function that outlives its session (Kazoo's
//!   `Election.run`): the lease, and the verification over every new connection.
//! * A herd of requests at every change: each contender watches only its predecessor.
//!
//! # Example
//! `cargo run -p atalaya-recipes --example election -- 127.0.0.1:2181`

use std::future::Future;
use std::num::NonZeroUsize;

use tokio::sync::watch;
use tracing::warn;

use crate::acquire_task::Acquirable;
use crate::backoff::Backoff;
use crate::contender_state::{Event, Step};
use crate::lock_queue::Contender;
use crate::node_names::{ContenderId, Naming, sorted_contenders};
use crate::owned_node::{Hold, LossReason};
use crate::waiting_line::WaitingLine;
use crate::{Connection, Error, Session};

/// State of a contender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not in the queue, or not verified yet over the current connection.
    #[default]
    Inactive,
    /// In the line of those that wait until the queue has room, see [`Election::with_limit`].
    Standby,
    /// In the queue, not first.
    Waiting {
        /// Number of contenders ahead when the queue was last listed. It is listed again when the predecessor leaves,
        /// so the departure of a contender further ahead is not counted.
        ahead: usize,
    },
    /// Leader.
    Leading,
}

/// Proof of leadership, for the leader's code.
#[derive(Clone, Debug)]
pub struct Leadership(Hold);

impl Leadership {
    /// Returns true if leadership is certain at this moment. Check it before every externally visible action.
    pub fn holds(&self) -> bool {
        self.0.is_certain()
    }

    /// Returns the connection over which leadership was verified. Its calls fail after the connection is lost.
    pub fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// Returns the path of the leader's election znode. Check it in every `multi` that the leader writes.
    pub fn znode(&self) -> &str {
        &self.0.znode
    }

    /// Returns a number that increases with every leader while the ensemble keeps its data: the `czxid` of the election
    /// znode. Sequence numbers do not have this property: they start again when their parent is deleted and created
    /// again.
    pub fn fencing_token(&self) -> i64 {
        self.0.fencing_token
    }
}

/// Contender in an election.
#[derive(Debug)]
pub struct Election {
    session: Session,
    contender: Contender,
    naming: Naming,
    path: String,
    id: ContenderId,
    /// `None`: this contender joins the queue however long it is.
    line: Option<WaitingLine>,
    standing: watch::Sender<Standing>,
}

impl Election {
    /// Creates a contender at `path` whose znode stores `identifier`. Does no I/O before [`Election::run`].
    pub fn new(
        session: Session,
        path: impl Into<String>,
        identifier: impl Into<Vec<u8>>,
        naming: Naming,
    ) -> Election {
        Election::with_contender_id(session, path, identifier, naming, ContenderId::random())
    }

    /// Creates a contender with a given id in the names of its znodes. A caller that stores the id can find the znodes
    /// after this process has died. Each contender needs its own id.
    pub fn with_contender_id(
        session: Session,
        path: impl Into<String>,
        identifier: impl Into<Vec<u8>>,
        naming: Naming,
        id: ContenderId,
    ) -> Election {
        let path = path.into();
        let contender = Contender::new(path.clone(), identifier.into(), naming.into(), id.clone());
        let standing = watch::Sender::new(Standing::Inactive);
        Election { session, contender, naming, path, id, line: None, standing }
    }

    /// Limits the length of the queue. While it has `max` contenders, this one waits in a line below the znode `line`
    /// and joins the queue when it is the first there and a contender has left. Contenders without a limit, and those of
    /// other programs, count as well.
    ///
    /// A contender lists the whole queue, so without a limit the requests of a large fleet grow with the square of its
    /// size. In the line a client reads a few znodes, and wakes one other client when it leaves. All clients with a limit
    /// need the same `line`.
    #[must_use]
    pub fn with_limit(self, line: impl Into<String>, max: NonZeroUsize) -> Election {
        let line = WaitingLine::new(line.into(), max.get(), &self.id);
        Election { line: Some(line), ..self }
    }

    /// Returns a receiver of this contender's state.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Joins the queue and calls `lead` when this contender is first. `lead` is called again each time that leadership
    /// was interrupted and is certain again. After it has returned it is not called again: the znode is deleted, over
    /// the next connection if this one is lost, and then this method returns the value of `lead`.
    pub async fn run<T, Fut: Future<Output = T>>(mut self, mut lead: impl FnMut(Leadership) -> Fut) -> T {
        // Outlives the connection, which may be lost between the return of the leader's code and the deletion of the
        // znode.
        let mut done = None;
        let mut backoff = Backoff::default();
        loop {
            let connection = self.session.connection().await;
            backoff.reconnected();
            self.contender.on(Event::Connected(connection.session_id()));
            let left = tokio::select! {
                biased;
                () = connection.lost() => None,
                () = self.contend(&connection, &mut lead, &mut done, &mut backoff) => done.take(),
            };
            self.standing.send_replace(Standing::Inactive);
            if let Some(value) = left {
                return value;
            }
            self.contender.on(Event::Disconnected);
        }
    }

    /// Takes part in the election over one connection until this contender has left the queue. `done` then contains the
    /// value that `lead` returned. The caller drops this future when the connection is lost.
    async fn contend<T, Fut: Future<Output = T>>(
        &mut self,
        connection: &Connection,
        lead: &mut impl FnMut(Leadership) -> Fut,
        done: &mut Option<T>,
        backoff: &mut Backoff,
    ) {
        loop {
            let step = self.contender.state.step();
            if let (Some(line), Step::Wait { .. } | Step::Hold { .. }) = (&mut self.line, &step)
                && let Err(error) = line.leave(connection).await
            {
                if error.is_connection_loss() {
                    backoff.pause(connection.session(), &error).await;
                    continue;
                }
                // The place ends with the session at the latest. Until then only the line waits.
                warn!("cannot leave the line of the election: {error}");
            }
            let result = match step {
                Step::Left => return,
                Step::Create => self.join(connection).await,
                // Boxed, because most contenders do not lead.
                Step::Hold { own } => match Box::pin(self.lead(connection, &own, lead, backoff)).await {
                    Ok(Some(value)) => {
                        *done = Some(value);
                        Ok(Event::Done)
                    }
                    Ok(None) => Ok(Event::Deposed),
                    Err(error) => Err(error),
                },
                step => {
                    if let Step::Wait { ahead, .. } = step {
                        self.standing.send_replace(Standing::Waiting { ahead });
                    }
                    self.contender.carry_out(connection, step).await
                }
            };
            match &result {
                // The predecessor has left: joining the queue has succeeded.
                Ok(Event::WatchFired) => backoff.reset(),
                Ok(Event::Created(_) | Event::Deposed | Event::OutcomeUnknown) => backoff.conflict().await,
                Ok(_) => {}
                Err(error) => backoff.pause(connection.session(), error).await,
            }
            self.contender.on(result.unwrap_or(Event::OutcomeUnknown));
        }
    }

    /// Joins the queue, with a limit as soon as the queue has room.
    async fn join(&mut self, connection: &Connection) -> Result<Event, Error> {
        let Some(line) = &mut self.line else {
            return self.contender.carry_out(connection, Step::Create).await;
        };
        let result = async {
            let standby = || {
                self.standing.send_replace(Standing::Standby);
            };
            line.wait(connection, &self.path, self.naming, standby).await?;
            self.standing.send_replace(Standing::Inactive);
            self.contender.carry_out(connection, Step::Create).await
        }
        .await;
        if result.as_ref().is_err_and(|error| !error.is_connection_loss()) {
            // Others in the line may be allowed to join.
            line.leave(connection).await?;
        }
        result
    }

    /// Leads until the leader's code returns. Returns `None` if the lease expires or the own znode is deleted first.
    async fn lead<T, Fut: Future<Output = T>>(
        &mut self,
        connection: &Connection,
        own: &str,
        lead: &mut impl FnMut(Leadership) -> Fut,
        backoff: &mut Backoff,
    ) -> Result<Option<T>, Error> {
        let Some(mut node) = self.contender.own(connection, self.contender.path_of(own)).await? else {
            return Ok(None);
        };
        backoff.reset();
        self.standing.send_replace(Standing::Leading);
        let leadership = Leadership(node.hold.clone());
        // Biased: the end of leadership is checked before the leader's code is polled, also after the process was
        // stopped.
        let outcome = tokio::select! {
            biased;
            reason = node.lost() => match reason {
                LossReason::LeaseExpired => {
                    warn!("lease expired without an answer from ZooKeeper; no longer the leader");
                    Ok(None)
                }
                LossReason::Deleted => {
                    warn!("own election znode was deleted; no longer the leader");
                    Ok(None)
                }
                LossReason::Unknown(error) => Err(error),
            },
            done = lead(leadership) => Ok(Some(done)),
        };
        self.standing.send_replace(Standing::Inactive);
        outcome
    }
}

/// Returns the identifier of the contender at the head of the queue at `path`: the data of its znode. Returns `None` if
/// the queue is empty, or if its head changed three times while it was read.
///
/// # Errors
/// As for [`Connection::children`] and [`Connection::get`].
pub async fn leader(connection: &Connection, path: &str, naming: Naming) -> Result<Option<Vec<u8>>, Error> {
    // The first contender may leave between the two reads; then there is another one.
    for _ in 0..3 {
        let children = connection.children_or_empty(path).await?;
        let Some(first) = sorted_contenders(naming, &children).first().copied() else { return Ok(None) };
        if let Some((data, _)) = connection.get_opt(&format!("{path}/{first}")).await? {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

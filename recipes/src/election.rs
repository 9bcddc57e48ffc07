//! Leader election that is Kazoo's or Curator's on the wire, and never leads without a lease.
//!
//! An [`Election`] stands in line at a znode and, at its head, runs the leader's code as a future that it can drop at
//! any await, and does, as soon as leading is no longer certain.
//!
//! # Znodes
//! `{path}/{32 hex}__lock__{10 digits}`, ephemeral and sequential, data the contender's identifier: Kazoo 2.11's
//! `Election`, whose programs stand in the same line, before or behind. `{path}` and what is missing above it are made
//! as persistent znodes. With [`Naming::CuratorLatch`] and [`Naming::CuratorLock`] it is `_c_{uuid}-latch-{10 digits}` and
//! `_c_{uuid}-lock-{10 digits}`, as of Curator's `LeaderLatch` and `LeaderSelector`, and the parents are containers.
//!
//! # When it leads
//! While all of this holds: the connection stands; over this connection its own znode was seen at the head of the line
//! after a `sync`, or after it was created; that znode has not changed since (it is watched); and the [lease](crate::session_validity) holds, on a clock
//! that counts the machine's sleep. Every write of the session renews the lease; where there is none for a quarter of
//! its length, a `sync` does. It is looked at before the leader's code is polled, every time: a process that was
//! stopped, or a machine that was asleep, wakes up deposed.
//!
//! # Behaviour on disconnect and on expiry
//! On a disconnect the leader's code is dropped and the znode kept. Back in the same session, with the znode still its
//! own and first, it leads on: the code is run anew, under the same [`Leadership::fencing_token`]. After an expiry it stands in
//! line again, at the end; what the old session left is deleted so that nobody waits for it.
//!
//! # Znodes of the wrong type
//! A contender that is not ephemeral remains when its creator ends, and all behind it wait indefinitely. The contender directly
//! behind it logs it and reports it in [`Session::wrong_znodes`], and does not delete it.
//!
//! # Cancellation safety
//! Dropping the future of [`Election::run`] stops leading at once; its znode stays in line until the session ends.
//! [`Election::run`] gives it back by itself when the leader's code returns.
//!
//! # What others suffered from
//! Ghosts in line after a create whose reply was lost (kazoo 732, curator 79, 18, 498): a token in the name, looked for
//! after every failure. Leading on without a znode (curator 171): it watches its own. Two leaders (curator 696, 653, 644,
//! 504) and a leader function that outlives its session (Kazoo's `Election.run`): the lease, and verification at every
//! new connection. A herd at every change: each watches the one just before it.
//!
//! Try it: `cargo run -p atalaya-recipes --example election -- 127.0.0.1:2181`.

use std::future::Future;

use tokio::sync::watch;
use tracing::warn;

use crate::backoff::Backoff;
use crate::clock::BootInstant;
use crate::contender_state::{Event, Step};
use crate::lock_queue::Line;
use crate::node_names::{ContenderId, Naming, sorted_contenders};
use crate::owned_node::{End, OwnedNode};
use crate::{Connection, Error, Session};

/// Where a contender stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not in line, or not known to be: no connection, or not verified over it yet.
    #[default]
    Inactive,
    /// In line.
    Waiting {
        /// How many were ahead when it last looked, which it does when the one just before it goes: whoever leaves from
        /// further ahead is not noticed.
        ahead: usize,
    },
    /// Leading.
    Leading,
}

/// The right to lead, for the leader's code.
#[derive(Clone, Debug)]
pub struct Leadership {
    connection: Connection,
    own: String,
    term: i64,
}

impl Leadership {
    /// Whether leading is still certain at this very moment. Look before every act that the outside can see.
    pub fn holds(&self) -> bool {
        self.connection.is_current()
            && !self.connection.session().lease_remaining(BootInstant::now()).is_zero()
    }

    /// The connection over which leading was verified. Its calls fail once it is lost.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The path of the own election znode, to be checked in every `multi` that a leader writes.
    pub fn znode(&self) -> &str {
        &self.own
    }

    /// A number that is higher for every later leader, for as long as the ensemble's data lives: the `czxid` of the
    /// election znode. Sequence numbers are not that: they begin anew when their parent is made anew.
    pub fn fencing_token(&self) -> i64 {
        self.term
    }
}

/// A contender in an election.
#[derive(Debug)]
pub struct Election {
    session: Session,
    line: Line,
    standing: watch::Sender<Standing>,
}

impl Election {
    /// A contender at `path` that calls itself `identifier`. Nothing happens before [`Election::run`].
    pub fn new(
        session: Session,
        path: impl Into<String>,
        identifier: impl Into<Vec<u8>>,
        naming: Naming,
    ) -> Election {
        Election::with_contender_id(session, path, identifier, naming, ContenderId::random())
    }

    /// The same, with a token of the caller's choice in the names of its znodes: whoever writes it down can find them
    /// when this process is dead. Give every contender one of its own.
    pub fn with_contender_id(
        session: Session,
        path: impl Into<String>,
        identifier: impl Into<Vec<u8>>,
        naming: Naming,
        token: ContenderId,
    ) -> Election {
        Election {
            session,
            line: Line::with_contender_id(path.into(), identifier.into(), naming.into(), token),
            standing: watch::Sender::new(Standing::Inactive),
        }
    }

    /// To be told where it stands.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Stands in line, and runs `lead` whenever it is at the head. `lead` is called again each time that leading was
    /// interrupted and is certain again. Once it has returned it is not called any more: the znode is withdrawn, over
    /// the next connection if this one is lost meanwhile, and then this returns its value.
    pub async fn run<T, F, Fut>(mut self, mut lead: F) -> T
    where
        F: FnMut(Leadership) -> Fut,
        Fut: Future<Output = T>,
    {
        // Kept here: the connection over which the leader's code returned may be lost before the line is left.
        let mut done = None;
        let mut trouble = Backoff::default();
        loop {
            let connection = self.session.connection().await;
            trouble.reconnected();
            self.line.on(Event::LinkUp(connection.session_id()));
            let lost = connection.clone();
            let left = tokio::select! {
                biased;
                () = lost.lost() => None,
                () = self.stand(&connection, &mut lead, &mut done, &mut trouble) => done.take(),
            };
            self.standing.send_replace(Standing::Inactive);
            if let Some(value) = left {
                return value;
            }
            self.line.on(Event::LinkDown);
        }
    }

    /// Works over one connection, until the line is left, with what `lead` returned in `done`, or the connection is lost
    /// (the caller sees to that).
    async fn stand<T, F, Fut>(
        &mut self,
        connection: &Connection,
        lead: &mut F,
        done: &mut Option<T>,
        trouble: &mut Backoff,
    ) where
        F: FnMut(Leadership) -> Fut,
        Fut: Future<Output = T>,
    {
        loop {
            let result = match self.line.step() {
                Step::Rest => return,
                Step::Lead { own } => match self.lead(connection, &own, lead, trouble).await {
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
                    self.line.carry_out(connection, step).await
                }
            };
            let event = match result {
                Ok(event) => {
                    match event {
                        // The wait behind another contender is over: joining the election has worked.
                        Event::Stirred => trouble.over(),
                        Event::Created(_) | Event::Deposed | Event::Unclear => trouble.detour().await,
                        _ => {}
                    }
                    event
                }
                Err(error) => {
                    trouble.pause(connection.session(), &error).await;
                    Event::Unclear
                }
            };
            self.line.on(event);
        }
    }

    /// Leads until the lease ends or the own znode is gone (`None`), or the leader's code returns.
    async fn lead<T, F, Fut>(
        &mut self,
        connection: &Connection,
        own: &str,
        lead: &mut F,
        trouble: &mut Backoff,
    ) -> Result<Option<T>, Error>
    where
        F: FnMut(Leadership) -> Fut,
        Fut: Future<Output = T>,
    {
        let Some(watched) = self.line.watched(connection, self.line.path_of(own)).await? else {
            return Ok(None);
        };
        let mut hold = OwnedNode::of(connection, watched).await?;
        trouble.over();
        self.standing.send_replace(Standing::Leading);
        let leadership =
            Leadership { connection: connection.clone(), own: hold.path().to_owned(), term: hold.czxid() };
        // The end comes first: nothing of the leader's code runs after it, however long the process was stopped.
        let outcome = tokio::select! {
            biased;
            end = hold.ended() => match end {
                End::Lease => {
                    warn!("the lease is over without an answer from ZooKeeper; not leading any more");
                    Ok(None)
                }
                End::Robbed => {
                    warn!("the own election znode is gone; not leading any more");
                    Ok(None)
                }
                End::Unclear(error) => Err(error),
            },
            done = lead(leadership) => Ok(Some(done)),
        };
        self.standing.send_replace(Standing::Inactive);
        outcome
    }
}

/// Who stands at the head of the line at `path`: the data of its znode, its identifier. `None` if nobody does.
///
/// # Errors
/// As [`Connection::children`] and [`Connection::get`].
pub async fn leader(connection: &Connection, path: &str, naming: Naming) -> Result<Option<Vec<u8>>, Error> {
    // The head may leave between the two reads; then there is another.
    for _ in 0..3 {
        let children = connection.children_or_empty(path).await?;
        let Some(first) = sorted_contenders(naming, &children).first().copied() else { return Ok(None) };
        match connection.get(&format!("{path}/{first}")).await {
            Ok((data, _)) => return Ok(Some(data)),
            Err(error) if error.is_no_node() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

//! A lock that one at a time holds, Kazoo's or Curator's on the wire, whose holder knows at once when it is lost.
//!
//! # What it promises
//! At most one guard of a path [holds](Guard::holds) at any moment, among ours and, as far as they know it themselves,
//! Kazoo's. Whoever waits gets its turn in the order of coming, and nobody waits while nobody holds: an attempt that was
//! cancelled, failed or timed out leaves nothing in line. It is not re-entrant.
//!
//! # Znodes
//! `{path}/{32 hex}__lock__{10 digits}`, ephemeral and sequential, data the identifier: Kazoo 2.11's `Lock`. With
//! [`Lock::with_naming`], `_c_{uuid}-lock-{10 digits}` of Curator's `InterProcessMutex`, whose parents are containers. What
//! is missing of `{path}` is made, and stays.
//!
//! # Errors
//! Waiting outlives lost connections and expired sessions. [`AcquireError::Refused`] is what ZooKeeper would refuse again
//! (no permission, a path that is none); [`AcquireError::Closed`] comes when the session is closed meanwhile.
//!
//! # Behaviour on disconnect and on expiry
//! Who waits keeps its place over a disconnect, and stands in line again, at the end, after an expiry. Who holds has lost
//! it in both cases, and when the lease is over or somebody deleted its znode: [`Guard::lost`] returns,
//! [`Guard::holds`] is false for good. After a disconnect the znode stays in line until the guard is dropped.
//!
//! # Znodes of the wrong type
//! A contender ahead that is not ephemeral may block the lock indefinitely: it is logged, and reported in
//! [`Session::wrong_znodes`] for as long as the lock waits behind it.
//!
//! # Cancellation safety
//! Every future here may be dropped at any await: a task withdraws what was, or may have been, put in line, as soon as
//! there is a connection. It ends with the session.
//!
//! # What others suffered from
//! Ghosts in line after a create whose reply was lost (kazoo 732, curator 79, 18, 498): a token in the name, looked for
//! after every failure. Hanging after a reconnect (kazoo 282, 482): everything is looked at anew over each connection.
//! Holding on without a znode (curator 171): the own one is watched.
//!
//! Try it: `cargo run -p atalaya-recipes --example lock -- 127.0.0.1:2181`.
//!
//! ```no_run
//! use std::time::Duration;
//! use atalaya_recipes::{Lock, Session};
//!
//! # async fn example(session: Session) -> Result<(), Box<dyn std::error::Error>> {
//! let lock = Lock::new(session, "/locks/crane", "node 1");
//! let Some(guard) = lock.acquire_within(Duration::from_secs(5)).await? else {
//!     println!("somebody else has it");
//!     return Ok(());
//! };
//! tokio::select! {
//!     () = guard.lost() => println!("stop everything"),
//!     () = work(guard.fencing_token()) => println!("done"),
//! }
//! guard.release().await;
//! # Ok(())
//! # }
//! # async fn work(_fence: i64) {}
//! ```

use std::time::Duration;

use crate::acquire_task::{Acquirable, Stage};
use crate::contender_state::{Event, Step};
use crate::guard::{self, AcquireError, Guard};
use crate::lock_queue::Line;
use crate::node_names::{Naming, Role};
use crate::owned_node::WatchedNode;
use crate::{Connection, Session};

/// A lock at a path. It holds nothing itself: each acquiring gives a [`Guard`] of its own.
#[derive(Clone, Debug)]
pub struct Lock {
    contest: LockSpec,
}

impl Lock {
    /// The lock at `path`, for one who calls itself `identifier`. Nothing happens before it is acquired.
    pub fn new(session: Session, path: impl Into<String>, identifier: impl Into<Vec<u8>>) -> Lock {
        Lock::with_naming(session, path, identifier, Naming::Kazoo)
    }

    /// One with the znodes of another library.
    pub fn with_naming(
        session: Session,
        path: impl Into<String>,
        identifier: impl Into<Vec<u8>>,
        naming: Naming,
    ) -> Lock {
        Lock { contest: LockSpec::new(session, path.into(), identifier.into(), naming.into()) }
    }

    /// Waits for its turn, however long that takes. Cancellation safe.
    ///
    /// # Errors
    /// As the [module](self) says.
    pub async fn acquire(&self) -> Result<Guard, AcquireError> {
        self.contest.acquire().await
    }

    /// Waits for its turn, for so long at most; `None` if it did not come. Nothing is left in line then, or, if the
    /// connection is lost, will be as soon as it is back. Cancellation safe.
    ///
    /// # Errors
    /// As the [module](self) says.
    pub async fn acquire_within(&self, patience: Duration) -> Result<Option<Guard>, AcquireError> {
        self.contest.acquire_within(patience).await
    }

    /// Takes the lock if nobody has it or waits for it, else `None`, and nothing is left in line. Cancellation safe.
    ///
    /// # Errors
    /// As the [module](self) says; and [`AcquireError::Refused`] when there is no connection, or no answer within the
    /// session timeout.
    pub async fn try_acquire(&self) -> Result<Option<Guard>, AcquireError> {
        self.contest.try_acquire().await
    }
}

/// Where one stands in line, and for what: what the locks have in common.
#[derive(Clone, Debug)]
pub(crate) struct LockSpec {
    session: Session,
    path: String,
    identifier: Vec<u8>,
    role: Role,
}

impl LockSpec {
    pub(crate) fn new(session: Session, path: String, identifier: Vec<u8>, role: Role) -> LockSpec {
        LockSpec { session, path, identifier, role }
    }

    pub(crate) async fn acquire(&self) -> Result<Guard, AcquireError> {
        guard::acquire(&self.session, || self.line()).await
    }

    pub(crate) async fn acquire_within(&self, patience: Duration) -> Result<Option<Guard>, AcquireError> {
        guard::acquire_within(&self.session, patience, || self.line()).await
    }

    pub(crate) async fn try_acquire(&self) -> Result<Option<Guard>, AcquireError> {
        guard::try_acquire(&self.session, &self.path, self.line()).await
    }

    fn line(&self) -> Line {
        Line::new(self.path.clone(), self.identifier.clone(), self.role)
    }
}

/// Whoever is at the head of the line holds its own znode there.
impl Acquirable for Line {
    fn link_up(&mut self, connection: &Connection) {
        self.on(Event::LinkUp(connection.session_id()));
    }

    fn link_down(&mut self) {
        self.on(Event::LinkDown);
    }

    fn unclear(&mut self) {
        self.on(Event::Unclear);
    }

    fn withdraw(&mut self) {
        self.on(Event::Withdraw);
    }

    fn stage(&self) -> Stage {
        match self.step() {
            Step::Wait { .. } => Stage::Waiting,
            Step::Lead { own } => Stage::Entitled(self.path_of(&own)),
            Step::Rest => Stage::Left,
            Step::AwaitLink | Step::Look | Step::Create | Step::Delete(_) => Stage::Busy,
        }
    }

    async fn advance(&mut self, connection: &Connection) -> Result<(), AcquireError> {
        let event = self.carry_out(connection, self.step()).await?;
        self.on(event);
        Ok(())
    }

    async fn watched(
        &mut self,
        connection: &Connection,
        path: String,
    ) -> Result<Option<WatchedNode>, AcquireError> {
        Ok(Line::watched(self, connection, path).await?)
    }

    async fn is_taken(&self, connection: &Connection) -> Result<bool, AcquireError> {
        Ok(Line::is_taken(self, connection).await?)
    }
}

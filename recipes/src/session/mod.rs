//! One ZooKeeper session after another, as a single thing to hold on to.
//!
//! A [`Session`] connects, reconnects, and when a session has ended begins a new one, until it is [closed]. What holds
//! now is in its [`SessionState`]; whoever owns something in ZooKeeper watches the view and, at every new *link* (a connection
//! made or made again), verifies what it owns: between two links anything may have happened.
//!
//! Calls go through a [`Connection`], are bounded in time, and fail at once while there is no connection; the client below
//! would queue them without bound.
//!
//! # Behaviour on disconnect and on expiry
//! On a disconnect the phase is [`Phase::Suspended`] until the client is back in the same session (the next link) or
//! the session is given up, by the servers or after 7/5 of its timeout by the client; then a new one is begun, and the
//! view carries its id. Servers that cannot be reached are tried for ever, every second at the least, which is logged
//! when it begins and when it ends.
//!
//! # Cancellation safety
//! Dropping a call's future never undoes it: the request has been sent. Dropping every handle of a `Session` ends its
//! task and, a little later, the session; to know that it has ended, use [`Session::close`].
//!
//! [closed]: Session::close

mod connection;
mod container;
mod multi;
mod session_task;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use zookeeper_client as zk;

use crate::ConnectString;
use crate::clock::BootInstant;
use crate::session_validity::SessionValidity;
use crate::wrong_znode::{Registry, WrongZnode};

pub use connection::{BulkRead, Connection};
pub use multi::{CreateMode, MultiError, Write, Written};

/// How to connect.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Where ZooKeeper is.
    pub servers: ConnectString,
    /// The session timeout asked for; the servers grant it within limits of their own (2 to 20 ticks).
    pub timeout: Duration,
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No session yet, or the last one has ended: a new one is being begun.
    Connecting,
    /// Connected.
    Connected,
    /// The connection is lost, the session may still live: own nothing, do nothing, wait.
    Suspended,
    /// Closed by [`Session::close`]; nothing follows.
    Closed,
}

/// What holds of a session at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// What it is doing.
    pub phase: Phase,
    /// Counts the connections made and made again. Another number means: verify what is yours.
    pub connection: u64,
    /// The id of the session; 0 before the first.
    pub session: i64,
    /// The session timeout that the servers granted.
    pub timeout: Duration,
}

/// A kept session. Clones share it.
#[derive(Clone, Debug)]
pub struct Session {
    shared: Arc<Shared>,
}

/// What the task that keeps the session and its users share.
#[derive(Debug)]
struct Shared {
    view: watch::Sender<SessionState>,
    /// The client of the current session. Calls clone it for as long as they last; as long as a clone lives, the
    /// session cannot be closed.
    client: Mutex<Option<zk::Client>>,
    /// The lease of the session with this id; an answer to another session's call does not renew it.
    lease: Mutex<(i64, SessionValidity)>,
    /// The sessions this process has had, newest last: znodes that they own are its own leftovers.
    past: Mutex<Vec<i64>>,
    /// Its end tells the task to close the session.
    open: Mutex<Option<mpsc::Sender<()>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// What it runs on, and the recipes' tasks with it.
    runtime: Handle,
    /// Is told the id of each session before anybody can use it.
    begun: Begun,
    /// The znodes of the wrong type that recipes see.
    wrong: Arc<Registry>,
}

/// Whoever is told of new sessions, if anybody is.
struct Begun(Option<Box<dyn Fn(i64) + Send + Sync>>);

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Begun").field(&self.0.is_some()).finish()
    }
}

/// A leftover is gone at the latest one session timeout after its session: only the newest few can matter.
const REMEMBERED_SESSIONS: usize = 16;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks, and were it to, the values would be whole all the same.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Begins to connect, in a task of its own, and returns at once. Needs a tokio runtime.
    pub fn start(options: SessionOptions) -> Session {
        Session::launch(options, Begun(None))
    }

    /// The same; `begun` is told the id of every new session before anything can be created in it. So whoever must know
    /// of a session's znodes, also when this process is killed, can write the session down first. It holds up the session's
    /// begin for as long as it takes.
    pub fn start_with_callback(
        options: SessionOptions,
        begun: impl Fn(i64) + Send + Sync + 'static,
    ) -> Session {
        Session::launch(options, Begun(Some(Box::new(begun))))
    }

    fn launch(options: SessionOptions, begun: Begun) -> Session {
        let view =
            SessionState { phase: Phase::Connecting, connection: 0, session: 0, timeout: options.timeout };
        let (open, closing) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            view: watch::Sender::new(view),
            client: Mutex::new(None),
            lease: Mutex::new((0, SessionValidity::new(options.timeout))),
            past: Mutex::new(Vec::new()),
            open: Mutex::new(Some(open)),
            task: Mutex::new(None),
            runtime: Handle::current(),
            begun,
            wrong: Arc::default(),
        });
        let task = tokio::spawn(session_task::keep(Arc::downgrade(&shared), options, closing));
        *lock(&shared.task) = Some(task);
        Session { shared }
    }

    /// Begins a task of a recipe's, on the runtime that the session lives on.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.runtime.spawn(task);
    }

    /// What holds now.
    pub fn state(&self) -> SessionState {
        *self.shared.view.borrow()
    }

    /// To be told of every change of the view. Fast changes coalesce; the number of the link tells.
    pub fn watch(&self) -> watch::Receiver<SessionState> {
        self.shared.view.subscribe()
    }

    /// Waits until there is a connection that is not the one numbered `after` (0: any), and returns it.
    ///
    /// Pending for ever once the session is closed. Cancellation safe.
    pub async fn connection_after(&self, after: u64) -> Connection {
        let mut view = self.watch();
        let found = view
            .wait_for(|view| view.phase == Phase::Connected && view.connection > after)
            .await
            .map(|view| *view);
        match found {
            Ok(view) => Connection::new(self.clone(), view),
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until there is a connection, and returns it. See [`Session::connection_after`].
    pub async fn connection(&self) -> Connection {
        self.connection_after(0).await
    }

    /// Whether this process, in a session that it had before, was `session`. Such znodes are leftovers of our own.
    pub fn is_previous_session(&self, session: i64) -> bool {
        session != self.state().session && lock(&self.shared.past).contains(&session)
    }

    /// What is left at `now` of the time for which the session may be acted on without asking. See [`SessionValidity`].
    pub fn lease_remaining(&self, now: BootInstant) -> Duration {
        if self.state().phase != Phase::Connected {
            return Duration::ZERO;
        }
        lock(&self.shared.lease).1.remaining(now)
    }

    /// Returns the znodes of the wrong type that the recipes of this session see at the moment, such as a persistent
    /// contender that a lock waits for. Each was logged when it was first seen. Maximum 64.
    pub fn wrong_znodes(&self) -> watch::Receiver<BTreeSet<WrongZnode>> {
        self.shared.wrong.subscribe()
    }

    pub(crate) fn wrong_registry(&self) -> Arc<Registry> {
        self.shared.wrong.clone()
    }

    /// Ends the session and waits until the servers have confirmed it (its ephemeral znodes are gone then) or
    /// `patience` is over. True if it was confirmed, or if there was no session to end.
    ///
    /// Stop whatever uses the session first: a call under way keeps it open. Not cancellation safe: a dropped future
    /// leaves the closing to go on by itself.
    pub async fn close(&self, patience: Duration) -> bool {
        drop(lock(&self.shared.open).take());
        let task = lock(&self.shared.task).take();
        match task {
            Some(task) => tokio::time::timeout(patience, task).await.is_ok(),
            None => self.state().phase == Phase::Closed,
        }
    }
}

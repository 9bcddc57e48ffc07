//! What can be made to go wrong, by tests and by the demo.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::core::{Cut, Which};
use super::protocol::Operation;

/// A hand on a running server. What a method promises holds once it returns; it waits for nothing but the server's task.
///
/// When the server is gone, everything has no effect and returns at once.
#[derive(Clone, Debug)]
pub struct Faults {
    commands: mpsc::UnboundedSender<Command>,
    refusing: Arc<AtomicBool>,
}

/// An order to the server's task, and whom to tell that it was obeyed.
#[derive(Debug)]
pub(crate) enum Command {
    Expire { session: i64, done: oneshot::Sender<bool> },
    Disconnect { session: i64, done: oneshot::Sender<bool> },
    Cut { cut: Cut, which: Which, happened: oneshot::Sender<()>, done: oneshot::Sender<()> },
    Delay { delay: Duration, done: oneshot::Sender<()> },
    Freeze { frozen: bool, done: oneshot::Sender<()> },
    Pause(oneshot::Sender<()>),
    Resume(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
    StartAgain(oneshot::Sender<()>),
    Advance { by: Duration, done: oneshot::Sender<()> },
    Sessions(oneshot::Sender<Vec<i64>>),
    Figures(oneshot::Sender<Figures>),
    Clear(oneshot::Sender<()>),
}

/// Which request a connection is to be lost at: by default the next one of anybody, pings aside.
#[derive(Clone, Debug, Default)]
pub struct AtRequest {
    which: Which,
}

impl AtRequest {
    /// The next one of anybody, pings aside.
    pub fn next() -> Self {
        Self::default()
    }

    /// Of this session.
    #[must_use]
    pub fn of_session(mut self, session: i64) -> Self {
        self.which.session = Some(session);
        self
    }

    /// Of this kind.
    #[must_use]
    pub fn of_kind(mut self, operation: Operation) -> Self {
        self.which.operation = Some(operation);
        self
    }

    /// About a path that contains this; a `multi` is about all of its operations' paths.
    #[must_use]
    pub fn about(mut self, part_of_path: impl Into<String>) -> Self {
        self.which.path = Some(part_of_path.into());
        self
    }
}

/// A loss that is armed.
#[derive(Debug)]
pub struct Armed {
    happened: oneshot::Receiver<()>,
}

impl Armed {
    /// Returns when the request came and its connection was lost.
    ///
    /// # Errors
    ///
    /// When it no longer can happen: the server stopped, or [`Faults::clear`] was called.
    pub async fn happened(self) -> io::Result<()> {
        self.happened.await.map_err(|_| io::Error::other("the loss of a connection was called off"))
    }
}

/// What a server has at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Figures {
    /// Sessions that live, with or without a connection.
    pub sessions: usize,
    /// Connections of clients, without those that ask a four-letter word.
    pub connections: usize,
    /// Znodes, with the root and those that ZooKeeper keeps for itself.
    pub znodes: usize,
    /// Watches: each path counts once for each connection that watches it.
    pub watches: usize,
    /// Requests received since the server was started first, pings and the beginnings of sessions among them.
    pub requests: u64,
    /// The number of the latest transaction.
    pub zxid: i64,
    /// Between [`Faults::stop`] and [`Faults::start_again`].
    pub stopped: bool,
}

impl Faults {
    pub(super) fn new(commands: mpsc::UnboundedSender<Command>, refusing: Arc<AtomicBool>) -> Self {
        Self { commands, refusing }
    }

    /// Ends a session as if it had timed out: its ephemerals go, its connection is closed. Whether there was one.
    pub async fn expire(&self, session: i64) -> bool {
        self.order(|done| Command::Expire { session, done }).await.unwrap_or(false)
    }

    /// Closes a session's connection, between two requests. Whether it had one.
    pub async fn disconnect(&self, session: i64) -> bool {
        self.order(|done| Command::Disconnect { session, done }).await.unwrap_or(false)
    }

    /// Closes a connection when a certain request comes, before or after that takes effect; once.
    pub async fn cut(&self, cut: Cut, at: AtRequest) -> Armed {
        let (happens, happened) = oneshot::channel();
        self.order(|done| Command::Cut { cut, which: at.which, happened: happens, done }).await;
        Armed { happened }
    }

    /// From now on new connections are closed as soon as they are there, or no longer. Those that are open stay.
    pub fn refuse_connections(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::Relaxed);
    }

    /// From now on everything that the server says comes this much later. Zero ends it; what is on its way stays so.
    pub async fn delay_replies(&self, delay: Duration) {
        self.order(|done| Command::Delay { delay, done }).await;
    }

    /// The server still hears and does everything, but says nothing; or it says all at once what it did not.
    pub async fn freeze_replies(&self, frozen: bool) {
        self.order(|done| Command::Freeze { frozen, done }).await;
    }

    /// The server does nothing at all, as after SIGSTOP. Connections stay open, time goes by.
    pub async fn pause(&self) {
        self.order(Command::Pause).await;
    }

    /// It goes on. Sessions whose time went by in the meantime end first.
    pub async fn resume(&self) {
        self.order(Command::Resume).await;
    }

    /// The server is stopped in order, as by SIGTERM, and keeps its disk: every connection is closed and new ones are closed
    /// as soon as they are there, until [`start_again`](Self::start_again). Znodes and sessions stay; what clients were
    /// still to be told is lost. No session ends meanwhile, unless by [`expire`](Self::expire), and no container or TTL.
    ///
    /// It ends a pause; a server that is stopped cannot be paused. Other faults stay as they were set.
    pub async fn stop(&self) {
        self.order(Command::Stop).await;
    }

    /// It takes connections again, with every znode and session that it had. Each session has its whole timeout from now
    /// on, as with Apache ZooKeeper when it loads its database; containers and TTLs are looked at one interval later.
    pub async fn start_again(&self) {
        self.order(Command::StartAgain).await;
    }

    /// Both of the server's clocks jump ahead. Sessions that are over by then have ended when this returns, and
    /// containers and TTLs that are due are gone. While the server is stopped, the clocks only jump.
    pub async fn advance_clock(&self, by: Duration) {
        self.order(|done| Command::Advance { by, done }).await;
    }

    /// The ids of all sessions that live.
    pub async fn sessions(&self) -> Vec<i64> {
        self.order(Command::Sessions).await.unwrap_or_default()
    }

    /// What there is at this moment. Cheap enough to be asked several times a second.
    ///
    /// `None` when the server is gone.
    pub async fn figures(&self) -> Option<Figures> {
        self.order(Command::Figures).await
    }

    /// Ends refusing, delaying and freezing, and calls off losses that have not happened. A pause or a stop stays.
    pub async fn clear(&self) {
        self.refuse_connections(false);
        self.order(Command::Clear).await;
    }

    async fn order<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (done, told) = oneshot::channel();
        self.commands.send(command(done)).ok()?;
        told.await.ok()
    }
}

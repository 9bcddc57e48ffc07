//! Fault injection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::state_machine::{Disconnect, RequestFilter};

/// Handle for injecting faults into a running server. The effect of a method is complete when it returns; it waits only
/// for the server's task.
///
/// After the server has stopped, all methods have no effect and return immediately.
#[derive(Clone, Debug)]
pub struct Faults {
    commands: mpsc::UnboundedSender<Command>,
    refusing: Arc<AtomicBool>,
}

/// A command to the server's task, with the sender for its completion.
#[derive(Debug)]
pub(crate) enum Command {
    Expire {
        session: i64,
        done: oneshot::Sender<bool>,
    },
    Disconnect {
        session: i64,
        done: oneshot::Sender<bool>,
    },
    DisconnectAt {
        disconnect: Disconnect,
        filter: RequestFilter,
        happened: oneshot::Sender<()>,
        done: oneshot::Sender<()>,
    },
    Delay {
        delay: Duration,
        done: oneshot::Sender<()>,
    },
    Freeze {
        frozen: bool,
        done: oneshot::Sender<()>,
    },
    Pause(oneshot::Sender<()>),
    Resume(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
    Restart(oneshot::Sender<()>),
    Advance {
        by: Duration,
        done: oneshot::Sender<()>,
    },
    Sessions(oneshot::Sender<Vec<i64>>),
    Stats(oneshot::Sender<ServerStats>),
    Clear(oneshot::Sender<()>),
}

/// A pending disconnect.
#[derive(Debug)]
pub struct PendingDisconnect {
    happened: oneshot::Receiver<()>,
}

impl PendingDisconnect {
    /// Waits until the request has arrived and its connection was closed.
    ///
    /// # Errors
    ///
    /// Returns an error if this can no longer happen: the server stopped, or [`Faults::clear`] was called.
    pub async fn happened(self) -> io::Result<()> {
        self.happened.await.map_err(|_| io::Error::other("the disconnect was cancelled"))
    }
}

/// Snapshot of a server's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ServerStats {
    /// Live sessions, with or without a connection.
    pub sessions: usize,
    /// Connections of clients, without those that send a four-letter word.
    pub connections: usize,
    /// Znodes, including the root and ZooKeeper's own.
    pub znodes: usize,
    /// Watches: each path counts once per connection that watches it.
    pub watches: usize,
    /// Requests received since the server's first start, including pings and session requests.
    pub requests: u64,
    /// Names in all lists of children since the server's first start: a list counts as many as it has names.
    pub names_listed: u64,
    /// Number of the latest transaction.
    pub zxid: i64,
    /// True between [`Faults::stop`] and [`Faults::restart`].
    pub stopped: bool,
}

impl Faults {
    pub(crate) fn new(commands: mpsc::UnboundedSender<Command>, refusing: Arc<AtomicBool>) -> Self {
        Self { commands, refusing }
    }

    /// Ends a session as if it had timed out: its ephemerals are deleted, its connection is closed. Returns true if the
    /// session existed.
    pub async fn expire(&self, session: i64) -> bool {
        self.send(|done| Command::Expire { session, done }).await.unwrap_or(false)
    }

    /// Closes a session's connection, between two requests. Returns true if the session had a connection.
    pub async fn disconnect(&self, session: i64) -> bool {
        self.send(|done| Command::Disconnect { session, done }).await.unwrap_or(false)
    }

    /// Closes a connection once, when a selected request arrives, before or after the request takes effect.
    pub async fn disconnect_at(&self, disconnect: Disconnect, filter: RequestFilter) -> PendingDisconnect {
        let (happened_sender, happened) = oneshot::channel();
        self.send(|done| Command::DisconnectAt { disconnect, filter, happened: happened_sender, done }).await;
        PendingDisconnect { happened }
    }

    /// Starts or stops refusing connections: new connections are closed on arrival. Open connections stay open.
    pub fn refuse_connections(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::Relaxed);
    }

    /// Delays all further output of the server by this time. Zero ends the delay; output that is already delayed stays
    /// delayed.
    pub async fn delay_replies(&self, delay: Duration) {
        self.send(|done| Command::Delay { delay, done }).await;
    }

    /// Freezes or releases the server's output: while frozen, the server processes all input but sends nothing. On
    /// release, it sends the withheld output at once.
    pub async fn freeze_replies(&self, frozen: bool) {
        self.send(|done| Command::Freeze { frozen, done }).await;
    }

    /// Suspends the server completely, as SIGSTOP does. Connections stay open, time continues.
    pub async fn pause(&self) {
        self.send(Command::Pause).await;
    }

    /// Resumes a paused server. Sessions that timed out during the pause are expired first.
    pub async fn resume(&self) {
        self.send(Command::Resume).await;
    }

    /// Stops the server in an orderly way, as SIGTERM does, and keeps its disk: every connection is closed and new ones
    /// are closed on arrival, until [`restart`](Self::restart). Znodes and sessions stay; pending output to
    /// clients is lost. While the server is stopped, no session expires, except by [`expire`](Self::expire), and
    /// neither does a container or TTL.
    ///
    /// A stop ends a pause; a stopped server cannot be paused. Other faults stay as they were set.
    pub async fn stop(&self) {
        self.send(Command::Stop).await;
    }

    /// Starts a stopped server again, with every znode and session that it had. The timeout of each session restarts,
    /// as with Apache ZooKeeper when it loads its database; containers and TTLs are checked one interval later.
    pub async fn restart(&self) {
        self.send(Command::Restart).await;
    }

    /// Advances both of the server's clocks. When this returns, timed-out sessions have expired, and containers and
    /// znodes with an expired TTL that were due for deletion are deleted. While the server is stopped, only the clocks
    /// advance.
    pub async fn advance_clock(&self, by: Duration) {
        self.send(|done| Command::Advance { by, done }).await;
    }

    /// Returns the ids of all live sessions.
    pub async fn sessions(&self) -> Vec<i64> {
        self.send(Command::Sessions).await.unwrap_or_default()
    }

    /// Returns a snapshot of the server's state. Cheap enough for several calls per second.
    ///
    /// Returns `None` after the server has stopped.
    pub async fn stats(&self) -> Option<ServerStats> {
        self.send(Command::Stats).await
    }

    /// Ends the refusal of connections, the delay and the freeze, and cancels pending disconnects. A pause or a stop
    /// remains.
    pub async fn clear(&self) {
        self.refuse_connections(false);
        self.send(Command::Clear).await;
    }

    async fn send<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (done, result) = oneshot::channel();
        self.commands.send(command(done)).ok()?;
        result.await.ok()
    }
}

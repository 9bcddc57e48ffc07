//! Background task behind a [`Guard`](crate::Guard): acquires a znode, keeps it, and deletes what remains of it.
//!
//! The acquiring future, and later the guard, own one end of a channel. When that end is dropped, wherever that
//! happens, the task withdraws. So an acquiring future can be cancelled at any await without leaving a znode behind.
//! The task runs on the session's runtime, and ends at the latest with the session in which it created a znode.

use std::convert::Infallible;
use std::future::Future;

use tokio::sync::{oneshot, watch};
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::contender_state::Event;
use crate::owned_node::{Hold, OwnedNode};
use crate::{AcquireError, Connection, Error, Phase, Session};

/// Maximum number of refused requests, other than lost connections, before the cleanup is left to the end of the
/// session.
const MAX_CLEANUP_REFUSALS: u32 = 3;

/// A contender for one znode, over consecutive connections.
pub(crate) trait Acquirable: Send + 'static {
    /// Handles an event. [`Event::OutcomeUnknown`] is also the deletion of the acquired znode. After
    /// [`Event::Withdraw`], the next actions delete all znodes of this contender.
    fn on(&mut self, event: Event);
    fn progress(&self) -> Progress;
    /// Carries out the next action, which may be to wait.
    fn advance(&mut self, connection: &Connection) -> impl Future<Output = Result<(), AcquireError>> + Send;
    /// Returns the acquired znode at `path`. Returns `None` if it does not exist or belongs to another session.
    fn own(
        &mut self,
        connection: &Connection,
        path: String,
    ) -> impl Future<Output = Result<Option<OwnedNode>, Error>> + Send;
    /// Returns true if this contender would have to wait for another one. Called before the first write; writes
    /// nothing.
    fn is_taken(&self, connection: &Connection) -> impl Future<Output = Result<bool, Error>> + Send;
}

#[derive(Debug)]
pub(crate) enum Progress {
    /// An action is due.
    Busy,
    /// The next action is to wait for other contenders.
    Waiting,
    /// The znode at this path is acquired.
    Acquired(String),
    /// All znodes of this contender are deleted.
    Left,
}

/// Behaviour if another contender is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfTaken {
    Wait,
    GiveUp,
}

/// Status of an acquisition, as seen by the acquiring future and the guard.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    Acquiring,
    Held(Hold),
    /// The znode was held, and is no longer certainly held.
    Lost,
    /// The task has ended: with an error, or because the acquiring future or the guard was dropped or another contender
    /// was in the way. `cleaned_up`: ZooKeeper has confirmed that none of its znodes is left.
    Ended {
        outcome: Result<(), AcquireError>,
        cleaned_up: bool,
    },
}

/// Handle of one acquisition. Dropping it makes the task withdraw.
#[derive(Debug)]
pub(crate) struct AcquireTask {
    pub(crate) session: Session,
    pub(crate) status: watch::Receiver<Status>,
    /// Never sends: the task waits until this end is dropped.
    release: oneshot::Sender<Infallible>,
}

impl AcquireTask {
    pub(crate) fn spawn(session: &Session, contender: impl Acquirable, if_taken: IfTaken) -> AcquireTask {
        let (release, released) = oneshot::channel();
        let (sender, status) = watch::channel(Status::Acquiring);
        let task = Task {
            session: session.clone(),
            contender,
            if_taken,
            status: sender,
            may_join: if_taken == IfTaken::Wait,
            connection: None,
            node: None,
        };
        drop(session.spawn(task.run(released)));
        AcquireTask { session: session.clone(), status, release }
    }

    /// Waits until the znode is acquired or the attempt has failed. Returns `None` if the task is gone. Cancel safe.
    pub(crate) async fn decided(&mut self) -> Option<Status> {
        let status = self.status.wait_for(|status| !matches!(status, Status::Acquiring)).await;
        status.ok().map(|status| status.clone())
    }

    /// Withdraws, and waits until all znodes of the contender are deleted, for at most one session timeout. Unless
    /// `survive_disconnect` is set, a disconnect ends the wait. Returns true if ZooKeeper has confirmed the deletion.
    pub(crate) async fn release(self, survive_disconnect: bool) -> bool {
        let AcquireTask { session, mut status, release } = self;
        drop(release);
        let state = session.state();
        let mut states = session.watch();
        let cleaned_up = async {
            let ended = status.wait_for(|status| matches!(status, Status::Ended { .. })).await;
            matches!(ended.as_deref(), Ok(Status::Ended { cleaned_up: true, .. }))
        };
        let disconnected = async {
            // An error means that the session's task has ended, so no further request will be confirmed.
            let _ = states
                .wait_for(|now| {
                    !survive_disconnect
                        && (now.phase != Phase::Connected || now.connection != state.connection)
                })
                .await;
        };
        tokio::select! {
            biased;
            cleaned_up = cleaned_up => cleaned_up,
            () = disconnected => false,
            () = tokio::time::sleep(state.timeout) => false,
        }
    }
}

struct Task<C> {
    session: Session,
    contender: C,
    if_taken: IfTaken,
    status: watch::Sender<Status>,
    /// The contender may write: it may wait for others, or no other contender was in the way.
    may_join: bool,
    connection: Option<Connection>,
    /// Znode that is or was held. Kept until it is deleted, which saves a request to remove the watch.
    node: Option<OwnedNode>,
}

impl<C: Acquirable> Task<C> {
    async fn run(mut self, mut released: oneshot::Receiver<Infallible>) {
        let outcome = self.acquire_and_hold(&mut released).await;
        self.contender.on(Event::Withdraw);
        let cleaned_up = self.clean_up().await;
        self.status.send_replace(Status::Ended { outcome, cleaned_up });
    }

    async fn acquire_and_hold(
        &mut self,
        released: &mut oneshot::Receiver<Infallible>,
    ) -> Result<(), AcquireError> {
        loop {
            let connection = tokio::select! {
                biased;
                _ = &mut *released => return Ok(()),
                connection = next_connection(&self.session) => connection,
            };
            let Some(connection) = connection else { return Err(AcquireError::Closed) };
            self.use_connection(&connection);
            tokio::select! {
                biased;
                () = connection.lost() => {}
                _ = &mut *released => return Ok(()),
                ended = self.work(&connection) => if let Some(outcome) = ended { return outcome },
            }
            if matches!(*self.status.borrow(), Status::Held(_)) {
                self.status.send_replace(Status::Lost);
                // The znode stays until the holder has dropped its guard: until then other contenders must wait. If the
                // session ends first, ZooKeeper deletes the znode.
                tokio::select! {
                    _ = &mut *released => {}
                    () = session_ended(&self.session, &self.connection) => {}
                }
                return Ok(());
            }
        }
    }

    /// Works over one connection until the task must end, with this outcome. Returns `None` if the acquired znode is no
    /// longer certainly held. The caller drops this future when the connection is lost.
    async fn work(&mut self, connection: &Connection) -> Option<Result<(), AcquireError>> {
        let mut backoff = Backoff::default();
        loop {
            let progress = self.contender.progress();
            // A wait that has ended is progress; a successful read is not.
            let was_waiting = matches!(progress, Progress::Waiting);
            let result = match progress {
                Progress::Left => return Some(Ok(())),
                Progress::Waiting if self.if_taken == IfTaken::GiveUp => return Some(Ok(())),
                Progress::Busy | Progress::Waiting if self.may_join => {
                    self.contender.advance(connection).await
                }
                Progress::Busy | Progress::Waiting => match self.contender.is_taken(connection).await {
                    Ok(true) => return Some(Ok(())),
                    result => result.map(|_| self.may_join = true).map_err(AcquireError::from),
                },
                Progress::Acquired(path) => match self.contender.own(connection, path).await {
                    Ok(Some(verified)) => {
                        self.status.send_replace(Status::Held(verified.hold.clone()));
                        let reason = self.node.insert(verified).lost().await;
                        warn!(?reason, "lock or permit lost");
                        return None;
                    }
                    Ok(None) => {
                        self.contender.on(Event::OutcomeUnknown);
                        Ok(())
                    }
                    Err(error) => Err(error.into()),
                },
            };
            match result {
                Ok(()) if was_waiting => backoff.reset(),
                Ok(()) => {}
                Err(AcquireError::Refused(error)) if error.is_connection_loss() => {
                    backoff.pause(connection.session(), &error).await;
                    self.contender.on(Event::OutcomeUnknown);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Passes the connection to the contender if it is a new one.
    fn use_connection(&mut self, connection: &Connection) {
        if self.connection.as_ref().is_some_and(|known| known.number() == connection.number()) {
            return;
        }
        if self.connection.replace(connection.clone()).is_some() {
            self.contender.on(Event::Disconnected);
        }
        self.contender.on(Event::Connected(connection.session_id()));
    }

    /// Deletes all znodes of the contender, over consecutive connections, until the session that created them ends.
    /// Returns true if none is left.
    async fn clean_up(&mut self) -> bool {
        let session = self.session.clone();
        let mut refusals = 0;
        let mut backoff = Backoff::default();
        loop {
            backoff.reconnected();
            if matches!(self.contender.progress(), Progress::Left) {
                return true;
            }
            let connection = tokio::select! {
                biased;
                () = session_ended(&session, &self.connection) => return false,
                connection = next_connection(&session) => connection,
            };
            let Some(connection) = connection else { return false };
            self.use_connection(&connection);
            let cleaned_up = async {
                while !matches!(self.contender.progress(), Progress::Left) {
                    match self.contender.advance(&connection).await {
                        // The backoff restarts only after everything is deleted, not after each request.
                        Ok(()) => {}
                        Err(AcquireError::Refused(error)) => {
                            refusals += u32::from(!error.is_connection_loss());
                            if refusals >= MAX_CLEANUP_REFUSALS {
                                warn!(%error, "cannot leave the queue; the znode is deleted when the session ends");
                                return false;
                            }
                            backoff.pause(&session, &error).await;
                            self.contender.on(Event::OutcomeUnknown);
                        }
                        Err(error) => {
                            debug!(%error, "cannot leave the queue; the znode is deleted when the session ends");
                            return false;
                        }
                    }
                }
                true
            };
            tokio::select! {
                biased;
                () = connection.lost() => {}
                cleaned_up = cleaned_up => return cleaned_up,
            }
        }
    }
}

/// Waits for the next connection. Returns `None` if the session was closed.
async fn next_connection(session: &Session) -> Option<Connection> {
    let mut states = session.watch();
    tokio::select! {
        biased;
        connection = session.connection() => Some(connection),
        _ = states.wait_for(|state| state.phase == Phase::Closed) => None,
    }
}

/// Waits until the session of `connection`, the newest one in which a znode may have been created, has ended.
async fn session_ended(session: &Session, connection: &Option<Connection>) {
    let creator = connection.as_ref().map(Connection::session_id);
    let mut states = session.watch();
    // An error means that the session's task has ended.
    let _ = states
        .wait_for(|state| {
            matches!(state.phase, Phase::Closed | Phase::Connecting) || Some(state.session) != creator
        })
        .await;
}

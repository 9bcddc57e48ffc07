//! The task behind a [`Guard`](crate::Guard): seeks what is to be held, keeps it, and takes away what is left of it.
//!
//! Whoever acquires, and later the guard, holds one end of a channel; once that end is dropped, wherever it may be, the
//! task withdraws. So no await of an acquiring future is one at which cancelling it would leave something behind. The
//! task runs on the session's runtime, and ends at the latest with the session in which it made something.

use std::convert::Infallible;
use std::future::Future;

use tokio::sync::{oneshot, watch};
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::owned_node::{OwnedNode, Watched};
use crate::{AcquireError, Connection, Phase, Session};

/// What strives for one znode to hold, over one connection after the other.
pub(crate) trait Acquirable: Send + 'static {
    /// A connection is there.
    fn link_up(&mut self, connection: &Connection);
    /// It is lost.
    fn link_down(&mut self);
    /// A request failed, or may have; or what was held is gone.
    fn unclear(&mut self);
    /// All that was made is to go.
    fn withdraw(&mut self);
    /// How far it has come.
    fn stage(&self) -> Stage;
    /// Does what is next, which may be to wait.
    fn advance(&mut self, connection: &Connection) -> impl Future<Output = Result<(), AcquireError>> + Send;
    /// The znode at this path, to be held; `None` if it is not this session's, or not there.
    fn watched(
        &mut self,
        connection: &Connection,
        path: String,
    ) -> impl Future<Output = Result<Option<Watched>, AcquireError>> + Send;
    /// Whether somebody else is in the way. Asked before anything is made; writes nothing.
    fn is_taken(&self, connection: &Connection) -> impl Future<Output = Result<bool, AcquireError>> + Send;
}

/// How far a claimant has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// There is something to do.
    Busy,
    /// It waits for others.
    Waiting,
    /// The znode at this path is to be held.
    Entitled(String),
    /// Nothing of it is left.
    Left,
}

/// What to do when somebody else is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Wait,
    GiveUp,
}

/// How a tenure stands, for whoever acquires and for the guard.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    Seeking,
    Held {
        connection: Connection,
        znode: String,
        fence: i64,
    },
    /// It was held, and is no longer for certain.
    Lost,
    /// The task is done, and why. `swept`: ZooKeeper has confirmed that nothing is left.
    Over {
        why: Ended,
        swept: bool,
    },
}

/// Why a tenure has ended.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// Nobody wants it any more.
    Unwanted,
    /// Somebody else was in the way.
    Taken,
    /// It cannot be.
    Failed(AcquireError),
}

/// One try to get and keep something; dropping it withdraws.
#[derive(Debug)]
pub(crate) struct AcquireTask {
    pub(crate) session: Session,
    pub(crate) status: watch::Receiver<Status>,
    /// Nothing is ever sent: the task waits for its end.
    wanted: oneshot::Sender<Infallible>,
}

impl AcquireTask {
    /// Begins one, in a task of its own.
    pub(crate) fn begin(session: &Session, claimant: impl Acquirable, wish: Wish) -> AcquireTask {
        let (wanted, unwanted) = oneshot::channel();
        let (sender, status) = watch::channel(Status::Seeking);
        let task = Task {
            session: session.clone(),
            claimant,
            wish,
            unwanted,
            status: sender,
            asked: wish == Wish::Wait,
            connection: None,
            hold: None,
            owner: None,
        };
        session.spawn(task.run());
        AcquireTask { session: session.clone(), status, wanted }
    }

    /// Withdraws, and waits until nothing is left: at most a session timeout, and no longer than the present connection
    /// stands unless `patient`. Whether ZooKeeper has confirmed it.
    pub(crate) async fn end(self, patient: bool) -> bool {
        let AcquireTask { session, mut status, wanted } = self;
        drop(wanted);
        let view = session.state();
        let mut views = session.watch();
        let swept = async {
            match status.wait_for(|status| matches!(status, Status::Over { .. })).await.as_deref() {
                Ok(Status::Over { swept, .. }) => *swept,
                _ => false,
            }
        };
        let cut = async {
            let impatient = views.wait_for(|now| {
                !patient && (now.phase != Phase::Connected || now.connection != view.connection)
            });
            // Nobody keeps the session any more: nothing will be confirmed.
            let _ = impatient.await;
        };
        tokio::select! {
            biased;
            swept = swept => swept,
            () = cut => false,
            () = tokio::time::sleep(view.timeout) => false,
        }
    }
}

struct Task<C> {
    session: Session,
    claimant: C,
    wish: Wish,
    unwanted: oneshot::Receiver<Infallible>,
    status: watch::Sender<Status>,
    /// Nobody was in the way, when asked.
    asked: bool,
    /// The connection that the claimant works over.
    connection: Option<Connection>,
    /// What is or was held: kept until it is swept, which spares the server a request to forget the watch.
    hold: Option<OwnedNode>,
    /// The newest session in which something may have been made.
    owner: Option<i64>,
}

impl<C: Acquirable> Task<C> {
    async fn run(mut self) {
        let why = self.seek_and_keep().await;
        self.claimant.withdraw();
        let swept = self.sweep().await;
        self.status.send_replace(Status::Over { why, swept });
    }

    /// Until it is to end.
    async fn seek_and_keep(&mut self) -> Ended {
        loop {
            let connection = tokio::select! {
                biased;
                _ = &mut self.unwanted => return Ended::Unwanted,
                connection = next_link(&self.session) => connection,
            };
            let Some(connection) = connection else { return Ended::Failed(AcquireError::Closed) };
            self.go_over(&connection);
            let ended = tokio::select! {
                biased;
                () = connection.lost() => None,
                _ = &mut self.unwanted => Some(Ended::Unwanted),
                ended = work(&mut self.claimant, &connection, self.wish, &mut self.asked, &mut self.hold, &self.status) => ended,
            };
            if let Some(ended) = ended {
                return ended;
            }
            if matches!(*self.status.borrow(), Status::Held { .. }) {
                self.status.send_replace(Status::Lost);
                // What is left of it stays until whoever held it has seen that: others wait as long.
                self.until_unwanted().await;
                return Ended::Unwanted;
            }
        }
    }

    /// Until nobody wants it, or the session is over, with which all of it goes.
    async fn until_unwanted(&mut self) {
        let session = self.session.clone();
        tokio::select! {
            _ = &mut self.unwanted => {}
            () = over(&session, self.owner) => {}
        }
    }

    /// Lets the claimant know of the connection, if it is new.
    fn go_over(&mut self, connection: &Connection) {
        if self.connection.as_ref().is_some_and(|known| known.number() == connection.number()) {
            return;
        }
        if self.connection.replace(connection.clone()).is_some() {
            self.claimant.link_down();
        }
        self.owner = Some(connection.session_id());
        self.claimant.link_up(connection);
    }

    /// Takes away what was made, over one connection after the other, for as long as the session lives in which it was
    /// made. Whether nothing is left.
    async fn sweep(&mut self) -> bool {
        let session = self.session.clone();
        // A refusal will be one again; what may be left goes with the session.
        let mut refusals = 3;
        let mut trouble = Backoff::default();
        loop {
            trouble.reconnected();
            if matches!(self.claimant.stage(), Stage::Left) {
                return true;
            }
            let connection = tokio::select! {
                biased;
                () = over(&session, self.owner) => return false,
                connection = next_link(&session) => connection,
            };
            let Some(connection) = connection else { return false };
            self.go_over(&connection);
            let swept = async {
                while !matches!(self.claimant.stage(), Stage::Left) {
                    match self.claimant.advance(&connection).await {
                        // Success is only that everything is removed.
                        Ok(()) => {}
                        Err(AcquireError::Refused(error)) => {
                            refusals -= i32::from(!error.is_connection_loss());
                            if refusals <= 0 {
                                warn!(%error, "what is left in line will go with the session");
                                return false;
                            }
                            trouble.pause(&session, &error).await;
                            self.claimant.unclear();
                        }
                        Err(error) => {
                            debug!(%error, "what is left in line will go with the session");
                            return false;
                        }
                    }
                }
                true
            };
            let swept = tokio::select! {
                biased;
                () = connection.lost() => None,
                swept = swept => Some(swept),
            };
            if let Some(swept) = swept {
                return swept;
            }
        }
    }
}

/// Works over one connection until there is a reason to end, or what was held is lost (`None`). The caller sees to the
/// loss of the connection.
async fn work<C: Acquirable>(
    claimant: &mut C,
    connection: &Connection,
    wish: Wish,
    asked: &mut bool,
    hold: &mut Option<OwnedNode>,
    status: &watch::Sender<Status>,
) -> Option<Ended> {
    let mut trouble = Backoff::default();
    loop {
        let stage = claimant.stage();
        // A finished wait is progress; a successful read is not.
        let is_progress = matches!(stage, Stage::Waiting);
        let result = match stage {
            Stage::Left => return Some(Ended::Unwanted),
            Stage::Waiting if wish == Wish::GiveUp => return Some(Ended::Taken),
            Stage::Busy | Stage::Waiting if *asked => claimant.advance(connection).await,
            Stage::Busy | Stage::Waiting => match claimant.is_taken(connection).await {
                Ok(true) => return Some(Ended::Taken),
                Ok(false) => {
                    *asked = true;
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Stage::Entitled(path) => match verify(claimant, connection, path).await {
                Ok(Some(verified)) => {
                    let (znode, fence) = (verified.path().to_owned(), verified.czxid());
                    status.send_replace(Status::Held { connection: connection.clone(), znode, fence });
                    let end = hold.insert(verified).ended().await;
                    warn!(?end, "what was held is no longer for certain");
                    return None;
                }
                Ok(None) => {
                    claimant.unclear();
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(()) if is_progress => trouble.over(),
            Ok(()) => {}
            Err(AcquireError::Refused(error)) if error.is_connection_loss() => {
                trouble.pause(connection.session(), &error).await;
                claimant.unclear();
            }
            Err(error) => return Some(Ended::Failed(error)),
        }
    }
}

async fn verify<C: Acquirable>(
    claimant: &mut C,
    connection: &Connection,
    path: String,
) -> Result<Option<OwnedNode>, AcquireError> {
    match claimant.watched(connection, path).await? {
        Some(watched) => Ok(Some(OwnedNode::of(connection, watched).await?)),
        None => Ok(None),
    }
}

/// The next connection; `None` if there will be none, since the session is closed.
async fn next_link(session: &Session) -> Option<Connection> {
    let mut view = session.watch();
    tokio::select! {
        biased;
        connection = session.connection() => Some(connection),
        _ = view.wait_for(|view| view.phase == Phase::Closed) => None,
    }
}

/// Returns when the session with the id `owner` is over.
async fn over(session: &Session, owner: Option<i64>) {
    let mut view = session.watch();
    // An error means that nobody keeps the session any more.
    let _ = view
        .wait_for(|view| {
            matches!(view.phase, Phase::Closed | Phase::Connecting) || Some(view.session) != owner
        })
        .await;
}

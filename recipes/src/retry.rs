//! One thing tried over link after link until it works or the patience of whoever asked is over. Used by the recipes'
//! calls, so that none of them waits for ever.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use crate::{Connection, Error, Session};

/// How long a recipe's call tries on over lost connections, unless it is told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The attempts at one thing.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    session: &'a Session,
    operation: &'static str,
    path: &'a str,
    until: Option<Instant>,
    pause: Duration,
    last: Option<Error>,
}

impl<'a> Attempts<'a> {
    /// Attempts that end after `patience`; what is asked for, and where, are for the error of it.
    pub(crate) fn new(
        session: &'a Session,
        patience: Duration,
        operation: &'static str,
        path: &'a str,
    ) -> Self {
        Attempts::until(session, Instant::now().checked_add(patience), operation, path)
    }

    /// Attempts that end at a moment, or never.
    pub(crate) fn until(
        session: &'a Session,
        until: Option<Instant>,
        operation: &'static str,
        path: &'a str,
    ) -> Self {
        Attempts { session, operation, path, until, pause: FIRST_PAUSE, last: None }
    }

    /// A connection to try over, at once if there is one. An error is the last one that there was.
    pub(crate) async fn connection(&mut self) -> Result<Connection, Error> {
        let session = self.session;
        self.bounded(session.connection()).await
    }

    /// An attempt failed: trouble of the connection or the session is waited out, all else is returned.
    pub(crate) async fn failed(&mut self, error: Error) -> Result<(), Error> {
        if !error.is_connection_loss() {
            return Err(error);
        }
        debug!(%error, "failed; trying again");
        self.last = Some(error);
        self.pause().await
    }

    /// An attempt met somebody else's: a moment, which differs from theirs, before the next.
    pub(crate) async fn contended(&mut self, error: Error) -> Result<(), Error> {
        self.last = Some(error);
        self.bounded(tokio::time::sleep(jitter(Duration::from_millis(4)))).await
    }

    /// Waits for `what`, at the longest until the patience is over.
    pub(crate) async fn bounded<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Error> {
        let Some(until) = self.until else { return Ok(what.await) };
        match tokio::time::timeout_at(until, what).await {
            Ok(done) => Ok(done),
            Err(_) => Err(self.over()),
        }
    }

    /// The error to end with.
    pub(crate) fn over(&mut self) -> Error {
        let nothing = || Error::NotConnected { operation: self.operation, path: self.path.to_owned() };
        self.last.take().unwrap_or_else(nothing)
    }

    async fn pause(&mut self) -> Result<(), Error> {
        let pause = jitter(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.bounded(tokio::time::sleep(pause)).await
    }
}

/// Something between half of `most` and all of it.
pub(crate) fn jitter(most: Duration) -> Duration {
    let chance = uuid::Uuid::new_v4().as_u128() as u32;
    most / 2 + (most / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

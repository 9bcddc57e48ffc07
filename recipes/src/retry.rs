//! Retries of a recipe's request over new connections, until it succeeds or its timeout has elapsed.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use crate::delay::Delays;
use crate::{Connection, Error, Session};

/// Default timeout of the recipes' calls, within which they are retried over lost connections.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

const MIN_DELAY: Duration = Duration::from_millis(10);
const MAX_DELAY: Duration = Duration::from_millis(250);
/// Delay after a conflict with another client.
const CONTENTION_DELAY: Duration = Duration::from_millis(2);

/// Attempts of one call.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    session: &'a Session,
    pub(crate) operation: &'static str,
    path: &'a str,
    deadline: Option<Instant>,
    delays: Delays,
    last_error: Option<Error>,
}

impl<'a> Attempts<'a> {
    /// Creates attempts that end after `timeout`, or never if it is [`Duration::MAX`]. `operation` and `path` are for
    /// error messages.
    pub(crate) fn new(
        session: &'a Session,
        timeout: Duration,
        operation: &'static str,
        path: &'a str,
    ) -> Self {
        let deadline = Instant::now().checked_add(timeout);
        let delays = Delays::new(MIN_DELAY, MAX_DELAY);
        Attempts { session, operation, path, deadline, delays, last_error: None }
    }

    /// Makes a request until it succeeds, or fails with an error that a retry cannot solve.
    pub(crate) async fn retry<T, F: Future<Output = Result<T, Error>>>(
        &mut self,
        request: impl Fn(Connection) -> F,
    ) -> Result<T, Error> {
        loop {
            match request(self.connection().await?).await {
                Ok(response) => return Ok(response),
                Err(error) => self.failed(error).await?,
            }
        }
    }

    /// Waits until the session is connected. Returns the error of the last attempt if the deadline passes.
    pub(crate) async fn connection(&mut self) -> Result<Connection, Error> {
        let session = self.session;
        self.bounded(session.connection()).await
    }

    /// Waits before the next attempt if `error` is due to the connection or the session. Returns all other errors.
    pub(crate) async fn failed(&mut self, error: Error) -> Result<(), Error> {
        if !error.is_connection_loss() {
            return Err(error);
        }
        debug!(%error, "failed; retrying");
        self.last_error = Some(error);
        let delay = self.delays.next_delay();
        self.bounded(tokio::time::sleep(delay)).await
    }

    /// Waits before the next attempt after a conflict with another client. The wait is short and random, so that both
    /// clients do not retry at the same time again.
    pub(crate) async fn contended(&mut self, error: Error) -> Result<(), Error> {
        self.last_error = Some(error);
        let delay = Delays::new(CONTENTION_DELAY, CONTENTION_DELAY).next_delay();
        self.bounded(tokio::time::sleep(delay)).await
    }

    /// Like [`Attempts::contended`] after a conflict with another client, and like [`Attempts::failed`] otherwise.
    pub(crate) async fn failed_or_contended(&mut self, error: Error) -> Result<(), Error> {
        if error.is_conflict() { self.contended(error).await } else { self.failed(error).await }
    }

    /// Returns the time until the deadline.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits for `future`, at most until the deadline.
    pub(crate) async fn bounded<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Error> {
        let Some(deadline) = self.deadline else { return Ok(future.await) };
        tokio::time::timeout_at(deadline, future).await.map_err(|_| self.last_error())
    }

    pub(crate) fn last_error(&mut self) -> Error {
        let not_connected = || Error::NotConnected { operation: self.operation, path: self.path.to_owned() };
        self.last_error.take().unwrap_or_else(not_connected)
    }
}

//! Barrier at which any number of clients wait until it is opened; compatible with Kazoo and Curator on the wire.
//!
//! # Guarantees
//! A waiting client passes if the barrier was open at any moment since the wait began, even if it was closed again
//! before the client could read it; and never otherwise. Each closing is a *generation*, identified by the znode's
//! `czxid`.
//!
//! # Znodes
//! `{path}`, persistent and empty: the barrier is closed while it exists. Missing parents are created.
//!
//! # Errors
//! Errors that ZooKeeper would return again (missing permission). Calls that do not wait for the barrier also return
//! the last connection error after their timeout. Connection errors never end a wait.
//!
//! # Disconnect and session expiry
//! A wait continues over lost connections and in new sessions, and reads the barrier again each time. An opening whose
//! reply was lost does not open the next generation. A closing whose reply was lost is repeated if the barrier is open
//! by then.
//!
//! # Cancel safety
//! A cancelled wait has no effect. A cancelled opening or closing may have taken effect, or may still take effect.
//!
//! # Bugs of other implementations
//! Kazoo's `Barrier.wait` raises on a lost connection, and misses a barrier that is opened and closed again at once.
//!
//! # Example
//! `cargo run -p atalaya-recipes --example barrier -- 127.0.0.1:2181`
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) -> Result<(), atalaya_recipes::Error> {
//! use std::time::Duration;
//! use atalaya_recipes::Barrier;
//!
//! let barrier = Barrier::new(session, "/barrier");
//! let generation = barrier.close().await?;
//! println!("closed, generation {generation}");
//! // In another client:
//! if barrier.wait_within(Duration::from_secs(5)).await? {
//!     println!("the barrier is open");
//! }
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::session::CreateMode;
use crate::{Connection, Error, EventType, Session};

/// Barrier at a path.
#[derive(Clone, Debug)]
pub struct Barrier {
    session: Session,
    path: String,
    timeout: Duration,
}

impl Barrier {
    /// Creates a barrier at `path`. Does no I/O.
    pub fn new(session: Session, path: impl Into<String>) -> Barrier {
        Barrier { session, path: path.into(), timeout: DEFAULT_TIMEOUT }
    }

    /// Sets the maximum duration of opening, closing and reading the barrier, including retries. Default: 30 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Barrier {
        self.timeout = timeout;
        self
    }

    /// Returns the generation if the barrier is closed, or `None` if it is open.
    pub async fn generation(&self) -> Result<Option<i64>, Error> {
        let mut attempts = Attempts::new(&self.session, self.timeout, "read", &self.path);
        attempts.retry(|connection| async move { self.generation_over(&connection).await }).await
    }

    async fn generation_over(&self, connection: &Connection) -> Result<Option<i64>, Error> {
        Ok(connection.synced().await?.stat(&self.path).await?.map(|stat| stat.czxid))
    }

    /// Closes the barrier if it is open, and returns the closed generation.
    pub async fn close(&self) -> Result<i64, Error> {
        let mut attempts = Attempts::new(&self.session, self.timeout, "close", &self.path);
        loop {
            let connection = attempts.connection().await?;
            match self.close_over(&connection).await {
                Ok(generation) => return Ok(generation),
                Err(error) => attempts.failed_or_contended(error).await?,
            }
        }
    }

    async fn close_over(&self, connection: &Connection) -> Result<i64, Error> {
        match connection.create_with_parents(&self.path, b"", CreateMode::Persistent).await {
            // An error if another client has opened it since the create.
            Err(error) if error.is_node_exists() => self.generation_over(connection).await?.ok_or(error),
            result => result.map(|stat| stat.czxid),
        }
    }

    /// Opens the barrier. Returns true if it was closed.
    pub async fn open(&self) -> Result<bool, Error> {
        match self.generation().await? {
            Some(generation) => self.open_generation(generation).await,
            None => Ok(false),
        }
    }

    /// Opens the barrier if `generation` is the closed generation. Returns true if it was, or if an attempt whose reply
    /// was lost may have opened it.
    pub async fn open_generation(&self, generation: i64) -> Result<bool, Error> {
        let mut attempts = Attempts::new(&self.session, self.timeout, "open", &self.path);
        let mut may_have_opened = false;
        loop {
            let connection = attempts.connection().await?;
            // ZooKeeper deletes by version, not by generation, so the generation is read directly before the delete.
            match self.generation_over(&connection).await {
                Ok(closed) if closed != Some(generation) => return Ok(may_have_opened),
                Ok(_) => match connection.delete_if_exists(&self.path, None).await {
                    Ok(opened) => return Ok(opened || may_have_opened),
                    Err(error) => {
                        may_have_opened |= error.outcome_unknown();
                        attempts.failed(error).await?;
                    }
                },
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// Waits until the barrier is open, without a time limit.
    pub async fn wait(&self) -> Result<(), Error> {
        self.wait_until_passed(None, Duration::MAX).await.map(|_| ())
    }

    /// Waits until the barrier is open, for at most `timeout`. Returns false after a timeout.
    pub async fn wait_within(&self, timeout: Duration) -> Result<bool, Error> {
        self.wait_until_passed(None, timeout).await
    }

    /// Waits until `generation` has ended, without a time limit. Returns at once if the barrier is open or a later
    /// generation is closed.
    pub async fn wait_for_generation(&self, generation: i64) -> Result<(), Error> {
        self.wait_until_passed(Some(generation), Duration::MAX).await.map(|_| ())
    }

    /// Waits until the generation `awaited`, or the one that is closed at first, has ended.
    async fn wait_until_passed(&self, mut awaited: Option<i64>, timeout: Duration) -> Result<bool, Error> {
        let waiting = async {
            let mut attempts = Attempts::new(&self.session, Duration::MAX, "wait at", &self.path);
            loop {
                let connection = attempts.connection().await?;
                match self.wait_over(&connection, &mut awaited).await {
                    Ok(()) => return Ok(true),
                    Err(error) => attempts.failed(error).await?,
                }
            }
        };
        tokio::time::timeout(timeout, waiting).await.unwrap_or(Ok(false))
    }

    async fn wait_over(&self, connection: &Connection, awaited: &mut Option<i64>) -> Result<(), Error> {
        // A barrier that was closed before the wait began must be seen as closed.
        connection.sync().await?;
        loop {
            let (stat, watcher) = connection.stat_and_watch(&self.path).await?;
            if has_ended(awaited, stat.map(|stat| stat.czxid)) {
                return Ok(());
            }
            // The deletion ends the generation: no need to read the barrier again.
            if connection.watch_event(watcher).await == Some(EventType::NodeDeleted) {
                return Ok(());
            }
        }
    }
}

/// Returns true if the awaited generation has ended, given the closed generation, or `None` if the barrier is open.
/// `awaited` is `None` until it was read.
fn has_ended(awaited: &mut Option<i64>, closed: Option<i64>) -> bool {
    closed.is_none_or(|closed| *awaited.get_or_insert(closed) != closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_over_when_another_generation_or_none_is_closed() {
        let mut awaited = None;
        assert!(!has_ended(&mut awaited, Some(5)));
        assert!(!has_ended(&mut awaited, Some(5)));
        assert!(has_ended(&mut awaited, Some(9)));
        assert!(has_ended(&mut None, None));
        assert!(has_ended(&mut Some(3), Some(5)));
        assert!(!has_ended(&mut Some(3), Some(3)));
    }
}

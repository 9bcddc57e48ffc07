//! A barrier that many wait at until somebody opens it; Kazoo's and Curator's on the wire.
//!
//! # What it promises
//! Whoever waits passes when the barrier has been open at some moment since the wait began, also when it was closed again
//! before anyone could look; and never before. Each closing is a *generation*, told by the znode's `czxid`.
//!
//! # Znodes
//! `{path}`, persistent and empty: while it exists the barrier is closed. What is missing above it is made.
//!
//! # Errors
//! What ZooKeeper refuses (no permission, say), and, of calls that do not wait for the barrier, the last trouble with the
//! connection when the patience is over. Trouble with the connection ends no wait.
//!
//! # Behaviour on disconnect and on expiry
//! A wait goes on over lost connections and over new sessions, and looks anew at each. An opening whose reply was lost
//! does not open the generation after; a closing whose reply was lost is made again if the barrier is then open.
//!
//! # Cancellation safety
//! A dropped wait leaves nothing behind. A dropped opening or closing may have taken effect, or may yet.
//!
//! # Answers to
//! kazoo `Barrier.wait` raises on a lost connection, and misses a barrier that is opened and closed again at once.
//!
//! Try it: `cargo run -p atalaya-recipes --example barrier -- 127.0.0.1:2181`.
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) -> Result<(), atalaya_recipes::Error> {
//! use std::time::Duration;
//! use atalaya_recipes::Barrier;
//!
//! let barrier = Barrier::new(session, "/barrier");
//! let generation = barrier.close().await?;
//! println!("closed, generation {generation}");
//! // Elsewhere:
//! if barrier.wait_within(Duration::from_secs(5)).await? {
//!     println!("open");
//! }
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use crate::EventType;
use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::session::CreateMode;
use crate::{Error, Session};

/// A barrier at one path.
#[derive(Clone, Debug)]
pub struct Barrier {
    session: Session,
    path: String,
    patience: Duration,
}

impl Barrier {
    /// The one at `path`; nothing happens yet.
    pub fn new(session: Session, path: impl Into<String>) -> Barrier {
        Barrier { session, path: path.into(), patience: DEFAULT_TIMEOUT }
    }

    /// How long opening, closing and looking try on.
    #[must_use]
    pub fn with_timeout(mut self, patience: Duration) -> Barrier {
        self.patience = patience;
        self
    }

    /// The generation that is closed now, or `None` if the barrier is open.
    pub async fn generation(&self) -> Result<Option<i64>, Error> {
        let mut attempts = Attempts::new(&self.session, self.patience, "look at", &self.path);
        loop {
            let connection = attempts.connection().await?;
            let looked = async {
                connection.sync().await?;
                connection.stat(&self.path).await
            };
            match looked.await {
                Ok(stat) => return Ok(stat.map(|stat| stat.czxid)),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// Closes it, if it is not closed, and returns the generation that is.
    pub async fn close(&self) -> Result<i64, Error> {
        let mut attempts = Attempts::new(&self.session, self.patience, "close", &self.path);
        loop {
            let connection = attempts.connection().await?;
            let error = match connection.create(&self.path, b"", CreateMode::Persistent).await {
                Ok(stat) => return Ok(stat.czxid),
                Err(error) if error.is_node_exists() => {
                    let looked = async {
                        connection.sync().await?;
                        connection.stat(&self.path).await
                    };
                    match looked.await {
                        Ok(Some(stat)) => return Ok(stat.czxid),
                        // It was opened in between.
                        Ok(None) => {
                            attempts.contended(error).await?;
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) if error.is_no_node() => {
                    let parent = self.path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    match connection.ensure(parent).await {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            attempts.failed(error).await?;
        }
    }

    /// Opens it. True if it was closed.
    pub async fn open(&self) -> Result<bool, Error> {
        match self.generation().await? {
            Some(generation) => self.open_generation(generation).await,
            None => Ok(false),
        }
    }

    /// Opens it if it is this generation that is closed. True if it was, or if an attempt whose reply was lost may have
    /// opened it.
    pub async fn open_generation(&self, generation: i64) -> Result<bool, Error> {
        let mut attempts = Attempts::new(&self.session, self.patience, "open", &self.path);
        let mut perhaps = false;
        loop {
            let connection = attempts.connection().await?;
            let opened = async {
                connection.sync().await?;
                match connection.stat(&self.path).await? {
                    // ZooKeeper deletes by version, not by generation: looked at right before, it is as good.
                    Some(stat) if stat.czxid == generation => {
                        connection.delete(&self.path, None).await.map(|()| true)
                    }
                    _ => Ok(false),
                }
            };
            match opened.await {
                Ok(opened) => return Ok(opened || perhaps),
                Err(error) if error.is_no_node() => return Ok(perhaps),
                Err(error) => {
                    perhaps |= error.outcome_unknown();
                    attempts.failed(error).await?;
                }
            }
        }
    }

    /// Waits until it is open, however long that takes.
    pub async fn wait(&self) -> Result<(), Error> {
        self.passed(Wait::default(), None).await.map(|_| ())
    }

    /// Waits until it is open. False if it was not within this time.
    pub async fn wait_within(&self, patience: Duration) -> Result<bool, Error> {
        self.passed(Wait::default(), Some(patience)).await
    }

    /// Waits until this generation is over, however long that takes: at once if the barrier is open, or closed again.
    pub async fn wait_for_generation(&self, generation: i64) -> Result<(), Error> {
        self.passed(Wait { behind: Some(generation) }, None).await.map(|_| ())
    }

    async fn passed(&self, mut wait: Wait, patience: Option<Duration>) -> Result<bool, Error> {
        let waiting = async {
            let mut attempts = Attempts::until(&self.session, None, "wait at", &self.path);
            loop {
                let connection = attempts.connection().await?;
                // What was closed before the wait began must be seen.
                let mut looked = connection.sync().await.map(|()| None);
                loop {
                    match looked {
                        Ok(None) => {}
                        Ok(Some(watcher)) => {
                            // Told so, it need not look: the generation that it waits behind was opened.
                            if connection.watch_event(watcher).await == Some(EventType::NodeDeleted) {
                                return Ok(());
                            }
                        }
                        Err(error) => break attempts.failed(error).await?,
                    }
                    looked = match connection.stat_and_watch(&self.path).await {
                        Ok((stat, _)) if wait.is_over(stat.map(|stat| stat.czxid)) => return Ok(()),
                        Ok((_, watcher)) => Ok(Some(watcher)),
                        Err(error) => Err(error),
                    };
                }
            }
        };
        let Some(patience) = patience else { return waiting.await.map(|()| true) };
        match tokio::time::timeout(patience, waiting).await {
            Ok(result) => result.map(|()| true),
            Err(_) => Ok(false),
        }
    }
}

/// One wait: which generation it is behind. Pure.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    /// `None`: it has not been seen yet.
    behind: Option<i64>,
}

impl Wait {
    /// Takes note of the generation that is closed now, or that none is. True: the one waited behind is over.
    fn is_over(&mut self, closed: Option<i64>) -> bool {
        match closed {
            None => true,
            Some(closed) => *self.behind.get_or_insert(closed) != closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_over_when_another_generation_or_none_is_closed() {
        let mut wait = Wait::default();
        assert!(!wait.is_over(Some(5)));
        assert!(!wait.is_over(Some(5)));
        assert!(wait.is_over(Some(9)));
        assert!(Wait::default().is_over(None));
        assert!(Wait { behind: Some(3) }.is_over(Some(5)));
        assert!(!Wait { behind: Some(3) }.is_over(Some(3)));
    }
}

//! The data of one znode, kept current by a watch.
//!
//! # Guarantees
//! The newest state is published, at the latest after a reconnect: no change is missed permanently. If several changes
//! occur in quick succession, only the newest state is published. The first state is published at once.
//!
//! # Znodes
//! Reads the znode at the given path, which need not exist.
//!
//! # Errors
//! [`DataWatch::run`] returns only errors that a retry cannot solve, such as a missing permission.
//!
//! # Disconnect and session expiry
//! The znode is read and its one-shot watch is set again over every connection, in the same or a new session. While
//! there is no connection, the last state remains.
//!
//! # Cancel safety
//! Dropping the future ends the watch. Receivers keep the last state.
//!
//! # Bugs of other implementations
//! kazoo 29, 151, 209, 472: watches do not fire after a lost connection. The persistent watches of zookeeper-client,
//! which are lost at a reconnect, are not used.
//!
//! Example: `cargo run -p atalaya-recipes --example data_watch -- 127.0.0.1:2181`.
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) {
//! use atalaya_recipes::DataWatch;
//!
//! let watch = DataWatch::new(session, "/config/sampling_period");
//! let mut newest = watch.subscribe();
//! tokio::spawn(watch.run());
//! while newest.changed().await.is_ok() {
//!     let state = newest.borrow_and_update().clone();
//!     println!("{state:?}");
//! }
//! # }
//! ```

use std::time::Duration;

use tokio::sync::watch;
use zookeeper_client::Stat;

use crate::retry::Attempts;
use crate::{Connection, Error, Session};

/// State of a watched znode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WatchedData {
    /// The znode has not been read yet.
    #[default]
    Unknown,
    /// The znode does not exist.
    Missing,
    /// Data and stat of the znode.
    Present(Vec<u8>, Stat),
}

/// Watches one znode. See the [module documentation](self).
#[derive(Debug)]
pub struct DataWatch {
    session: Session,
    path: String,
    newest: watch::Sender<WatchedData>,
}

impl DataWatch {
    /// Creates a watch of the znode at `path`. Nothing happens before [`DataWatch::run`].
    pub fn new(session: Session, path: impl Into<String>) -> DataWatch {
        DataWatch { session, path: path.into(), newest: watch::Sender::default() }
    }

    /// Returns a receiver of the state, which is notified when the state changes.
    pub fn subscribe(&self) -> watch::Receiver<WatchedData> {
        self.newest.subscribe()
    }

    /// Watches until an error occurs that a retry cannot solve.
    pub async fn run(self) -> Error {
        let mut attempts = Attempts::new(&self.session, Duration::MAX, "watch", &self.path);
        loop {
            if let Err(error) = attempts.retry(|connection| self.watch_over(connection)).await {
                return error;
            }
        }
    }

    /// Reads the znode once and waits until it changes.
    async fn watch_over(&self, connection: Connection) -> Result<(), Error> {
        let (found, watcher) = connection.get_opt_and_watch(&self.path).await?;
        let state = found.map_or(WatchedData::Missing, |(data, stat)| WatchedData::Present(data, stat));
        if *self.newest.borrow() != state {
            self.newest.send_replace(state);
        }
        connection.watch_event(watcher).await;
        Ok(())
    }
}

//! One znode, its data and whether it exists, kept current by a watch.
//!
//! # What it promises
//! The newest state is told, at the latest when the connection is there again: what was changed is never missed for good.
//! Changes that come faster than they can be told are told as one, the newest. The first state is told at once.
//!
//! # Znodes
//! Reads the one at its path, which need not exist.
//!
//! # Errors
//! [`DataWatch::run`] ends only with what ZooKeeper refuses for good (no permission, say).
//!
//! # Behaviour on disconnect and on expiry
//! One-shot watches are set anew at every connection, in whichever session, and the znode is read then. While there is
//! no connection the last state stands.
//!
//! # Cancellation safety
//! Dropping the future ends the watching; whoever subscribed keeps the last state.
//!
//! # Answers to
//! kazoo 29, 151, 209, 472: watches that are silent after a lost connection. zookeeper-client's persistent watches, which
//! die at a reconnect, are not used.
//!
//! Try it: `cargo run -p atalaya-recipes --example data_watch -- 127.0.0.1:2181`.
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) {
//! use atalaya_recipes::DataWatch;
//!
//! let watch = DataWatch::new(session, "/config/sampling_period");
//! let mut newest = watch.subscribe();
//! tokio::spawn(watch.run());
//! while newest.changed().await.is_ok() {
//!     let now = newest.borrow_and_update().clone();
//!     println!("{now:?}");
//! }
//! # }
//! ```

use tokio::sync::watch;
use zookeeper_client::Stat;

use crate::retry::Attempts;
use crate::{Connection, Error, Session};

/// What a znode was seen to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Watched {
    /// It has not been looked at yet.
    #[default]
    Unseen,
    /// It does not exist.
    Missing,
    /// Its data and stat.
    There(Vec<u8>, Stat),
}

/// Watches one znode.
#[derive(Debug)]
pub struct DataWatch {
    session: Session,
    path: String,
    newest: watch::Sender<Watched>,
}

impl DataWatch {
    /// One for the znode at `path`; nothing happens before [`DataWatch::run`].
    pub fn new(session: Session, path: impl Into<String>) -> DataWatch {
        DataWatch { session, path: path.into(), newest: watch::Sender::default() }
    }

    /// To be told of every state that is another than the one before.
    pub fn subscribe(&self) -> watch::Receiver<Watched> {
        self.newest.subscribe()
    }

    /// Watches, until it is refused.
    pub async fn run(self) -> Error {
        let mut attempts = Attempts::until(&self.session, None, "watch", &self.path);
        loop {
            let result = match attempts.connection().await {
                Ok(connection) => self.watch_over(&connection).await,
                Err(error) => Err(error),
            };
            let Err(error) = result else { continue };
            if let Err(error) = attempts.failed(error).await {
                return error;
            }
        }
    }

    /// Looks once, and waits for a change.
    async fn watch_over(&self, connection: &Connection) -> Result<(), Error> {
        let (seen, watcher) = match connection.get_and_watch(&self.path).await {
            Ok((data, stat, watcher)) => (Watched::There(data, stat), watcher),
            Err(error) if error.is_no_node() => {
                let (stat, watcher) = connection.stat_and_watch(&self.path).await?;
                if stat.is_some() {
                    return Ok(());
                }
                (Watched::Missing, watcher)
            }
            Err(error) => return Err(error),
        };
        self.newest.send_if_modified(|newest| {
            let news = *newest != seen;
            *newest = seen;
            news
        });
        connection.watch_event(watcher).await;
        Ok(())
    }
}

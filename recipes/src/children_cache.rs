//! The children of a znode with their data, kept current.
//!
//! # What it promises
//! The newest state of every child is told, at the latest when the connection is there again. Changes that come fast are
//! told as one.
//!
//! # Znodes
//! Reads the one at its path and its children; one that does not exist has no children, and is waited for. There is one
//! watch for each child and one for the list, and no more than [`ChildrenCache::with_limit`] children are kept.
//!
//! # Errors
//! [`CacheError`]: more children than the limit, or what ZooKeeper refuses for good.
//!
//! # Behaviour on disconnect and on expiry
//! Everything is read anew at each connection, and told if it is not as before. While there is no connection the last
//! state stands.
//!
//! # Cancellation safety
//! Dropping the future ends the watching; whoever subscribed keeps the last state.
//!
//! # Answers to
//! Curator's `PathChildrenCache` and Kazoo's `TreeCache`, without persistent watches, which zookeeper-client loses at a
//! reconnect.
//!
//! Try it: `cargo run -p atalaya-recipes --example children_cache -- 127.0.0.1:2181`.
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) {
//! use atalaya_recipes::ChildrenCache;
//!
//! let cache = ChildrenCache::new(session, "/mediciones");
//! let mut newest = cache.subscribe();
//! tokio::spawn(cache.run());
//! while newest.changed().await.is_ok() {
//!     println!("{} children", newest.borrow_and_update().len());
//! }
//! # }
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use zookeeper_client::Stat;

use crate::retry::Attempts;
use crate::{Connection, Error, Session};

/// A child's data and stat.
pub type Child = (Vec<u8>, Stat);
/// The children by name.
pub type Children = Arc<BTreeMap<String, Child>>;

/// How many children are kept, unless it is told otherwise.
const LIMIT: usize = 10_000;

/// Why the cache cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// There are more children than may be kept.
    #[error("{path} has {found} children; no more than {limit} are kept")]
    TooMany {
        /// The parent.
        path: String,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// ZooKeeper refuses.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Keeps the children of one znode.
#[derive(Debug)]
pub struct ChildrenCache {
    session: Session,
    path: String,
    limit: usize,
    newest: watch::Sender<Children>,
}

/// What a watch told.
enum Stir {
    List,
    Child(String),
}

/// Those that wait to be stirred.
type Watches = FuturesUnordered<BoxFuture<'static, Stir>>;

impl ChildrenCache {
    /// One for the children of `path`; nothing happens before [`ChildrenCache::run`].
    pub fn new(session: Session, path: impl Into<String>) -> ChildrenCache {
        ChildrenCache { session, path: path.into(), limit: LIMIT, newest: watch::Sender::default() }
    }

    /// How many children are kept at the most.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> ChildrenCache {
        self.limit = limit;
        self
    }

    /// To be told of every state that is another than the one before; it is empty before the first.
    pub fn subscribe(&self) -> watch::Receiver<Children> {
        self.newest.subscribe()
    }

    /// Keeps them, until that is refused.
    pub async fn run(self) -> CacheError {
        let mut attempts = Attempts::until(&self.session, None, "watch", &self.path);
        loop {
            let result = match attempts.connection().await {
                Ok(connection) => tokio::select! {
                    biased;
                    () = connection.lost() => continue,
                    result = self.keep(&connection) => result,
                },
                Err(error) => Err(error.into()),
            };
            match result {
                Ok(()) => {}
                Err(CacheError::Failed(error)) => {
                    if let Err(error) = attempts.failed(error).await {
                        return error.into();
                    }
                }
                Err(error) => return error,
            }
        }
    }

    /// Keeps them over one connection, until the parent is gone.
    async fn keep(&self, connection: &Connection) -> Result<(), CacheError> {
        let mut children = BTreeMap::new();
        // Not tasks: those end when the runtime does, and there would be nothing to wait for.
        let mut watches: Watches = FuturesUnordered::new();
        let mut stir = Stir::List;
        loop {
            match stir {
                Stir::List => {
                    let (names, watcher) = match connection.children_and_watch(&self.path).await {
                        Err(error) if error.is_no_node() => return self.until_there(connection).await,
                        result => result?,
                    };
                    if names.len() > self.limit {
                        let (path, limit) = (self.path.clone(), self.limit);
                        return Err(CacheError::TooMany { path, found: names.len(), limit });
                    }
                    watches.push(watcher.changed().map(|_| Stir::List).boxed());
                    for name in names {
                        if !children.contains_key(&name) {
                            self.read(connection, name, &mut children, &mut watches).await?;
                        }
                    }
                }
                Stir::Child(name) => self.read(connection, name, &mut children, &mut watches).await?,
            }
            // What is stirred already is read before anything is told.
            let stirred = match watches.next().now_or_never() {
                Some(stirred) => stirred,
                None => {
                    self.tell(&children);
                    watches.next().await
                }
            };
            // The list is always watched.
            stir = stirred.unwrap_or(Stir::List);
        }
    }

    /// Reads one child, and watches it.
    async fn read(
        &self,
        connection: &Connection,
        name: String,
        children: &mut BTreeMap<String, Child>,
        watches: &mut Watches,
    ) -> Result<(), Error> {
        match connection.get_and_watch(&format!("{}/{name}", self.path)).await {
            Ok((data, stat, watcher)) => {
                children.insert(name.clone(), (data, stat));
                watches.push(watcher.changed().map(|_| Stir::Child(name)).boxed());
            }
            // One that is made again is in a list again.
            Err(error) if error.is_no_node() => drop(children.remove(&name)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn until_there(&self, connection: &Connection) -> Result<(), CacheError> {
        let (stat, watcher) = connection.stat_and_watch(&self.path).await?;
        if stat.is_none() {
            self.tell(&BTreeMap::new());
            watcher.changed().await;
        }
        Ok(())
    }

    fn tell(&self, children: &BTreeMap<String, Child>) {
        self.newest.send_if_modified(|newest| {
            let news = **newest != *children;
            if news {
                *newest = Arc::new(children.clone());
            }
            news
        });
    }
}

//! The children of a znode and their data, kept current by watches.
//!
//! # Guarantees
//! The newest state of every child is published, at the latest after a reconnect. If several changes occur in quick
//! succession, only the newest state is published.
//!
//! # Znodes
//! Reads the znode at the given path and its children. A znode that does not exist has no children, and its creation is
//! awaited. There is one watch for each child and one for the list. At most [`ChildrenCache::with_limit`] children are
//! kept.
//!
//! # Errors
//! [`CacheError`]: there are more children than the limit, or ZooKeeper refused a request and a retry cannot solve
//! that.
//!
//! # Disconnect and session expiry
//! Everything is read again over each connection, and published if it has changed. While there is no connection, the
//! last state remains.
//!
//! # Cancel safety
//! Dropping the future ends the watches. Receivers keep the last state.
//!
//! # Differences from other clients
//! Like Curator's `PathChildrenCache` and Kazoo's `TreeCache`, but without persistent watches, which zookeeper-client
//! loses at a reconnect.
//!
//! Example: `cargo run -p atalaya-recipes --example children_cache -- 127.0.0.1:2181`.
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
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use zookeeper_client::Stat;

use crate::retry::Attempts;
use crate::{Connection, Error, Session};

/// Data and stat of a child.
pub type Child = (Vec<u8>, Stat);
/// Children by name.
pub type Children = Arc<BTreeMap<String, Child>>;

/// Default maximum number of children.
const DEFAULT_LIMIT: usize = 10_000;

/// Error that ends a [`ChildrenCache`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// There are more children than the limit.
    #[error("{path} has {found} children; the limit is {limit}")]
    TooMany {
        /// Path of the parent.
        path: String,
        /// Number of children.
        found: usize,
        /// Maximum number of children.
        limit: usize,
    },
    /// ZooKeeper refused a request.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Keeps the children of one znode. See the [module documentation](self).
#[derive(Debug)]
pub struct ChildrenCache {
    session: Session,
    path: String,
    limit: usize,
    newest: watch::Sender<Children>,
}

/// Watches that each return the name of the changed child, or `None` if the list has changed.
type Watches = FuturesUnordered<BoxFuture<'static, Option<String>>>;

impl ChildrenCache {
    /// Creates a cache of the children of `path`. Nothing happens before [`ChildrenCache::run`].
    pub fn new(session: Session, path: impl Into<String>) -> ChildrenCache {
        ChildrenCache { session, path: path.into(), limit: DEFAULT_LIMIT, newest: watch::Sender::default() }
    }

    /// Sets the maximum number of children. The default is 10,000.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> ChildrenCache {
        self.limit = limit;
        self
    }

    /// Returns a receiver of the children, which is notified when they change. They are empty before the first read.
    pub fn subscribe(&self) -> watch::Receiver<Children> {
        self.newest.subscribe()
    }

    /// Keeps the cache current until an error occurs that a retry cannot solve.
    pub async fn run(self) -> CacheError {
        let mut attempts = Attempts::new(&self.session, Duration::MAX, "watch", &self.path);
        let cache = &self;
        let follow = |connection: Connection| async move {
            tokio::select! {
                biased;
                () = connection.lost() => Ok(None),
                result = cache.follow(&connection) => result,
            }
        };
        loop {
            match attempts.retry(follow).await {
                Ok(None) => {}
                Ok(Some(error)) => return error,
                Err(error) => return error.into(),
            }
        }
    }

    /// Keeps the cache current over one connection, until the parent is created or deleted. Returns an error if there
    /// are too many children.
    async fn follow(&self, connection: &Connection) -> Result<Option<CacheError>, Error> {
        let mut children = BTreeMap::new();
        // Futures instead of tasks: tasks are cancelled when the runtime shuts down, and their results would never
        // come.
        let mut watches: Watches = FuturesUnordered::new();
        let mut change = None;
        loop {
            match change {
                None => {
                    let (names, watcher) = connection.children_opt_and_watch(&self.path).await?;
                    let Some(names) = names else {
                        self.publish(&BTreeMap::new());
                        watcher.changed().await;
                        return Ok(None);
                    };
                    if names.len() > self.limit {
                        let (path, limit) = (self.path.clone(), self.limit);
                        return Ok(Some(CacheError::TooMany { path, found: names.len(), limit }));
                    }
                    watches.push(watcher.changed().map(|_| None).boxed());
                    for name in names {
                        if !children.contains_key(&name) {
                            self.read(connection, name, &mut children, &mut watches).await?;
                        }
                    }
                }
                Some(name) => self.read(connection, name, &mut children, &mut watches).await?,
            }
            // All changes that are reported already are read before anything is published.
            let reported = match watches.next().now_or_never() {
                Some(reported) => reported,
                None => {
                    self.publish(&children);
                    watches.next().await
                }
            };
            // There is always a result, because the list is always watched.
            change = reported.flatten();
        }
    }

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
                watches.push(watcher.changed().map(|_| Some(name)).boxed());
            }
            // If it is created again, the watch of the list reports that.
            Err(error) if error.is_no_node() => drop(children.remove(&name)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn publish(&self, children: &BTreeMap<String, Child>) {
        if **self.newest.borrow() != *children {
            self.newest.send_replace(Arc::new(children.clone()));
        }
    }
}

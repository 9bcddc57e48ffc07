//! The list of a znode's children, kept current by a watch.
//!
//! # Znodes
//! Reads the znode at the given path. A znode that does not exist has no children, and its creation is awaited.
//!
//! # Errors
//! None: a request that is refused is retried with backoff, and each reason is logged once.
//!
//! # Disconnect and session expiry
//! One-shot watches survive a reconnect within a session, but not the end of the session. The list is read again over
//! every new connection. While there is no connection, the last list remains.
//!
//! # Cancel safety
//! Dropping the future ends the watch.
//!
//! Example: `cargo run -p atalaya-recipes --example children_watch -- 127.0.0.1:2181`.

use std::time::Duration;

use tokio::sync::watch;

use crate::Session;
use crate::backoff::Backoff;

/// Delay between a change and the next read of the list, so that several changes need one read: when a fleet starts,
/// its list is not read once per node.
const SETTLE_DELAY: Duration = Duration::from_millis(20);

/// Keeps the list of a znode's children current, like [`follow`], and publishes it on a channel, like
/// [`crate::DataWatch`].
#[derive(Debug)]
pub struct ChildrenWatch {
    session: Session,
    path: String,
    newest: watch::Sender<Vec<String>>,
}

impl ChildrenWatch {
    /// Creates a watch of the children of `path`. Nothing happens before [`ChildrenWatch::run`].
    pub fn new(session: Session, path: impl Into<String>) -> ChildrenWatch {
        ChildrenWatch { session, path: path.into(), newest: watch::Sender::default() }
    }

    /// Returns a receiver of the sorted names, which is notified when they change. The list is empty before the first
    /// read.
    pub fn subscribe(&self) -> watch::Receiver<Vec<String>> {
        self.newest.subscribe()
    }

    /// Watches until the future is dropped.
    pub async fn run(self) {
        let publish = |children| {
            if *self.newest.borrow() != children {
                self.newest.send_replace(children);
            }
        };
        follow(&self.session, &self.path, publish).await;
    }
}

/// Calls `changed` with the sorted names of the children of `path`, now and after each change, until the future is
/// dropped.
pub async fn follow(session: &Session, path: &str, mut changed: impl FnMut(Vec<String>)) {
    let mut backoff = Backoff::default();
    loop {
        let connection = session.connection().await;
        backoff.reconnected();
        let follow = async {
            loop {
                match connection.children_opt_and_watch(path).await {
                    Ok((children, watcher)) => {
                        let mut children = children.unwrap_or_default();
                        children.sort_unstable();
                        changed(children);
                        watcher.changed().await;
                        tokio::time::sleep(SETTLE_DELAY).await;
                        backoff.reset();
                    }
                    Err(error) => backoff.pause(session, &error).await,
                }
            }
        };
        tokio::select! {
            biased;
            () = connection.lost() => {}
            () = follow => {}
        }
    }
}

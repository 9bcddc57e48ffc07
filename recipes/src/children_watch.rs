//! The children of a znode, kept current by a watch.
//!
//! # Znodes
//! Reads the one at its path; one that does not exist has no children, and is waited for.
//!
//! # Behaviour on disconnect and on expiry
//! One-shot watches survive a reconnect within a session, but nothing else does: at every new connection the list is
//! read anew. While there is no connection the last list stands.
//!
//! # Cancellation safety
//! Dropping the future ends the watching.
//!
//! Try it: `cargo run -p atalaya-recipes --example children_watch -- 127.0.0.1:2181`.

use std::time::Duration;

use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::{Connection, Error, Session};

/// After a change, how long to let others gather before the list is read again: a fleet that starts makes one list, not
/// one for each of its nodes.
const SETTLE: Duration = Duration::from_millis(20);

/// Keeps the list of a znode's children: [`follow`] in the shape of [`crate::DataWatch`].
#[derive(Debug)]
pub struct ChildrenWatch {
    session: Session,
    path: String,
    newest: watch::Sender<Vec<String>>,
}

impl ChildrenWatch {
    /// One for the children of `path`; nothing happens before [`ChildrenWatch::run`].
    pub fn new(session: Session, path: impl Into<String>) -> ChildrenWatch {
        ChildrenWatch { session, path: path.into(), newest: watch::Sender::default() }
    }

    /// To be told of every list that is another than the one before, names sorted; it is empty before the first.
    pub fn subscribe(&self) -> watch::Receiver<Vec<String>> {
        self.newest.subscribe()
    }

    /// Watches, for ever.
    pub async fn run(self) {
        let tell = |children| {
            self.newest.send_if_modified(|newest| {
                let news = *newest != children;
                *newest = children;
                news
            });
        };
        follow(&self.session, &self.path, tell).await;
    }
}

/// Hands every new list of the children of `path` to `changed`, names sorted, for ever.
pub async fn follow(session: &Session, path: &str, mut changed: impl FnMut(Vec<String>)) {
    let mut trouble = Backoff::default();
    loop {
        let connection = session.connection().await;
        trouble.reconnected();
        tokio::select! {
            biased;
            () = connection.lost() => {}
            () = follow_link(&connection, path, &mut changed, &mut trouble) => {}
        }
    }
}

async fn follow_link(
    connection: &Connection,
    path: &str,
    changed: &mut impl FnMut(Vec<String>),
    trouble: &mut Backoff,
) {
    loop {
        match follow_once(connection, path, changed).await {
            Ok(()) => trouble.over(),
            Err(error) => trouble.pause(connection.session(), &error).await,
        }
    }
}

/// Reads the list once, and waits for it to change.
async fn follow_once(
    connection: &Connection,
    path: &str,
    changed: &mut impl FnMut(Vec<String>),
) -> Result<(), Error> {
    let watcher = match connection.children_and_watch(path).await {
        Ok((mut children, watcher)) => {
            children.sort_unstable();
            changed(children);
            watcher
        }
        Err(error) if error.is_no_node() => {
            let (stat, watcher) = connection.stat_and_watch(path).await?;
            if stat.is_some() {
                return Ok(());
            }
            changed(Vec::new());
            watcher
        }
        Err(error) => return Err(error),
    };
    watcher.changed().await;
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

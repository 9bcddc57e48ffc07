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

/// Minimum delay between a change and the next read of the list, so that several changes need one read: when a fleet
/// starts, its list is not read once per node.
const SETTLE_DELAY: Duration = Duration::from_millis(20);
/// Further delay for each name: a list of 10,000 names, which takes some 10 ms to read, is read eight times a second at
/// most.
const DELAY_PER_NAME: Duration = Duration::from_micros(10);
/// Maximum delay.
const MAX_DELAY: Duration = Duration::from_secs(1);

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

/// Returns the delay between a change of a list with this number of names and its next read.
fn settle_delay(names: usize) -> Duration {
    let names = u32::try_from(names).unwrap_or(u32::MAX);
    SETTLE_DELAY.saturating_add(DELAY_PER_NAME.saturating_mul(names)).min(MAX_DELAY)
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
                        let delay = settle_delay(children.len());
                        changed(children);
                        watcher.changed().await;
                        tokio::time::sleep(delay).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_read_less_often() {
        let ms = Duration::from_millis;
        assert_eq!([0, 10_000, usize::MAX].map(settle_delay), [ms(20), ms(120), ms(1_000)]);
    }
}

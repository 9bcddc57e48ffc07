//! An observer session without injected faults, which reads the true state of the server.

use std::time::Duration;

use atalaya_recipes::{Connection, Error, Session};
use tokio::time::Instant;

/// Timeout of an observation, far longer than any fault.
const AT_LAST: Duration = Duration::from_secs(30);

/// Reads the true state of the server.
#[derive(Clone)]
pub(crate) struct Observer(pub(crate) Session);

impl Observer {
    /// Returns the children of a path; empty if it does not exist.
    pub(crate) async fn children(&self, place: &str) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let connection = self.synced().await;
            match connection.children(place).await {
                Ok(names) => return names,
                Err(error) if error.is_no_node() => return Vec::new(),
                Err(error) => again(&error, begun).await,
            }
        }
    }

    /// Returns the `czxid` of a znode, if it exists.
    pub(crate) async fn czxid(&self, path: &str) -> Option<i64> {
        let begun = Instant::now();
        loop {
            let connection = self.synced().await;
            match connection.stat(path).await {
                Ok(stat) => return stat.map(|stat| stat.czxid),
                Err(error) => again(&error, begun).await,
            }
        }
    }

    /// Returns the data of a znode, if it exists.
    pub(crate) async fn data(&self, path: &str) -> Option<Vec<u8>> {
        let begun = Instant::now();
        loop {
            let connection = self.synced().await;
            match connection.get(path).await {
                Ok((data, _)) => return Some(data),
                Err(error) if error.is_no_node() => return None,
                Err(error) => again(&error, begun).await,
            }
        }
    }

    /// Waits until a znode does not exist.
    pub(crate) async fn until_deleted(&self, path: &str) {
        let mut begun = Instant::now();
        loop {
            let connection = self.synced().await;
            match connection.stat_and_watch(path).await {
                Ok((None, _)) => return,
                Ok((Some(_), watcher)) => {
                    // Also returns when the connection is lost.
                    connection.watch_event(watcher).await;
                    begun = Instant::now();
                }
                Err(error) => again(&error, begun).await,
            }
        }
    }

    /// Returns a connection after a `sync`, so that it sees all earlier writes.
    async fn synced(&self) -> Connection {
        let begun = Instant::now();
        loop {
            let connection = self.0.connection().await;
            match connection.sync().await {
                Ok(()) => return connection,
                Err(error) => again(&error, begun).await,
            }
        }
    }
}

/// Returns true if the request should be repeated after a connection loss. It first waits for a new connection. A
/// missing reply takes its timeout, so repetitions are not frequent.
async fn again(error: &Error, begun: Instant) {
    assert!(error.is_connection_loss(), "{error}");
    assert!(begun.elapsed() < AT_LAST, "the witness gets no answer: {error}");
    tokio::task::yield_now().await;
}

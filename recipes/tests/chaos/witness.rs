//! Somebody whom nothing is meant for, and who sees what is there for certain.

use std::time::Duration;

use atalaya_recipes::{Connection, Error, Session};
use tokio::time::Instant;

/// Far longer than any fault.
const AT_LAST: Duration = Duration::from_secs(30);

/// Looks at what is there for certain.
#[derive(Clone)]
pub(crate) struct Witness(pub(crate) Session);

impl Witness {
    /// The names of what is below a place that may not exist.
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

    /// When the znode at a path was made, if it is there.
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

    /// What is in the znode at a path, if it is there.
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

    /// A connection over which everything is seen that was written before.
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

/// Whether to try once more: the connection was in the way, and not for ever. A new one is waited for, and an answer that
/// does not come takes its time, so tries come in no hurry.
async fn again(error: &Error, begun: Instant) {
    assert!(error.is_connection_loss(), "{error}");
    assert!(begun.elapsed() < AT_LAST, "the witness gets no answer: {error}");
    tokio::task::yield_now().await;
}

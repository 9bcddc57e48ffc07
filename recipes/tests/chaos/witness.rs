//! Somebody whom nothing is meant for, and who sees what is there for certain.

use std::time::Duration;

use atalaya_recipes::{Error, Link, Session};

/// Looks at what is there for certain.
#[derive(Clone)]
pub(crate) struct Witness(pub(crate) Session);

impl Witness {
    /// The names of what is below a place that may not exist.
    pub(crate) async fn children(&self, place: &str) -> Vec<String> {
        loop {
            let link = self.synced().await;
            match link.children(place).await {
                Ok(names) => return names,
                Err(error) if error.is_no_node() => return Vec::new(),
                Err(error) => again(&error).await,
            }
        }
    }

    /// When the znode at a path was made, if it is there.
    pub(crate) async fn czxid(&self, path: &str) -> Option<i64> {
        loop {
            let link = self.synced().await;
            match link.stat(path).await {
                Ok(stat) => return stat.map(|stat| stat.czxid),
                Err(error) => again(&error).await,
            }
        }
    }

    /// What is in the znode at a path, if it is there.
    pub(crate) async fn data(&self, path: &str) -> Option<Vec<u8>> {
        loop {
            let link = self.synced().await;
            match link.get(path).await {
                Ok((data, _)) => return Some(data),
                Err(error) if error.is_no_node() => return None,
                Err(error) => again(&error).await,
            }
        }
    }

    /// A connection over which everything is seen that was written before.
    async fn synced(&self) -> Link {
        loop {
            let link = self.0.link().await;
            match link.sync().await {
                Ok(()) => return link,
                Err(error) => again(&error).await,
            }
        }
    }
}

/// A moment before the next try.
async fn again(error: &Error) {
    assert!(error.is_link_trouble(), "{error}");
    tokio::time::sleep(Duration::from_millis(5)).await;
}

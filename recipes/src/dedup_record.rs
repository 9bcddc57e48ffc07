//! Markers: one persistent znode each, beside what a recipe writes and written in the same `multi`, that tells which
//! writing of its owner was the newest to take effect. Used where Kazoo's layout has no room to tell.
//!
//! A marker is persistent, so that it outlives a session that ends between a lost reply and the look at it.

use std::time::Duration;

use tracing::debug;
use uuid::Uuid;

use crate::cleanup::Cleanup;
use crate::session::{BulkRead, CreateMode};
use crate::{Connection, Error, Session};

/// A marker that was not written for so long is removed by whoever makes another. Whoever misses its marker while an
/// outcome is open says so: this is about tidiness, and about nobody's outcome.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// How many of them are removed at once, and read in one request.
const SWEEP: usize = 128;

/// What a marker tells about the writing with a certain token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is not there.
    Absent,
    /// It is at this version, and tells of another one.
    Other(i32),
    /// It took effect. What was noted with it.
    Ours(String),
}

/// Where one marker is, and whether it was made.
#[derive(Debug)]
pub(crate) struct DedupRecord {
    parent: String,
    znode: Cleanup,
}

impl DedupRecord {
    /// One in a container of this path, not made yet.
    pub(crate) fn within(session: Session, parent: String) -> DedupRecord {
        let path = format!("{parent}/{}", Uuid::new_v4().simple());
        DedupRecord { parent, znode: Cleanup::of(session, path) }
    }

    pub(crate) fn path(&self) -> &str {
        self.znode.path()
    }

    /// Creates it, and removes those that were forgotten.
    pub(crate) async fn make(&mut self, connection: &Connection) -> Result<(), Error> {
        self.znode.arm();
        let path = self.znode.path();
        let made = match connection.create(path, b"", CreateMode::Persistent).await {
            Err(error) if error.is_no_node() => {
                self.contain(connection).await?;
                connection.create(path, b"", CreateMode::Persistent).await?
            }
            // An earlier attempt's, whose reply was lost.
            Err(error) if error.is_node_exists() => return Ok(()),
            result => result?,
        };
        if let Err(error) = self.sweep(connection, made.mtime).await {
            debug!(%error, "could not look for forgotten markers");
        }
        Ok(())
    }

    /// Creates the container, and what is missing above it.
    async fn contain(&self, connection: &Connection) -> Result<(), Error> {
        let made = match connection.create(&self.parent, b"", CreateMode::Container).await {
            Err(error) if error.is_no_node() => {
                connection.ensure(self.parent.rsplit_once('/').map_or("", |(above, _)| above)).await?;
                connection.create(&self.parent, b"", CreateMode::Container).await
            }
            result => result,
        };
        match made {
            Err(error) if !error.is_node_exists() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes markers that were last written long before `now`, by the servers' clock.
    async fn sweep(&self, connection: &Connection, now: i64) -> Result<(), Error> {
        let mut names = connection.children(&self.parent).await?;
        names.truncate(SWEEP);
        let paths: Vec<String> = names.iter().map(|name| format!("{}/{name}", self.parent)).collect();
        for (path, read) in paths.iter().zip(connection.get_many(&paths).await?) {
            let BulkRead::Data(_, stat) = read else { continue };
            let age = Duration::from_millis(u64::try_from(now - stat.mtime).unwrap_or(0));
            if age < FORGOTTEN {
                continue;
            }
            // At its version: one that is written after all stays.
            match connection.delete(path, Some(stat.version)).await {
                Err(error) if error.is_connection_loss() => return Err(error),
                _ => debug!(path, "removed a marker that was forgotten"),
            }
        }
        Ok(())
    }

    /// Removes it, as far as that is possible within a session timeout.
    pub(crate) async fn remove(self) {
        self.znode.now().await;
    }
}

/// What a marker says after the writing with this token.
pub(crate) fn text(token: &str, note: &str) -> String {
    format!("{token} {note}")
}

/// What was read of a marker tells about the writing with this token.
pub(crate) fn told(read: BulkRead, path: &str, token: &str) -> Result<Told, Error> {
    match read {
        BulkRead::Data(data, stat) => {
            let text = String::from_utf8_lossy(&data);
            match text.split_once(' ') {
                Some((whose, note)) if whose == token => Ok(Told::Ours(note.to_owned())),
                _ => Ok(Told::Other(stat.version)),
            }
        }
        BulkRead::Missing(zookeeper_client::Error::NoNode) => Ok(Told::Absent),
        BulkRead::Missing(source) => Err(Error::Refused { operation: "get", path: path.to_owned(), source }),
    }
}

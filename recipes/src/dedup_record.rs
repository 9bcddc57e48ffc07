//! Dedup records: a persistent znode beside the data of a recipe, written in the same `multi`, that identifies the last
//! write that took effect. After a lost response it shows whether the write took effect. Used where Kazoo's layout has
//! no room for this information.
//!
//! A record is persistent, so that it outlives a session that ends between a lost response and the next read of the
//! record.

use std::time::Duration;

use tracing::debug;
use uuid::Uuid;

use crate::cleanup::Cleanup;
use crate::session::{BulkRead, CreateMode};
use crate::{Connection, Error, Session, Stat};

/// Age after which any client that creates a record removes another one, counted from its last write. A client whose
/// record is missing while an outcome is open reports that outcome as unknown, so removal cannot cause a wrong result.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Maximum number of records that are read and removed at once.
const SWEEP: usize = 128;

/// State of a record, with regard to one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordState {
    Missing,
    /// The record is at this version and identifies another write.
    Other(i32),
    /// The record identifies this write, which thus took effect. Contains the note that was stored with it.
    Own(String),
}

#[derive(Debug)]
pub(crate) struct DedupRecord {
    parent: String,
    pub(crate) znode: Cleanup,
}

impl DedupRecord {
    /// Creates the description of a record with a random name in the container `parent`. The znode is created by
    /// [`DedupRecord::create`].
    pub(crate) fn new(session: Session, parent: String) -> DedupRecord {
        let path = format!("{parent}/{}", Uuid::new_v4().simple());
        DedupRecord { parent, znode: Cleanup::new(session, path) }
    }

    /// Creates the znode, and removes the records of other clients that are older than [`MAX_AGE`].
    pub(crate) async fn create(&mut self, connection: &Connection) -> Result<(), Error> {
        self.znode.arm();
        let path = &self.znode.path;
        let created = match connection.create(path, b"", CreateMode::Persistent).await {
            Err(error) if error.is_no_node() => {
                match connection.create_with_parents(&self.parent, b"", CreateMode::Container).await {
                    Err(error) if !error.is_node_exists() => return Err(error),
                    _ => {}
                }
                connection.create(path, b"", CreateMode::Persistent).await?
            }
            // Created by an earlier attempt whose response was lost.
            Err(error) if error.is_node_exists() => return Ok(()),
            result => result?,
        };
        if let Err(error) = self.sweep(connection, created.mtime).await {
            debug!(%error, "cannot look for old dedup records");
        }
        Ok(())
    }

    /// Removes records that are older than [`MAX_AGE`] at `now`, both by the servers' clock, in milliseconds.
    async fn sweep(&self, connection: &Connection, now: i64) -> Result<(), Error> {
        let mut names = connection.children(&self.parent).await?;
        names.truncate(SWEEP);
        let paths: Vec<String> = names.iter().map(|name| format!("{}/{name}", self.parent)).collect();
        for (path, read) in paths.iter().zip(connection.get_many(&paths).await?) {
            let BulkRead::Data(_, stat) = read else { continue };
            let age = Duration::from_millis(u64::try_from(now - stat.mtime).unwrap_or(0));
            if age < MAX_AGE {
                continue;
            }
            // The version protects a record that is written at this moment.
            match connection.delete(path, Some(stat.version)).await {
                Err(error) if error.is_connection_loss() => return Err(error),
                _ => debug!(path, "removed an old dedup record"),
            }
        }
        Ok(())
    }
}

/// Returns the data of a record after the write with this token.
pub(crate) fn encode(token: &str, note: &str) -> String {
    format!("{token} {note}")
}

/// Returns the state of a record, as it was read, with regard to the write with this token.
pub(crate) fn decode(found: Option<(Vec<u8>, Stat)>, token: &str) -> RecordState {
    let Some((data, stat)) = found else { return RecordState::Missing };
    match String::from_utf8_lossy(&data).split_once(' ') {
        Some((last, note)) if last == token => RecordState::Own(note.to_owned()),
        _ => RecordState::Other(stat.version),
    }
}

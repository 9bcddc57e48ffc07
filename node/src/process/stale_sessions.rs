//! Clears up after a process that is dead: deletes what its sessions still own. Any client may delete another session's
//! ephemeral znode; that the process is dead is for the caller to know, by the [`Lock`].
//!
//! A znode is deleted only if it belongs to one of the process's own sessions and has not changed since that was seen. All
//! go in one `multi`, and the election znode, whose name is nobody else's, is among them: if the session should end of
//! itself meanwhile, and somebody make a znode of the same path, the election znode is gone, and so nothing is deleted. What
//! the process had sent when it was killed, and ZooKeeper takes only afterwards, is not found: it goes with the session.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atalaya_recipes::connect_string::ConnectStringError;
use atalaya_recipes::session::{BulkRead, Write};
use atalaya_recipes::{Connection, Error, Session, SessionOptions};
use tracing::debug;

use crate::model::node_id::NodeId;
use crate::process::state_dir::folder::is_of;
use crate::process::state_dir::{Found, Holder, Lock, ProcessRecord, Purpose, Record, lock_of, read, write};

/// How often znodes are looked at that change while they are being deleted: what the dead one sent last.
const TRIES: usize = 5;
/// Between two tries over a connection that has just been lost.
const PAUSE: Duration = Duration::from_millis(50);
/// The session that deletes; it lives for moments.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long its end may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// What was found of a node that may be dead.
#[derive(Debug, PartialEq, Eq)]
pub enum Reaped {
    /// It is not: a process has its lock.
    Running(Holder),
    /// These znodes were deleted; none, if nothing was left.
    Removed(Vec<String>),
}

/// Why a node could not be reaped.
#[derive(Debug, thiserror::Error)]
pub enum ReapError {
    /// Its files.
    #[error("{}: {source}", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// What it wrote down of ZooKeeper.
    #[error(transparent)]
    Address(#[from] ConnectStringError),
    /// ZooKeeper refuses.
    #[error(transparent)]
    ZooKeeper(#[from] Error),
}

/// Deletes what a dead process's sessions own, and tells what that was.
///
/// # Errors
/// As [`Connection::multi`]. With an unknown outcome: do it again.
pub async fn clear(connection: &Connection, life: &ProcessRecord) -> Result<Vec<String>, Error> {
    // This server may not have seen yet what the dead one made over another.
    connection.sync().await?;
    for attempt in 1.. {
        let found = find(connection, life).await?;
        let left = life.left(&found);
        let paths = || left.iter().map(|znode| znode.path.clone()).collect();
        if left.is_empty() {
            return Ok(Vec::new());
        }
        let delete = |znode: &&Found| (znode.path.clone(), znode.version);
        let deletes: Vec<(String, i32)> = left.iter().map(delete).collect();
        let writes: Vec<Write<'_>> =
            deletes.iter().map(|(path, version)| Write::Delete { path, version: Some(*version) }).collect();
        match connection.multi(&writes).await {
            Ok(_) => return Ok(paths()),
            Err(refusal) if refusal.error.is_no_node() || refusal.error.is_bad_version() => {
                if attempt >= TRIES {
                    return Err(refusal.error);
                }
                debug!(error = %refusal, "it changes while it is being deleted; looking again");
            }
            Err(refusal) => return Err(refusal.error),
        }
    }
    Ok(Vec::new())
}

/// What stands where the process may have made something.
async fn find(connection: &Connection, life: &ProcessRecord) -> Result<Vec<Found>, Error> {
    let children = match connection.children(&life.election).await {
        Err(error) if error.is_no_node() => Vec::new(),
        children => children?,
    };
    let contenders = life.contenders(&children).into_iter().map(|name| format!("{}/{name}", life.election));
    let paths: Vec<String> = life.znodes.iter().cloned().chain(contenders).collect();
    let answers = connection.get_many(&paths).await?;
    let found = paths.into_iter().zip(answers).filter_map(|(path, answer)| match answer {
        BulkRead::Data(_, stat) => Some(Found { path, owner: stat.ephemeral_owner, version: stat.version }),
        BulkRead::Missing(_) => None,
    });
    Ok(found.collect())
}

/// Clears up after each of `lives`, over one connection after the other, and says of each what was deleted. Waits for
/// ZooKeeper for ever. Cancellation safe: what is deleted is deleted.
///
/// # Errors
/// ZooKeeper refuses.
pub async fn clear_all(
    session: &Session,
    lives: &[ProcessRecord],
    mut cleared: impl FnMut(&ProcessRecord, Vec<String>),
) -> Result<(), Error> {
    for life in lives {
        loop {
            let connection = session.connection().await;
            match clear(&connection, life).await {
                Ok(removed) => {
                    cleared(life, removed);
                    break;
                }
                Err(error) if error.is_connection_loss() => {
                    debug!(%error, "not cleared yet");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// The records in `folder`: those of the node `id`, or all; with what is wrong with those that cannot be read.
///
/// # Errors
/// The folder cannot be read. That it does not exist is none.
pub fn records(folder: &Path, id: Option<&NodeId>) -> io::Result<Vec<(PathBuf, io::Result<Record>)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut records = Vec::new();
    for entry in entries {
        let file = entry?.path();
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_meant = id.map_or(stem.starts_with("node-"), |id| is_of(stem, id.as_str()));
        if !is_meant || file.extension().is_none_or(|end| end != "json") {
            continue;
        }
        match read(&file) {
            Ok(None) => {}
            Ok(Some(record)) if id.is_some_and(|id| id.as_str() != record.node) => {}
            Ok(Some(record)) => records.push((file, Ok(record))),
            Err(error) => records.push((file, Err(error))),
        }
    }
    records.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(records)
}

/// Clears up after the node whose record is `file`, if its process is dead. Waits for ZooKeeper for ever; dropping it is
/// giving up.
///
/// # Errors
/// The record makes no sense, or ZooKeeper refuses.
pub async fn reap(file: &Path) -> Result<Reaped, ReapError> {
    // The lock is not held while connecting, which may take for ever: whoever is to be this node again would wait.
    let record = match look(file)? {
        Look::Running(holder) => return Ok(Reaped::Running(holder)),
        Look::Dead(_, record) if record.lives.iter().all(|life| life.sessions.is_empty()) => {
            return Ok(Reaped::Removed(Vec::new()));
        }
        Look::Dead(_, record) => record,
    };
    let servers = record.zookeeper.parse()?;
    let session = Session::start(SessionOptions { servers, timeout: SESSION_TIMEOUT });
    session.connection().await;
    let outcome = reap_over(&session, file).await;
    session.close(FAREWELL).await;
    outcome
}

async fn reap_over(session: &Session, file: &Path) -> Result<Reaped, ReapError> {
    let (_lock, mut record) = match look(file)? {
        Look::Running(holder) => return Ok(Reaped::Running(holder)),
        Look::Dead(lock, record) => (lock, record),
    };
    let mut removed = Vec::new();
    let mut cleared = Vec::new();
    let outcome = clear_all(session, &record.lives, |life, znodes| {
        removed.extend(znodes);
        cleared.push(life.contender.clone());
    });
    let outcome = outcome.await;
    for contender in &cleared {
        record.forget(contender);
    }
    // What stands there still is looked for in vain the next time, and that is all.
    if let Err(error) = write(file, &record) {
        debug!("{} cannot be written: {error}", file.display());
    }
    outcome?;
    Ok(Reaped::Removed(removed))
}

enum Look {
    Running(Holder),
    Dead(Lock, Record),
}

/// Takes the lock, which proves the process dead, and reads what it wrote down.
fn look(file: &Path) -> Result<Look, ReapError> {
    let problem = |source| ReapError::File { file: file.to_owned(), source };
    let no_lock = |source| ReapError::File { file: lock_of(file), source };
    match Lock::take(&lock_of(file), Purpose::Reap).map_err(no_lock)? {
        Err(holder) => Ok(Look::Running(holder)),
        Ok(lock) => {
            let record = read(file).map_err(problem)?;
            Ok(Look::Dead(lock, record.unwrap_or_else(|| Record::new("", ""))))
        }
    }
}

//! Cleanup of stale sessions: deletes the znodes that the sessions of a dead process still own. Any client may delete
//! an ephemeral znode of another session. The caller must know that the process is dead; the `Lock` proves it.
//!
//! A znode is deleted only if it belongs to a session of the process and has not changed since that was read. All are
//! deleted in one `multi`, which includes the election znode, whose name no other process uses. If the session
//! expires at the same time and another process creates a znode with the same path, the election znode is gone too,
//! so the `multi` fails and deletes nothing. A request that the process sent before it was killed, and that ZooKeeper
//! handles later, is not seen: its znode is deleted with the session.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atalaya_recipes::connect_string::ConnectStringError;
use atalaya_recipes::session::{BulkRead, Write};
use atalaya_recipes::{ConnectError, Connection, Error, Session};
use futures_util::TryStreamExt as _;
use tracing::{debug, info, warn};

use crate::model::fleet_paths::STANDBY_PATH;
use crate::model::node_id::NodeId;
use crate::model::task::paths;
use crate::process::state_dir::location::is_file_stem_of;
use crate::process::state_dir::{
    Found, Holder, Lock, NodeRecord, OwnProcess, ProcessRecord, Purpose, lock_file, read, write,
};
use crate::settings::zookeeper_access::ZooKeeperAccess;
use crate::zk::bulk_read;

/// Maximum number of tries if znodes change before they are deleted, by the last requests of the dead process.
const MAX_TRIES: usize = 5;
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of nodes on standby that are searched for a place of the dead process. In a longer line the place stays
/// until its session ends: otherwise the requests of a fleet that restarts would grow with the square of its size.
const MAX_LINE: i32 = 1_000;
/// Timeout of the session that deletes. The session exists only for a moment.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Reason why a node is not cleaned up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanupError {
    /// The node is alive: a process holds its lock.
    #[error("the node is running")]
    Running(Holder),
    /// The state file or the lock file cannot be used.
    #[error("{}: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    /// The connect string in the state file is invalid.
    #[error(transparent)]
    Address(#[from] ConnectStringError),
    /// There is no session, and another attempt cannot succeed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    ZooKeeper(#[from] Error),
}

/// Deletes the znodes that the sessions of a dead process own, and returns their paths.
///
/// # Errors
/// As [`Connection::multi`]. After an unknown outcome, call it again.
pub async fn clean_up(connection: &Connection, process: &ProcessRecord) -> Result<Vec<String>, Error> {
    // The server of this connection may be behind the one that the process used.
    connection.sync().await?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let found = find_znodes(connection, process).await?;
        let owned = process.owned(&found);
        if owned.is_empty() {
            return Ok(Vec::new());
        }
        let writes: Vec<Write<'_>> = owned
            .iter()
            .map(|znode| Write::Delete { path: &znode.path, version: Some(znode.version) })
            .collect();
        match connection.multi(&writes).await {
            Ok(_) => return Ok(owned.iter().map(|znode| znode.path.clone()).collect()),
            Err(refusal)
                if attempt < MAX_TRIES && (refusal.error.is_no_node() || refusal.error.is_bad_version()) =>
            {
                debug!(error = %refusal, "znodes changed before they were deleted; reading them again");
            }
            Err(refusal) => return Err(refusal.error),
        }
    }
}

/// Returns the existing znodes at the paths that the process may have created.
async fn find_znodes(connection: &Connection, process: &ProcessRecord) -> Result<Vec<Found>, Error> {
    let children = connection.children_or_empty(&process.election).await?;
    let contenders =
        process.contenders(&children).into_iter().map(|name| format!("{}/{name}", process.election));
    let places = find_places(connection).await?;
    let claims = find_claims(connection, process).await?;
    let znodes = process.znodes.iter().cloned();
    let paths: Vec<String> = znodes.chain(contenders).chain(places).chain(claims).collect();
    // Other clients can store any data in some of them.
    let batches = bulk_read::plan(paths.iter().map(|path| (path.len(), bulk_read::UNKNOWN_SIZE)));
    let batches = batches.into_iter().map(|range| paths[range].to_vec()).collect();
    let stat = |answer: BulkRead| answer.stat().map(|stat| (stat.ephemeral_owner, stat.version));
    let stats: Vec<Vec<_>> = bulk_read::read_batches(connection, batches, &stat).try_collect().await?;
    let found = paths.into_iter().zip(stats.into_iter().flatten());
    Ok(found.filter_map(|(path, stat)| stat.map(|(owner, version)| Found { path, owner, version })).collect())
}

/// Returns the paths of all nodes on standby: the name of a place does not show whose it is.
async fn find_places(connection: &Connection) -> Result<Vec<String>, Error> {
    let length = connection.stat(STANDBY_PATH).await?.map_or(0, |stat| stat.num_children);
    if length == 0 || length > MAX_LINE {
        return Ok(Vec::new());
    }
    let names = connection.children_or_empty(STANDBY_PATH).await?;
    Ok(names.into_iter().map(|name| format!("{STANDBY_PATH}/{name}")).collect())
}

/// Returns the paths of the claims of tasks that the process may have created, after its commands have ended. A claim whose
/// command cannot be killed stays until the session ends.
async fn find_claims(connection: &Connection, process: &ProcessRecord) -> Result<Vec<String>, Error> {
    let alive = process.znodes.iter().find_map(|path| path.strip_prefix(paths::ALIVE)?.strip_prefix('/'));
    let Some(node) = alive else { return Ok(Vec::new()) };
    let names = connection.children_or_empty(paths::CLAIM).await?;
    let is_own = |name: &&String| paths::parse_task_and_node(name).is_some_and(|(_, found)| found == node);
    let own: Vec<String> =
        names.iter().filter(is_own).map(|name| format!("{}/{name}", paths::CLAIM)).collect();
    #[cfg(unix)]
    if !own.is_empty() && !crate::process::executions::end_all(process).await {
        warn!(
            process = process.process,
            "a command of a task cannot be killed; the task waits for the end of the session"
        );
        return Ok(Vec::new());
    }
    Ok(own)
}

/// Cleans up after each of `processes` and calls `on_removed` with the paths of the deleted znodes. Retries over new
/// connections; waits for ZooKeeper without a limit. Can be cancelled at any time: deleted znodes stay deleted.
///
/// # Errors
/// ZooKeeper rejected a request.
pub async fn clean_up_all(
    session: &Session,
    processes: &[ProcessRecord],
    mut on_removed: impl FnMut(&ProcessRecord, Vec<String>),
) -> Result<(), Error> {
    for process in processes {
        loop {
            let connection = session.connection().await;
            match clean_up(&connection, process).await {
                Ok(removed) => {
                    on_removed(process, removed);
                    break;
                }
                Err(error) if error.is_connection_loss() => {
                    debug!(%error, "cleanup interrupted; trying again");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Deletes the znodes of earlier processes with the id of this one. They are dead, because this process holds their lock.
pub(crate) async fn clean_up_earlier_processes(session: &Session, own: &OwnProcess) {
    let dead = own.earlier_processes();
    let cleaned_up = clean_up_all(session, &dead, |process, deleted| {
        own.remove_earlier(process);
        if !deleted.is_empty() {
            let znodes = deleted.join(", ");
            info!(process = process.process, znodes, "deleted the znodes of a dead process with this id");
        }
    });
    if let Err(error) = cleaned_up.await {
        warn!(%error, "cannot delete the znodes of a dead process with this id; they stay until its session times out");
    }
}

/// Reads the state files in `dir`: those of the node `id`, or all. An unreadable file is returned with its error.
///
/// # Errors
/// The directory exists but cannot be read.
pub(crate) fn find_records(
    dir: &Path,
    id: Option<&NodeId>,
) -> io::Result<Vec<(PathBuf, io::Result<NodeRecord>)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut records = Vec::new();
    for entry in entries {
        let file = entry?.path();
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_wanted = id.map_or(stem.starts_with("node-"), |id| is_file_stem_of(stem, id.as_str()));
        if !is_wanted || file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        // Different ids can have similar file names; the record has the id itself.
        let is_other = |record: &NodeRecord| id.is_some_and(|id| id.as_str() != record.node);
        let record = read(&file).transpose();
        records.extend(
            record.filter(|record| !record.as_ref().is_ok_and(is_other)).map(|record| (file, record)),
        );
    }
    records.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(records)
}

/// Cleans up after the node with this state file, if its process is dead. Returns the paths of the deleted znodes.
/// Waits for ZooKeeper without a limit, unless another attempt cannot succeed; drop the future to give up.
pub(crate) async fn clean_up_node(
    file: &Path,
    access: &ZooKeeperAccess,
) -> Result<Vec<String>, CleanupError> {
    let (lock, record) = check_process(file)?;
    // Connecting may take long, and a new process of this node must not wait for it.
    drop(lock);
    if record.processes.iter().all(|process| process.sessions.is_empty()) {
        return Ok(Vec::new());
    }
    let servers = record.zookeeper.parse()?;
    let session = Session::start(access.options(servers, SESSION_TIMEOUT));
    session.try_connection().await?;
    let outcome = clean_up_over(&session, file).await;
    session.close(CLOSE_TIMEOUT).await;
    outcome
}

async fn clean_up_over(session: &Session, file: &Path) -> Result<Vec<String>, CleanupError> {
    let (_lock, mut record) = check_process(file)?;
    let mut removed = Vec::new();
    let outcome = clean_up_all(session, &record.processes.clone(), |process, znodes| {
        removed.extend(znodes);
        record.remove_process(&process.contender);
    })
    .await;
    // If this fails, the next cleanup looks for znodes that no longer exist. That is harmless.
    if let Err(error) = write(file, &record) {
        debug!("{} cannot be written: {error}", file.display());
    }
    outcome?;
    Ok(removed)
}

/// Tries to acquire the node's lock, which proves that its process is dead, and reads the state file.
fn check_process(file: &Path) -> Result<(Lock, NodeRecord), CleanupError> {
    let file_error = |source| CleanupError::File { file: file.to_owned(), source };
    let lock_error = |source| CleanupError::File { file: lock_file(file), source };
    let lock = Lock::try_acquire(&lock_file(file), Purpose::CleanUp).map_err(lock_error)?;
    let lock = lock.map_err(CleanupError::Running)?;
    let record = read(file).map_err(file_error)?;
    Ok((lock, record.unwrap_or_else(|| NodeRecord::new("", ""))))
}

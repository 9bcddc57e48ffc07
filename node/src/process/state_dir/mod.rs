//! The state file of a node. It lists the process's sessions and the ephemeral znodes that the process creates in
//! them, so that these znodes can be deleted after a kill before the session times out.
//!
//! Each node has two files in the state directory. `….lock` is never replaced; the process holds the
//! `Lock` on it as long as it runs. `….json` is the `NodeRecord`; only the holder of the lock writes it, and
//! always replaces it as a whole. A session is recorded before a znode is created in it, so the record is complete at
//! any moment of a kill. The file is not synced to the disk: after a power failure the boot takes longer than a
//! session timeout, so the record is no longer useful. If the record is missing or invalid, the znodes of a killed
//! process stay until its session times out.
//!
//! [`stale_sessions`](super::stale_sessions) does the cleanup. It is used by `atalaya reap`, by a supervising parent,
//! and by the next start of the node.

mod files;
pub(in crate::process) mod location;
mod lock;
mod own_process;
mod record;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::metrics;

pub(crate) use location::{StateDir, file_stem};
pub(crate) use lock::{Holder, Lock, Purpose};
pub(crate) use own_process::{OwnProcess, start_session};
pub use record::ProcessRecord;
pub(crate) use record::{Found, NodeRecord};

/// The state file of the node that this process runs. Clones share it.
#[derive(Clone, Debug)]
pub struct StateFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: PathBuf,
    _lock: Lock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    record: NodeRecord,
    failing: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another process of this machine runs the node, or a cleanup of the node takes too long.
    #[error("another process has the lock")]
    Held(Holder),
    /// The files cannot be created or locked.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Time for which the lock is tried: its holder may be about to write that it only cleans up.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

impl StateFile {
    /// Acquires the lock of the node `id` and reads the records of earlier processes. `stem` is the [file_stem] of
    /// its files. Waits for a cleanup in progress. Blocks.
    pub(crate) fn open(dir: &Path, stem: &str, id: &str, zookeeper: &str) -> Result<StateFile, OpenError> {
        create_dir(dir)?;
        let file = dir.join(format!("{stem}.json"));
        let lock_was_missing = Lock::create(&lock_file(&file))?;
        let lock = acquire(&lock_file(&file))?;
        let mut record = NodeRecord::new(id, zookeeper);
        match read(&file) {
            Ok(Some(_)) if lock_was_missing => {
                let file = file.display();
                warn!(
                    "the lock file of {file} was missing; its processes may be alive, so their znodes are not deleted"
                );
            }
            Ok(Some(known)) if known.node == id => record.processes = known.processes,
            Ok(_) => {}
            Err(error) => {
                let file = file.display();
                warn!(
                    "{file} cannot be read: {error}; znodes of earlier processes stay until their sessions time out"
                );
            }
        }
        let state = Mutex::new(State { record, failing: false });
        let state_file = StateFile(Arc::new(Shared { file, _lock: lock, state }));
        // A failed write, for example on a full disk, is not an error: the record in memory is complete.
        state_file.update(NodeRecord::remove_processes_without_session);
        Ok(state_file)
    }

    /// Returns the path of the node's file with samples for the collector.
    #[cfg_attr(not(feature = "history"), expect(dead_code, reason = "used by the history"))]
    pub(crate) fn ring(&self) -> PathBuf {
        self.0.file.with_extension("samples")
    }

    /// Returns the processes other than `contender` that may have left znodes.
    pub(crate) fn earlier_processes(&self, contender: &str) -> Vec<ProcessRecord> {
        let state = metrics::lock(&self.0.state);
        state.record.processes.iter().filter(|process| process.contender != contender).cloned().collect()
    }

    /// Changes the record and writes it. Sessions must be added before a znode is created in them.
    pub(crate) fn update(&self, change: impl FnOnce(&mut NodeRecord)) {
        let mut state = metrics::lock(&self.0.state);
        change(&mut state.record);
        let written = write(&self.0.file, &state.record);
        let file = self.0.file.display();
        match (&written, state.failing) {
            (Err(error), false) => {
                warn!("{file} cannot be written: {error}; if this node is killed, its session must time out");
            }
            (Ok(()), true) => info!("{file} can be written again"),
            _ => {}
        }
        state.failing = written.is_err();
    }
}

/// Creates a file that only its owner can read. An existing file must be one of the state directory.
#[cfg_attr(not(feature = "history"), expect(dead_code, reason = "used by the history"))]
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    match files::create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            files::open(path, File::options().read(true)).map(drop)
        }
        created => created.map(drop),
    }
}

fn acquire(path: &Path) -> Result<Lock, OpenError> {
    let start = Instant::now();
    loop {
        let holder = match Lock::try_acquire(path, Purpose::Run)? {
            Ok(lock) => return Ok(lock),
            Err(holder) => holder,
        };
        let timeout = if holder.purpose == Purpose::CleanUp { CLEANUP_TIMEOUT } else { LOCK_TIMEOUT };
        if start.elapsed() >= timeout {
            return Err(OpenError::Held(holder));
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
}

pub(super) fn lock_file(file: &Path) -> PathBuf {
    file.with_extension("lock")
}

/// Creates the directory, accessible only for this user.
fn create_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

/// Reads a state file. Returns `None` if it does not exist.
pub(super) fn read(file: &Path) -> io::Result<Option<NodeRecord>> {
    let mut text = Vec::new();
    match files::open(file, File::options().read(true)) {
        Ok(open) => open.take(record::MAX_SIZE).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    NodeRecord::parse(&text).map(Some).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))
}

/// Replaces a state file atomically: a reader, also after a kill, finds either the old or the new contents.
pub(super) fn write(file: &Path, record: &NodeRecord) -> io::Result<()> {
    let new = file.with_extension("new");
    // A process that was killed here has left its temporary file. Only the holder of the lock uses it.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = files::create(&new)
        .and_then(|mut open| open.write_all(&record.text()))
        .and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests;

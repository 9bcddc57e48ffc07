//! What a node writes down of itself, so that what it leaves in ZooKeeper when it is killed need not wait for its session
//! to time out: its sessions, and the ephemeral znodes it makes in them.
//!
//! Two files for each node in the [state folder](StateDir): `….lock` is held ([`Lock`]) for as long as the process lives,
//! and never replaced; `….json` is the [`Record`], replaced as a whole, and written only by whoever has the lock. A session
//! is written down before anything is made in it, so that no moment for a kill is a bad one. Nothing is forced to the
//! disk: what a power cut takes is of no use after the next boot, which takes longer than a session. No record, or one that
//! makes no sense, means that a crash costs a session timeout, as it does without.
//!
//! [`stale_sessions`](super::stale_sessions) clears up; `atalaya reap`, a supervising parent and the node's next start call it.

mod files;
pub(in crate::process) mod folder;
mod lock;
mod record;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

pub use folder::{StateDir, stem};
pub use lock::{Holder, Lock, Purpose};
pub use record::{Found, ProcessRecord, Record};

/// What is remembered of one node, by the process that is that node. Clones share it.
#[derive(Clone, Debug)]
pub struct StateFile {
    kept: Arc<Kept>,
}

#[derive(Debug)]
struct Kept {
    file: PathBuf,
    _lock: Lock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    record: Record,
    /// The last try to write it failed.
    failing: bool,
}

/// Why there is no remembrance.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process of this machine is that node, or clears up after it and does not come to an end.
    #[error("another process has the lock")]
    Held(Holder),
    /// There can be no such files.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// How long a lock that is held is asked for: its holder may be about to say that it only clears up.
const GRACE: Duration = Duration::from_millis(200);
/// How long whoever clears up is waited for.
const CLEARING: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

impl StateFile {
    /// Takes the lock of the node `id`, whose files are called `stem` ([`stem`]), and reads what earlier processes have
    /// left. Waits for whoever clears up after one of them. Blocks.
    ///
    /// # Errors
    /// Another process has the lock; or files cannot be made there.
    pub fn open(folder: &Path, stem: &str, id: &str, zookeeper: &str) -> Result<StateFile, OpenError> {
        make(folder)?;
        let file = folder.join(format!("{stem}.json"));
        let without_lock = Lock::make(&lock_of(&file))?;
        let lock = take(&lock_of(&file))?;
        let mut record = Record::new(id, zookeeper);
        match read(&file) {
            Ok(Some(_)) if without_lock => {
                warn!(
                    "{} has lost its lock; what it tells of an earlier process is left alone: it may live",
                    file.display()
                );
            }
            Ok(Some(known)) if known.node == id => record.lives = known.lives,
            Ok(_) => {}
            Err(error) => {
                warn!(
                    "{} cannot be read: {error}; what it told of an earlier process is lost",
                    file.display()
                );
            }
        }
        let state = Mutex::new(State { record, failing: false });
        let remembrance = StateFile { kept: Arc::new(Kept { file, _lock: lock, state }) };
        // On a full disk, what earlier processes left is known all the same.
        remembrance.change(Record::forget_the_idle);
        Ok(remembrance)
    }

    /// This process begins, and will make what `life` says.
    pub fn begin(&self, life: ProcessRecord) {
        self.change(|record| record.begin(life));
    }

    /// This process has a new session, in which it has not made anything yet.
    pub fn note(&self, session: i64) {
        self.change(|record| record.note(session));
    }

    /// The processes that were this node before `contender` and may have left something.
    pub fn before(&self, contender: &str) -> Vec<ProcessRecord> {
        let state = self.lock();
        state.record.lives.iter().filter(|life| life.contender != contender).cloned().collect()
    }

    /// Nothing of that process is left.
    pub fn forget(&self, contender: &str) {
        self.change(|record| record.forget(contender));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.kept.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, how: impl FnOnce(&mut Record)) {
        let mut state = self.lock();
        how(&mut state.record);
        let written = write(&self.kept.file, &state.record);
        let file = self.kept.file.display();
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

fn take(path: &Path) -> Result<Lock, OpenError> {
    let begin = Instant::now();
    loop {
        let holder = match Lock::take(path, Purpose::Run)? {
            Ok(lock) => return Ok(lock),
            Err(holder) => holder,
        };
        let patience = if holder.purpose == Purpose::Reap { CLEARING } else { GRACE };
        if begin.elapsed() >= patience {
            return Err(OpenError::Held(holder));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The lock of a record's file.
pub(super) fn lock_of(file: &Path) -> PathBuf {
    file.with_extension("lock")
}

/// Makes the folder, for nobody but this user.
fn make(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// The record in this file; `None` if there is no file.
pub(super) fn read(file: &Path) -> io::Result<Option<Record>> {
    let mut text = Vec::new();
    match files::open(file, files::Access::Read) {
        Ok(open) => open.take(record::LARGEST).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Record::parse(&text).map(Some).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))
}

/// Replaces the record. Whoever reads it, or is killed here, finds the old one or the new one.
pub(super) fn write(file: &Path, record: &Record) -> io::Result<()> {
    let new = file.with_extension("new");
    // A process that was killed here has left its own. Only the holder of the lock writes.
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

//! A queue whose entries are held while they are processed, and free again if their holder is lost.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;
use zookeeper_client::OneshotWatcher;

use super::{Entries, MAX_REPORTED, QueueError, RECHECK_INTERVAL};
use crate::cleanup::Cleanup;
use crate::clock::BootInstant;
use crate::idempotent_write::Failure;
use crate::retry::Attempts;
use crate::session::{CreateMode, Write, WrongZnodeReporter, lock, not_ephemeral};
use crate::wrong_znode::{WrongZnode, ZnodeProblem};
use crate::{Connection, Error, Session};

/// Maximum number of holds whose type is checked.
const MAX_CHECKED: usize = 256;

/// A queue whose entries are held while they are processed. See the [module documentation](super).
#[derive(Debug)]
pub struct LockingQueue {
    entries: Arc<Entries>,
    taken: String,
    blocked: Mutex<Blocked>,
}

/// Entries that cannot be consumed because they have children.
#[derive(Debug, Default)]
struct Blocked {
    names: HashSet<String>,
    /// Time of the next check.
    until: Option<Instant>,
    wrong_znodes: WrongZnodeReporter,
}

/// An entry that is held by this process. Dropping it releases the entry.
#[derive(Debug)]
pub struct HeldEntry {
    entries: Arc<Entries>,
    path: String,
    data: Vec<u8>,
    owner: i64,
    znode: Cleanup,
}

/// Result of one search for an entry.
enum Found {
    Held(HeldEntry),
    /// No entry is free. The watches fire when that may have changed.
    Nothing(OneshotWatcher, OneshotWatcher),
    /// The entry was taken by another client, or has children. There may be others.
    Skipped,
}

impl LockingQueue {
    /// Describes the queue at `path`. Nothing is sent yet.
    pub fn new(session: Session, path: impl Into<String>) -> LockingQueue {
        let path = path.into();
        let entries = Arc::new(Entries::new(session, &path, format!("{path}/entries")));
        LockingQueue { entries, taken: format!("{path}/taken"), blocked: Mutex::default() }
    }

    /// Sets the timeout of a call. It does not include waiting for an entry.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> LockingQueue {
        if let Some(entries) = Arc::get_mut(&mut self.entries) {
            entries.timeout = timeout;
        }
        self
    }

    /// Puts one entry, at a priority from 0 (first) to 999. The usual priority is
    /// [`DEFAULT_PRIORITY`](super::DEFAULT_PRIORITY).
    pub async fn put(&self, value: &[u8], priority: u16) -> Result<(), QueueError> {
        self.entries.put(&[value], priority).await
    }

    /// Puts several entries in one transaction.
    pub async fn put_all(&self, values: &[&[u8]], priority: u16) -> Result<(), QueueError> {
        self.entries.put(values, priority).await
    }

    /// Returns the number of entries, including held ones.
    pub async fn len(&self) -> Result<usize, QueueError> {
        self.entries.len().await
    }

    /// Returns true if there are no entries.
    pub async fn is_empty(&self) -> Result<bool, QueueError> {
        Ok(self.len().await? == 0)
    }

    /// Takes the next free entry. Returns `None` if there is none.
    pub async fn take(&self) -> Result<Option<HeldEntry>, QueueError> {
        self.next(self.entries.timeout, false).await
    }

    /// Takes the next free entry, and waits up to `wait` for one. Returns `None` if there was none.
    pub async fn take_within(&self, wait: Duration) -> Result<Option<HeldEntry>, QueueError> {
        match tokio::time::timeout(wait, self.next(Duration::MAX, true)).await {
            Ok(result) => result,
            Err(_) => Ok(None),
        }
    }

    async fn next(&self, timeout: Duration, wait: bool) -> Result<Option<HeldEntry>, QueueError> {
        let entries = &self.entries;
        let mut attempts = Attempts::new(&entries.session, timeout, "take from", &entries.path);
        loop {
            let connection = attempts.connection().await?;
            match self.find(&connection).await {
                Ok(Found::Held(entry)) => return Ok(Some(entry)),
                Ok(Found::Nothing(..)) if !wait => return Ok(None),
                Ok(Found::Nothing(entries, taken)) => tokio::select! {
                    _ = connection.watch_event(entries) => {}
                    _ = connection.watch_event(taken) => {}
                    // The watches do not fire when children of a blocked entry are deleted.
                    () = tokio::time::sleep(RECHECK_INTERVAL), if !lock(&self.blocked).names.is_empty() => {}
                },
                Ok(Found::Skipped) => {}
                Err(error) if error.is_no_node() => {
                    entries.ensure(&mut attempts).await?;
                    if let Err(error) = connection.ensure(&self.taken).await {
                        attempts.failed(error).await?;
                    }
                }
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// Finds a free entry and takes it.
    async fn find(&self, connection: &Connection) -> Result<Found, Error> {
        let entries = connection.children(&self.entries.path).await?;
        let taken = connection.children(&self.taken).await?;
        let blocked = self.blocked_names();
        let name = match first_free(entries, &taken, &blocked) {
            Some(name) => name,
            // Watches are set only if there is nothing to take. Entries may have arrived since, so the lists are read
            // again.
            None => {
                let (entries, entries_watch) = connection.children_and_watch(&self.entries.path).await?;
                let (taken, taken_watch) = connection.children_and_watch(&self.taken).await?;
                let Some(name) = first_free(entries, &taken, &blocked) else {
                    self.report(connection, &taken).await?;
                    return Ok(Found::Nothing(entries_watch, taken_watch));
                };
                name
            }
        };
        let path = format!("{}/{name}", self.entries.path);
        let Some((data, stat)) = connection.get_opt(&path).await? else { return Ok(Found::Skipped) };
        if stat.num_children > 0 {
            self.block(name);
            return Ok(Found::Skipped);
        }
        let hold = format!("{}/{name}", self.taken);
        let owner = connection.session_id();
        // From here on, the entry may be held by this process, even if the future is dropped or the response is lost;
        // the cleanup then releases it. Each attempt has its own token, so that the cleanup of one does not release the
        // hold of a later one.
        let token = Uuid::new_v4().simple().to_string();
        let mut znode = Cleanup::new(self.entries.session.clone(), hold.clone());
        znode.owner = Some((owner, token.clone()));
        znode.arm();
        let exists = Write::Check { path: &path, version: -1 };
        let take = Write::Create { path: &hold, data: token.as_bytes(), mode: CreateMode::Ephemeral };
        match connection.multi(&[exists, take]).await.map_err(Error::from) {
            Ok(_) => {
                let entries = self.entries.clone();
                Ok(Found::Held(HeldEntry { entries, path, data, owner, znode }))
            }
            Err(error) if error.outcome_unknown() => {
                znode.run().await;
                Err(error)
            }
            Err(error) => {
                znode.disarm();
                if error.is_conflict() { Ok(Found::Skipped) } else { Err(error) }
            }
        }
    }

    /// Returns the entries to skip.
    fn blocked_names(&self) -> HashSet<String> {
        let blocked = &mut *lock(&self.blocked);
        if blocked.until.is_some_and(|until| until <= Instant::now()) {
            blocked.names.clear();
            blocked.until = None;
        }
        blocked.names.clone()
    }

    fn block(&self, name: String) {
        let blocked = &mut *lock(&self.blocked);
        blocked.until.get_or_insert(Instant::now() + RECHECK_INTERVAL);
        blocked.names.insert(name);
    }

    /// Reports the blocked entries, and the holds of the `taken` ones that are not ephemeral.
    async fn report(&self, connection: &Connection, taken: &[String]) -> Result<(), Error> {
        let holds = taken.iter().take(MAX_CHECKED).map(|name| format!("{}/{name}", self.taken));
        let holds: Vec<String> = holds.collect();
        let read = connection.get_many(&holds).await?;
        let Blocked { names, wrong_znodes, .. } = &mut *lock(&self.blocked);
        let parent = &self.entries.path;
        let blocked =
            names.iter().map(|name| WrongZnode::new(format!("{parent}/{name}"), ZnodeProblem::HasChildren));
        wrong_znodes
            .update(connection.session(), blocked.chain(not_ephemeral(&holds, &read)).take(MAX_REPORTED));
        Ok(())
    }
}

/// Returns the first entry that is neither held nor blocked.
fn first_free(entries: Vec<String>, taken: &[String], blocked: &HashSet<String>) -> Option<String> {
    let taken: HashSet<&String> = taken.iter().collect();
    entries.into_iter().filter(|name| !taken.contains(name) && !blocked.contains(name)).min()
}

impl HeldEntry {
    /// Returns the value of the entry.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Returns the path of the entry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns true if the entry is certainly still held, as far as the session is concerned: the session that took it
    /// is connected and its local lease holds. A deleted hold is noticed by [`HeldEntry::lost`] and
    /// [`HeldEntry::consume`].
    pub fn holds(&self) -> bool {
        let session = &self.entries.session;
        session.state().session == self.owner && !session.lease_remaining(BootInstant::now()).is_zero()
    }

    /// Waits until the entry is not held any more: the session has ended, or another client deleted the hold.
    /// Cancel safe.
    pub async fn lost(&self) {
        loop {
            let connection = self.entries.session.connection().await;
            if connection.session_id() != self.owner {
                return;
            }
            match connection.stat_and_watch(&self.znode.path).await {
                Ok((Some(stat), watcher)) if stat.ephemeral_owner == self.owner => {
                    connection.watch_event(watcher).await;
                }
                Ok(_) => return,
                Err(_) => connection.lost().await,
            }
        }
    }

    /// Deletes the entry, because it has been processed.
    ///
    /// # Errors
    /// Returns [`QueueError::NotHeld`] if the entry was lost: another client holds it, or will.
    pub async fn consume(mut self) -> Result<(), QueueError> {
        let entries = self.entries.clone();
        let mut attempts = Attempts::new(&entries.session, entries.timeout, "consume", &self.path);
        let entry = Write::Delete { path: &self.path, version: None };
        let hold = Write::Delete { path: &self.znode.path, version: None };
        let written = {
            let mut writer = entries.writer.lock().await;
            // The hold exists only in its session, so both znodes are deleted in that session or not at all.
            writer.write(&mut attempts, Some(self.owner), &[hold, entry]).await
        };
        match written {
            Ok(()) => {
                self.znode.disarm();
                Ok(())
            }
            Err(Failure::Refused(error)) if error.is_no_node() => Err(self.not_held()),
            Err(Failure::SessionOver) => Err(self.not_held()),
            Err(failure) => Err(entries.error(failure)),
        }
    }

    /// Releases the entry, so that other clients can take it.
    pub async fn release(self) {
        self.znode.run().await;
    }

    fn not_held(&self) -> QueueError {
        QueueError::NotHeld { entry: self.path.clone() }
    }
}

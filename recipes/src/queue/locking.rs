//! A queue whose entries are held while they are worked on, and free again when whoever holds them is gone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;
use zookeeper_client::OneshotWatcher;

use super::{Entries, QueueError, RECHECK, REPORTED};
use crate::cleanup::Cleanup;
use crate::clock::BootInstant;
use crate::idempotent_write::Failure;
use crate::retry::Attempts;
use crate::session::{BulkRead, CreateMode, Write, lock};
use crate::wrong_znode::{WrongZnode, WrongZnodeReporter, ZnodeProblem};
use crate::{Connection, Error, Session};

/// Maximum number of holds that are checked.
const CHECKED: usize = 256;

/// A queue at one path. See [the module](super).
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
    /// When they are looked at again.
    until: Option<Instant>,
    wrong_znodes: WrongZnodeReporter,
}

/// An entry that is held. Dropping it sets it free.
#[derive(Debug)]
pub struct Taken {
    entries: Arc<Entries>,
    path: String,
    data: Vec<u8>,
    owner: i64,
    znode: Cleanup,
}

/// What was found when an entry was looked for.
enum Found {
    /// One, and it is ours.
    Held(Taken),
    /// None that is free; when there may be one, these are stirred.
    Nothing(OneshotWatcher, OneshotWatcher),
    /// One that somebody else took first.
    Missed,
    /// One that has children, so that it could not be consumed.
    Blocked,
}

impl LockingQueue {
    /// The one at `path`; nothing happens yet.
    pub fn new(session: Session, path: impl Into<String>) -> LockingQueue {
        let path = path.into();
        let entries = Arc::new(Entries::new(session, &path, format!("{path}/entries")));
        LockingQueue { entries, taken: format!("{path}/taken"), blocked: Mutex::default() }
    }

    /// How long a call tries on, not counting its wait for an entry to come.
    #[must_use]
    pub fn with_timeout(mut self, patience: Duration) -> LockingQueue {
        if let Some(entries) = Arc::get_mut(&mut self.entries) {
            entries.patience = patience;
        }
        self
    }

    /// Puts one entry, at a priority from 0, the first, to 999; [`super::PRIORITY`] is the usual one.
    pub async fn put(&self, value: &[u8], priority: u16) -> Result<(), QueueError> {
        self.entries.put(&[value], priority).await
    }

    /// Puts several entries, all or none.
    pub async fn put_all(&self, values: &[&[u8]], priority: u16) -> Result<(), QueueError> {
        self.entries.put(values, priority).await
    }

    /// How many entries there are, with those that are held.
    pub async fn len(&self) -> Result<usize, QueueError> {
        self.entries.len().await
    }

    /// Whether there is none.
    pub async fn is_empty(&self) -> Result<bool, QueueError> {
        Ok(self.len().await? == 0)
    }

    /// Takes hold of the next entry that nobody holds, or `None` if there is none now.
    pub async fn take(&self) -> Result<Option<Taken>, QueueError> {
        let until = Instant::now().checked_add(self.entries.patience);
        self.next(until, false).await
    }

    /// Takes hold of the next entry, and waits for one to be free. `None`: there was none in time.
    pub async fn take_within(&self, wait: Duration) -> Result<Option<Taken>, QueueError> {
        match tokio::time::timeout(wait, self.next(None, true)).await {
            Ok(result) => result,
            Err(_) => Ok(None),
        }
    }

    async fn next(&self, until: Option<Instant>, wait: bool) -> Result<Option<Taken>, QueueError> {
        let entries = &self.entries;
        let mut attempts = Attempts::until(&entries.session, until, "take from", &entries.path);
        loop {
            let connection = attempts.connection().await?;
            match self.look(&connection).await {
                Ok(Found::Held(taken)) => return Ok(Some(taken)),
                Ok(Found::Nothing(..)) if !wait => return Ok(None),
                Ok(Found::Nothing(entries, taken)) => tokio::select! {
                    _ = connection.watch_event(entries) => {}
                    _ = connection.watch_event(taken) => {}
                    // The watches do not tell when the children of a blocked entry go.
                    () = tokio::time::sleep(RECHECK), if self.is_any_blocked() => {}
                },
                Ok(Found::Blocked) => {}
                Ok(Found::Missed) => {}
                Err(error) if error.is_no_node() => {
                    entries.ensure(&mut attempts).await?;
                    match connection.ensure(&self.taken).await {
                        Ok(()) => {}
                        Err(error) => attempts.failed(error).await?,
                    }
                }
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// Looks for a free entry, and takes hold of it.
    async fn look(&self, connection: &Connection) -> Result<Found, Error> {
        let entries = connection.children(&self.entries.path).await?;
        let taken = connection.children(&self.taken).await?;
        let blocked = self.blocked_names();
        let name = match free(entries, taken, &blocked) {
            Some(name) => name,
            // Only now are watches worth their while.
            None => {
                let (entries, entries_watch) = connection.children_and_watch(&self.entries.path).await?;
                let (taken, taken_watch) = connection.children_and_watch(&self.taken).await?;
                let holds: Vec<String> =
                    taken.iter().take(CHECKED).map(|name| format!("{}/{name}", self.taken)).collect();
                match free(entries, taken, &blocked) {
                    Some(name) => name,
                    None => {
                        self.report(connection, &holds).await?;
                        return Ok(Found::Nothing(entries_watch, taken_watch));
                    }
                }
            }
        };
        let path = format!("{}/{name}", self.entries.path);
        let Some((data, stat)) = connection.get_opt(&path).await? else { return Ok(Found::Missed) };
        if stat.num_children > 0 {
            self.block(name);
            return Ok(Found::Blocked);
        }
        let hold = format!("{}/{name}", self.taken);
        let owner = connection.session_id();
        // From here on it may be ours, also if this is cancelled or the reply is lost: then it is set free. Each attempt has
        // a token of its own, so that the end of one does not take away what a later one took.
        let token = Uuid::new_v4().simple().to_string();
        let session = self.entries.session.clone();
        let mut znode = Cleanup::of_session(session, hold.clone(), owner, &token);
        let there = Write::Check { path: &path, version: -1 };
        let take = Write::Create { path: &hold, data: token.as_bytes(), mode: CreateMode::Ephemeral };
        match connection.multi(&[there, take]).await.map_err(Error::from) {
            Ok(_) => {
                let entries = self.entries.clone();
                Ok(Found::Held(Taken { entries, path, data, owner, znode }))
            }
            Err(error) if error.is_node_exists() || error.is_no_node() => {
                znode.disarm();
                Ok(Found::Missed)
            }
            Err(error) => {
                if error.outcome_unknown() {
                    znode.now().await;
                } else {
                    znode.disarm();
                }
                Err(error)
            }
        }
    }
}

impl LockingQueue {
    fn is_any_blocked(&self) -> bool {
        !lock(&self.blocked).names.is_empty()
    }

    /// Returns the entries that are not looked at for now.
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
        blocked.until.get_or_insert(Instant::now() + RECHECK);
        blocked.names.insert(name);
    }

    /// Reports entries that have children, and those of `holds` that are not ephemeral.
    async fn report(&self, connection: &Connection, holds: &[String]) -> Result<(), Error> {
        let read = if holds.is_empty() { Vec::new() } else { connection.get_many(holds).await? };
        let held = holds.iter().zip(read).filter_map(|(path, read)| match read {
            BulkRead::Data(_, stat) => WrongZnode::not_ephemeral(path, &stat),
            BulkRead::Missing(_) => None,
        });
        let Blocked { names, wrong_znodes, .. } = &mut *lock(&self.blocked);
        let parent = &self.entries.path;
        let blocked =
            names.iter().map(|name| WrongZnode::new(format!("{parent}/{name}"), ZnodeProblem::HasChildren));
        wrong_znodes.update(connection.session(), blocked.chain(held).take(REPORTED));
        Ok(())
    }
}

/// The first entry that nobody holds.
fn free(entries: Vec<String>, taken: Vec<String>, blocked: &HashSet<String>) -> Option<String> {
    let taken: HashSet<String> = taken.into_iter().collect();
    entries.into_iter().filter(|name| !taken.contains(name) && !blocked.contains(name)).min()
}

impl Taken {
    /// What is in it.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is still held for certain: the session is connected and has been heard of lately.
    pub fn holds(&self) -> bool {
        let session = &self.entries.session;
        session.state().session == self.owner && !session.lease_remaining(BootInstant::now()).is_zero()
    }

    /// Waits until it is not held any more: its session is over, or somebody has taken it away. Cancellation safe.
    pub async fn lost(&self) {
        loop {
            let connection = self.entries.session.connection().await;
            if connection.session_id() != self.owner {
                return;
            }
            match connection.stat_and_watch(self.znode.path()).await {
                Ok((Some(stat), watcher)) if stat.ephemeral_owner == self.owner => {
                    connection.watch_event(watcher).await;
                }
                Ok(_) => return,
                Err(_) => connection.lost().await,
            }
        }
    }

    /// Removes the entry: it is done.
    ///
    /// # Errors
    /// [`QueueError::NotHeld`] if it was lost, and is another's, or will be.
    pub async fn consume(mut self) -> Result<(), QueueError> {
        let entries = self.entries.clone();
        let mut attempts = Attempts::new(&entries.session, entries.patience, "consume", &self.path);
        let entry = Write::Delete { path: &self.path, version: None };
        let hold = Write::Delete { path: self.znode.path(), version: None };
        let written = {
            let mut writer = entries.writer.lock().await;
            // The hold is as good as its session, so both go in that session or not at all.
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

    /// Sets the entry free for others.
    pub async fn release(self) {
        self.znode.now().await;
    }

    fn not_held(&self) -> QueueError {
        QueueError::NotHeld { entry: self.path.clone() }
    }
}

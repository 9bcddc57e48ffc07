//! A queue whose entries are deleted when they are taken.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Entries, MAX_REPORTED, QueueError, RECHECK_INTERVAL};
use crate::idempotent_write::Failure;
use crate::retry::Attempts;
use crate::session::{Write, WrongZnodeReporter};
use crate::wrong_znode::{WrongZnode, ZnodeProblem};
use crate::{Connection, Error, Session};

/// Number of entries that are taken from one list, before the queue is listed again to find entries of a better
/// priority.
const LIST_SIZE: usize = 64;

/// A queue. See the [module documentation](super).
#[derive(Debug)]
pub struct Queue {
    entries: Entries,
    list: Mutex<List>,
}

/// Entries of the last list.
#[derive(Debug, Default)]
struct List {
    /// Entries that were not read yet, in order.
    names: VecDeque<String>,
    /// Entries that have children, so that they cannot be deleted and hence not be taken.
    blocked: HashSet<String>,
    wrong_znodes: WrongZnodeReporter,
}

impl List {
    /// Skips the first entry because it has children.
    fn block_first(&mut self) {
        let name = self.names.pop_front();
        self.blocked.extend(name);
    }

    fn report(&mut self, session: &Session, parent: &str) {
        let wrong = self.blocked.iter().take(MAX_REPORTED);
        let wrong = wrong.map(|name| WrongZnode::new(format!("{parent}/{name}"), ZnodeProblem::HasChildren));
        self.wrong_znodes.update(session, wrong);
    }
}

impl Queue {
    /// Describes the queue at `path`. Nothing is sent yet.
    pub fn new(session: Session, path: impl Into<String>) -> Queue {
        let path = path.into();
        Queue { entries: Entries::new(session, &path, path.clone()), list: Mutex::default() }
    }

    /// Sets the timeout of a call. It does not include waiting for other calls of this `Queue`, or for an entry to
    /// arrive.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Queue {
        self.entries.timeout = timeout;
        self
    }

    /// Puts one entry, at a priority from 0 (first) to 999. The usual priority is
    /// [`DEFAULT_PRIORITY`](super::DEFAULT_PRIORITY).
    pub async fn put(&self, value: &[u8], priority: u16) -> Result<(), QueueError> {
        self.entries.put(&[value], priority).await
    }

    /// Returns the number of entries.
    pub async fn len(&self) -> Result<usize, QueueError> {
        self.entries.len().await
    }

    /// Returns true if there are no entries.
    pub async fn is_empty(&self) -> Result<bool, QueueError> {
        Ok(self.len().await? == 0)
    }

    /// Takes the next entry. Returns `None` if there is none.
    pub async fn take(&self) -> Result<Option<Vec<u8>>, QueueError> {
        let mut list = self.list.lock().await;
        self.take_next(&mut list, self.entries.timeout).await
    }

    /// Takes the next entry, and waits up to `wait` for one to arrive. Returns `None` if none arrived.
    pub async fn take_within(&self, wait: Duration) -> Result<Option<Vec<u8>>, QueueError> {
        let begun = Instant::now();
        let remaining = || wait.saturating_sub(begun.elapsed());
        let Ok(mut list) = tokio::time::timeout(wait, self.list.lock()).await else { return Ok(None) };
        loop {
            if let Some(value) = self.take_next(&mut list, self.entries.timeout.max(remaining())).await? {
                return Ok(Some(value));
            }
            match tokio::time::timeout(remaining(), self.await_entry(&list.blocked)).await {
                Ok(result) => result?,
                Err(_) => return Ok(None),
            }
        }
    }

    /// Removes the dedup record of this `Queue`. Dropping the `Queue` removes it in the background.
    pub async fn close(self) {
        self.entries.writer.into_inner().close().await;
    }

    async fn take_next(&self, list: &mut List, timeout: Duration) -> Result<Option<Vec<u8>>, QueueError> {
        let mut attempts = Attempts::new(&self.entries.session, timeout, "take from", &self.entries.path);
        loop {
            let connection = attempts.connection().await?;
            let (entry, value, version) = match self.first(&connection, list).await {
                Ok(Some(first)) => first,
                Ok(None) => return Ok(None),
                Err(error) => {
                    attempts.failed(error).await?;
                    continue;
                }
            };
            let delete = Write::Delete { path: &entry, version: Some(version) };
            let written = self.entries.writer.lock().await.write(&mut attempts, None, &[delete]).await;
            match written {
                Ok(()) => {
                    list.names.pop_front();
                    return Ok(Some(value));
                }
                // Another client took it first.
                Err(Failure::Refused(error)) if error.is_no_node() => drop(list.names.pop_front()),
                // Another client created a child of it after the read.
                Err(Failure::Refused(error)) if error.wrong_znode().is_some() => list.block_first(),
                Err(Failure::Refused(error)) if error.is_bad_version() => attempts.contended(error).await?,
                Err(failure) => return Err(self.entries.error(failure)),
            }
        }
    }

    /// Returns path, value and version of the next entry.
    async fn first(
        &self,
        connection: &Connection,
        list: &mut List,
    ) -> Result<Option<(String, Vec<u8>, i32)>, Error> {
        let mut is_fresh = false;
        loop {
            let Some(name) = list.names.front() else {
                if is_fresh {
                    // Other clients took all listed entries. The next list must show those that were put since.
                    connection.sync().await?;
                } else {
                    // The children of blocked entries may have been deleted.
                    list.blocked.clear();
                }
                let mut names = connection.children_or_empty(&self.entries.path).await?;
                names.sort_unstable();
                let usable = names.into_iter().filter(|name| !list.blocked.contains(name));
                list.names.extend(usable.take(LIST_SIZE));
                is_fresh = true;
                if list.names.is_empty() {
                    list.report(connection.session(), &self.entries.path);
                    return Ok(None);
                }
                continue;
            };
            let path = format!("{}/{name}", self.entries.path);
            match connection.get_opt(&path).await? {
                None => drop(list.names.pop_front()),
                Some((_, stat)) if stat.num_children > 0 => list.block_first(),
                Some((value, stat)) => {
                    if is_fresh || !list.blocked.is_empty() {
                        list.report(connection.session(), &self.entries.path);
                    }
                    return Ok(Some((path, value, stat.version)));
                }
            }
        }
    }

    /// Waits until the queue has an entry besides the `blocked` ones, or until those should be checked again.
    async fn await_entry(&self, blocked: &HashSet<String>) -> Result<(), Error> {
        let path = &self.entries.path;
        let mut attempts = Attempts::new(&self.entries.session, Duration::MAX, "take from", path);
        loop {
            let connection = attempts.connection().await?;
            match connection.children_and_watch(path).await {
                Ok((names, _)) if names.iter().any(|name| !blocked.contains(name)) => return Ok(()),
                Ok((_, watcher)) if !blocked.is_empty() => {
                    // The watch does not fire when children of the entries are deleted.
                    let _ = tokio::time::timeout(RECHECK_INTERVAL, connection.watch_event(watcher)).await;
                    return Ok(());
                }
                Ok((_, watcher)) => drop(connection.watch_event(watcher).await),
                Err(error) if error.is_no_node() => self.entries.ensure(&mut attempts).await?,
                Err(error) => attempts.failed(error).await?,
            }
        }
    }
}

//! A queue whose entries are gone once they are taken.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Entries, QueueError, RECHECK, REPORTED};
use crate::idempotent_write::Failure;
use crate::retry::Attempts;
use crate::session::Write;
use crate::wrong_znode::{WrongZnode, WrongZnodeReporter, ZnodeProblem};
use crate::{Connection, Error, Session};

/// For how many entries a list serves, until a better priority is looked for.
const LISTED: usize = 64;

/// A queue at one path. See [the module](super).
#[derive(Debug)]
pub struct Queue {
    entries: Entries,
    next: Mutex<Next>,
}

/// The entries of the last list.
#[derive(Debug, Default)]
struct Next {
    /// Entries that were not read yet, in order.
    names: VecDeque<String>,
    /// Entries that have children, so that they cannot be deleted and hence not be taken.
    blocked: HashSet<String>,
    wrong_znodes: WrongZnodeReporter,
}

impl Next {
    /// Reports the entries that cannot be taken.
    fn report(&mut self, session: &Session, parent: &str) {
        let wrong = self.blocked.iter().take(REPORTED);
        let wrong = wrong.map(|name| WrongZnode::new(format!("{parent}/{name}"), ZnodeProblem::HasChildren));
        self.wrong_znodes.update(session, wrong);
    }
}

impl Queue {
    /// The one at `path`; nothing happens yet.
    pub fn new(session: Session, path: impl Into<String>) -> Queue {
        let path = path.into();
        Queue { entries: Entries::new(session, &path, path.clone()), next: Mutex::default() }
    }

    /// How long a call tries on, not counting waits for others of this `Queue`, nor for an entry to come.
    #[must_use]
    pub fn with_timeout(mut self, patience: Duration) -> Queue {
        self.entries.patience = patience;
        self
    }

    /// Puts one entry, at a priority from 0, the first, to 999; [`super::PRIORITY`] is the usual one.
    pub async fn put(&self, value: &[u8], priority: u16) -> Result<(), QueueError> {
        self.entries.put(&[value], priority).await
    }

    /// How many entries there are.
    pub async fn len(&self) -> Result<usize, QueueError> {
        self.entries.len().await
    }

    /// Whether there is none.
    pub async fn is_empty(&self) -> Result<bool, QueueError> {
        Ok(self.len().await? == 0)
    }

    /// Takes the next entry, or `None` if there is none now.
    pub async fn take(&self) -> Result<Option<Vec<u8>>, QueueError> {
        let mut next = self.next.lock().await;
        let until = Instant::now().checked_add(self.entries.patience);
        self.taken(&mut next, until).await
    }

    /// Takes the next entry, and waits for one to come. `None`: none came in time.
    pub async fn take_within(&self, wait: Duration) -> Result<Option<Vec<u8>>, QueueError> {
        let until = Instant::now() + wait;
        let Ok(mut next) = tokio::time::timeout_at(until, self.next.lock()).await else { return Ok(None) };
        loop {
            let patience = Instant::now() + self.entries.patience;
            if let Some(value) = self.taken(&mut next, Some(patience.max(until))).await? {
                return Ok(Some(value));
            }
            let came = tokio::time::timeout_at(until, self.until_one_comes(&next.blocked)).await;
            match came {
                Ok(result) => result?,
                Err(_) => return Ok(None),
            }
        }
    }

    /// Removes the marker of this `Queue`. Dropping it does as well, a little later.
    pub async fn close(self) {
        self.entries.writer.into_inner().close().await;
    }

    async fn taken(&self, next: &mut Next, until: Option<Instant>) -> Result<Option<Vec<u8>>, QueueError> {
        let mut attempts = Attempts::until(&self.entries.session, until, "take from", &self.entries.path);
        loop {
            let connection = attempts.connection().await?;
            let (entry, value, version) = match self.first(&connection, next).await {
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
                    next.names.pop_front();
                    return Ok(Some(value));
                }
                // Somebody else was faster.
                Err(Failure::Refused(error)) if error.is_no_node() => drop(next.names.pop_front()),
                // Somebody created a child of it just now.
                Err(Failure::Refused(error)) if error.wrong_znode().is_some() => {
                    let name = next.names.pop_front();
                    next.blocked.extend(name);
                }
                Err(Failure::Refused(error)) if error.is_bad_version() => attempts.contended(error).await?,
                Err(failure) => return Err(self.entries.error(failure)),
            }
        }
    }

    /// The next entry: its path, value and version.
    async fn first(
        &self,
        connection: &Connection,
        next: &mut Next,
    ) -> Result<Option<(String, Vec<u8>, i32)>, Error> {
        let mut fresh = false;
        loop {
            let Some(name) = next.names.front() else {
                if fresh {
                    // They all went while they were looked at; what came meanwhile, the next list shows.
                    connection.sync().await?;
                } else {
                    // Their children may be gone by now.
                    next.blocked.clear();
                }
                let names = sorted(connection, &self.entries.path).await?;
                let usable = names.into_iter().filter(|name| !next.blocked.contains(name));
                next.names.extend(usable.take(LISTED));
                fresh = true;
                if next.names.is_empty() {
                    next.report(connection.session(), &self.entries.path);
                    return Ok(None);
                }
                continue;
            };
            let path = format!("{}/{name}", self.entries.path);
            match connection.get_opt(&path).await? {
                None => drop(next.names.pop_front()),
                Some((_, stat)) if stat.num_children > 0 => {
                    let name = next.names.pop_front();
                    next.blocked.extend(name);
                }
                Some((value, stat)) => {
                    if fresh || !next.blocked.is_empty() {
                        next.report(connection.session(), &self.entries.path);
                    }
                    return Ok(Some((path, value, stat.version)));
                }
            }
        }
    }

    /// Waits until the queue has an entry besides the `blocked` ones, or until those should be looked at again.
    async fn until_one_comes(&self, blocked: &HashSet<String>) -> Result<(), Error> {
        let path = &self.entries.path;
        let mut attempts = Attempts::until(&self.entries.session, None, "take from", path);
        loop {
            let connection = attempts.connection().await?;
            match connection.children_and_watch(path).await {
                Ok((names, _)) if names.iter().any(|name| !blocked.contains(name)) => return Ok(()),
                Ok((_, watcher)) if !blocked.is_empty() => {
                    // The watch does not tell when their children go.
                    let _ = tokio::time::timeout(RECHECK, connection.watch_event(watcher)).await;
                    return Ok(());
                }
                Ok((_, watcher)) => drop(connection.watch_event(watcher).await),
                Err(error) if error.is_no_node() => self.entries.ensure(&mut attempts).await?,
                Err(error) => attempts.failed(error).await?,
            }
        }
    }
}

/// The children of a znode in the order in which they come, and none if it does not exist.
async fn sorted(connection: &Connection, path: &str) -> Result<Vec<String>, Error> {
    let mut names = connection.children_or_empty(path).await?;
    names.sort_unstable();
    Ok(names)
}

//! Limits the number of contenders of an [election](crate::election): other clients wait in a line, and the first of the
//! line joins when there is room.
//!
//! # Znodes
//! `{line}/{10 digits}`, ephemeral and sequential, with the contender's id as data. The name is only the number, so a
//! client computes the names before its own instead of listing the line: it watches the nearest one that exists, and
//! only the first of the line watches the election. A client that joins the line reads a few znodes, and one that leaves
//! wakes one other client, however long the line is. The line is listed only if many neighbours have left, or if a
//! create was not answered.
//!
//! All contenders of the election count, also those of other programs.
//!
//! # Limits of the limit
//! Two clients join at once if an administrator deletes the znode of one of them: then there is one contender more.

use crate::node_names::{ContenderId, Naming, sorted_contenders};
use crate::session::{BulkRead, WrongZnodeReporter};
use crate::wrong_znode::{WrongZnode, is_ephemeral};
use crate::{Connection, Error};

/// Number of znodes before the own one that are read before the line is listed.
const PROBES: u32 = 8;
/// Number of znodes that are read in one request.
const BATCH: usize = 1_000;

/// Place of one client in the line of an election.
#[derive(Debug)]
pub(crate) struct WaitingLine {
    path: String,
    max: usize,
    id: Vec<u8>,
    /// Number of our znode, and the session to which it belongs.
    own: Option<(u32, i64)>,
    /// Session in which a create may have taken effect without an answer.
    unanswered: Option<i64>,
    /// Place before ours that is not ephemeral.
    wrong_znodes: WrongZnodeReporter,
}

impl WaitingLine {
    /// Creates a client of the line at `path`. Does no I/O.
    pub(crate) fn new(path: String, max: usize, id: &ContenderId) -> WaitingLine {
        WaitingLine {
            path,
            max,
            id: id.to_hex().into_bytes(),
            own: None,
            unanswered: None,
            wrong_znodes: WrongZnodeReporter::default(),
        }
    }

    fn path_of(&self, number: u32) -> String {
        format!("{}/{number:010}", self.path)
    }

    /// Waits until this client is the first in the line, and the election at `election` has fewer contenders than the
    /// limit. The place in the line is kept until [`WaitingLine::leave`], so that the next client sees the new contender.
    ///
    /// # Cancel safety
    /// If the future is dropped, the place is kept; the next call continues there.
    pub(crate) async fn wait(
        &mut self,
        connection: &Connection,
        election: &str,
        naming: Naming,
    ) -> Result<(), Error> {
        let mut before = self.place(connection).await?;
        while let Some(number) = self.nearest(connection, before).await? {
            let path = self.path_of(number);
            let (stat, watcher) = connection.stat_and_watch(&path).await?;
            let wrong = stat.as_ref().and_then(|stat| WrongZnode::not_ephemeral(&path, stat));
            self.wrong_znodes.update(connection.session(), wrong);
            match stat {
                Some(stat) if is_ephemeral(stat.ephemeral_owner) => {
                    watcher.changed().await;
                    // It may have changed only: then it is found again.
                    before = number + 1;
                }
                // One that is not ephemeral would stay for ever.
                _ => before = number,
            }
        }
        self.wrong_znodes.clear();
        loop {
            let (children, watcher) = connection.children_opt_and_watch(election).await?;
            if sorted_contenders(naming, &children.unwrap_or_default()).len() < self.max {
                return Ok(());
            }
            watcher.changed().await;
        }
    }

    /// Leaves the line. Does nothing if this client has no place.
    pub(crate) async fn leave(&mut self, connection: &Connection) -> Result<(), Error> {
        let session = connection.session_id();
        if self.unanswered == Some(session) {
            self.find(connection).await?;
        }
        if let Some((number, owner)) = self.own {
            let path = self.path_of(number);
            // The number belongs to another client if the line itself was deleted since.
            let is_own = owner == session
                && connection.stat(&path).await?.is_some_and(|stat| stat.ephemeral_owner == session);
            if is_own {
                connection.delete_if_exists(&path, None).await?;
            }
            self.own = None;
        }
        Ok(())
    }

    /// Returns the number of our place. Creates it if there is none in this session.
    async fn place(&mut self, connection: &Connection) -> Result<u32, Error> {
        let session = connection.session_id();
        if self.unanswered == Some(session) {
            self.find(connection).await?;
        }
        if let Some((number, owner)) = self.own
            && owner == session
        {
            // The server of a new connection may lag behind the one that answered the create.
            let stat = connection.synced().await?.stat(&self.path_of(number)).await?;
            if stat.is_some_and(|stat| stat.ephemeral_owner == session) {
                return Ok(number);
            }
        }
        self.own = None;
        self.unanswered = Some(session);
        let prefix = format!("{}/", self.path);
        let created = loop {
            match connection.create_sequential(&prefix, &self.id).await {
                Err(error) if error.is_no_node() => connection.ensure(&self.path).await?,
                result => break result?,
            }
        };
        self.unanswered = None;
        // A name without a number, after 2,147,483,647 places: no client waits for it.
        let number = number_of(&created[prefix.len()..]).unwrap_or(u32::MAX);
        self.own = Some((number, session));
        Ok(number)
    }

    /// Looks for our place in the whole line, after a create without an answer.
    async fn find(&mut self, connection: &Connection) -> Result<(), Error> {
        let session = connection.session_id();
        let mut numbers: Vec<u32> = self.numbers(connection.synced().await?).await?;
        numbers.sort_unstable();
        for numbers in numbers.chunks(BATCH) {
            let paths: Vec<String> = numbers.iter().map(|number| self.path_of(*number)).collect();
            let read = connection.get_many(&paths).await?;
            let found = numbers.iter().zip(read).find(|(_, read)| {
                matches!(read, BulkRead::Data(data, stat) if *data == self.id && stat.ephemeral_owner == session)
            });
            if let Some((number, _)) = found {
                self.own = Some((*number, session));
                break;
            }
        }
        self.unanswered = None;
        Ok(())
    }

    /// Returns the nearest place before the number `before`.
    async fn nearest(&self, connection: &Connection, before: u32) -> Result<Option<u32>, Error> {
        let probed: Vec<u32> = (before.saturating_sub(PROBES)..before).rev().collect();
        let paths: Vec<String> = probed.iter().map(|number| self.path_of(*number)).collect();
        if paths.is_empty() {
            return Ok(None);
        }
        let read = connection.get_many(&paths).await?;
        let mut existing = probed.iter().zip(read).filter(|(_, read)| match read {
            BulkRead::Data(_, stat) => is_ephemeral(stat.ephemeral_owner),
            // One that this client may not read exists.
            BulkRead::Missing(error) => !matches!(error, zookeeper_client::Error::NoNode),
        });
        if let Some((number, _)) = existing.next() {
            return Ok(Some(*number));
        }
        if probed.last() == Some(&0) {
            return Ok(None);
        }
        Ok(self.numbers(connection).await?.into_iter().filter(|number| *number < before).max())
    }

    async fn numbers(&self, connection: &Connection) -> Result<Vec<u32>, Error> {
        let names = connection.children_or_empty(&self.path).await?;
        Ok(names.iter().filter_map(|name| number_of(name)).collect())
    }
}

/// Returns the number of a place. `None` for other znodes.
fn number_of(name: &str) -> Option<u32> {
    let is_number = name.len() == 10 && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|number| is_number && *number <= i32::MAX.unsigned_abs())
}

//! Limits the number of contenders of an [election](crate::election): other clients wait in a line, and the first of the
//! line joins when there is room.
//!
//! # Znodes
//! `{line}/{10 digits}`, ephemeral and sequential, with the contender's id as data. The name is only the number, so a
//! client computes the names before its own instead of listing the line: it watches the nearest place that exists, and
//! only the first of the line watches the election. A client that joins the line reads a few znodes, and one that leaves
//! wakes one other client, however long the line is. The line is listed only if many neighbours have left.
//!
//! All contenders of the election count, also those of other programs.
//!
//! # Other znodes in the line
//! Only an ephemeral znode whose data begins with an id is a place. Clients do not wait for other znodes, or for those
//! that they may not read: a contender too many does no harm, but a line that does not move leaves an election without a
//! leader.
//!
//! # Clients that cannot contend
//! A client whose requests are refused, for example by the ACL of the election, leaves the line before it tries again.
//!
//! # Limits of the limit
//! Two clients join at once if an administrator deletes the place of one of them: then there is one contender more.

use crate::node_names::{ContenderId, Naming, sorted_contenders};
use crate::session::BulkRead;
use crate::wrong_znode::is_ephemeral;
use crate::{Connection, Error, Stat};

/// Number of znodes before the own one that are read before the line is listed.
const PROBES: u32 = 8;
/// Number of znodes that are read in one request: with data of 1 MiB each, the maximum, they fit the default of
/// [`SessionOptions::max_response`](crate::SessionOptions::max_response), so that no data that others store stops the line.
const BATCH: usize = 15;
/// Length of an id in the data of a place, in hexadecimal digits.
const ID_LENGTH: usize = 32;

/// Place of one client in the line of an election.
#[derive(Debug)]
pub(crate) struct WaitingLine {
    path: String,
    max: usize,
    id: Vec<u8>,
    /// Session in which a place was created, or may have been: the create may have no answer.
    entered: Option<i64>,
    /// Number of our place in that session, if it is known.
    own: Option<u32>,
    /// True if there may be more places of ours, because a create had no answer.
    may_have_more: bool,
}

/// Result of a search for the place before ours.
enum Search {
    /// Our own place does not exist.
    Lost,
    First,
    Behind(u32),
}

impl WaitingLine {
    /// Creates a client of the line at `path`. Does no I/O.
    pub(crate) fn new(path: String, max: usize, id: &ContenderId) -> WaitingLine {
        WaitingLine {
            path,
            max,
            id: id.to_hex().into_bytes(),
            entered: None,
            own: None,
            may_have_more: false,
        }
    }

    fn path_of(&self, number: u32) -> String {
        format!("{}/{number:010}", self.path)
    }

    /// Waits until this client is the first in the line, and the election at `election` has fewer contenders than the
    /// limit. The place in the line is kept until [`WaitingLine::leave`], so that the next client sees the new contender.
    /// Calls `on_wait` each time before it waits.
    ///
    /// # Cancel safety
    /// If the future is dropped, the place is kept; the next call continues there.
    pub(crate) async fn wait(
        &mut self,
        connection: &Connection,
        election: &str,
        naming: Naming,
        on_wait: impl Fn(),
    ) -> Result<(), Error> {
        let mut own = self.place(connection).await?;
        let mut before = own;
        loop {
            match self.search(connection, own, before).await? {
                Search::Lost => {
                    self.own = None;
                    own = self.place(connection).await?;
                    before = own;
                }
                Search::Behind(number) => {
                    before = self.watch(connection, number, &on_wait).await?;
                }
                Search::First => {
                    let (children, watcher) = connection.children_opt_and_watch(election).await?;
                    let contenders = sorted_contenders(naming, &children.unwrap_or_default()).len();
                    if contenders < self.max {
                        return Ok(());
                    }
                    on_wait();
                    watcher.changed().await;
                }
            }
        }
    }

    /// Deletes our places. Does nothing if this client has not entered the line in this session.
    pub(crate) async fn leave(&mut self, connection: &Connection) -> Result<(), Error> {
        if self.entered == Some(connection.session_id()) {
            let places = match self.own {
                Some(own) if !self.may_have_more => vec![own],
                _ => self.own_places(connection).await?,
            };
            for number in places {
                connection.delete_if_exists(&self.path_of(number), None).await?;
            }
        }
        (self.entered, self.own, self.may_have_more) = (None, None, false);
        Ok(())
    }

    /// Returns the number of our place. Creates it if there is none in this session.
    async fn place(&mut self, connection: &Connection) -> Result<u32, Error> {
        let session = connection.session_id();
        if self.entered != Some(session) {
            (self.own, self.may_have_more) = (None, false);
        } else if self.own.is_none() {
            // A create has no answer, or another client has deleted our place.
            self.may_have_more = true;
            self.own = self.own_places(connection).await?.into_iter().min();
        }
        if let Some(own) = self.own {
            return Ok(own);
        }
        self.entered = Some(session);
        let prefix = format!("{}/", self.path);
        let created = loop {
            match connection.create_sequential(&prefix, &self.id).await {
                Err(error) if error.is_no_node() => connection.ensure(&self.path).await?,
                result => break result?,
            }
        };
        // After 2,147,483,647 places the names have no numbers, until the line is deleted.
        self.own = number_of(&created[prefix.len()..]);
        let source = zookeeper_client::Error::BadArguments(&"the numbers of the line are used up");
        self.own.ok_or(Error::Refused { operation: "create", path: created, source })
    }

    /// Returns the numbers of all places of our session.
    async fn own_places(&self, connection: &Connection) -> Result<Vec<u32>, Error> {
        let paths = connection.synced().await?.own_ephemerals(&self.path).await?;
        let number = |path: &String| number_of(path.strip_prefix(&self.path)?.strip_prefix('/')?);
        Ok(paths.iter().filter_map(number).collect())
    }

    /// Waits until the place with this number may be gone. Returns the number before which the nearest place is then.
    async fn watch(&self, connection: &Connection, number: u32, on_wait: impl Fn()) -> Result<u32, Error> {
        match connection.get_and_watch(&self.path_of(number)).await {
            Ok((data, stat, watcher)) if is_place(&data, &stat) => {
                on_wait();
                watcher.changed().await;
                // It may have changed only: then it is found again.
                Ok(number + 1)
            }
            Err(error) if !error.is_no_node() && !error.is_no_auth() => Err(error),
            _ => Ok(number),
        }
    }

    /// Searches the nearest place before the number `before`, and checks that our own place exists.
    async fn search(&self, connection: &Connection, own: u32, before: u32) -> Result<Search, Error> {
        let mut numbers = vec![own];
        numbers.extend((before.saturating_sub(PROBES)..before).rev());
        let read = self.read(connection, &numbers).await?;
        let owner = read.first().and_then(BulkRead::stat).map(|stat| stat.ephemeral_owner);
        if owner != Some(connection.session_id()) {
            return Ok(Search::Lost);
        }
        if let Some(number) = first_place(&numbers[1..], &read[1..]) {
            return Ok(Search::Behind(number));
        }
        if before <= PROBES {
            return Ok(Search::First);
        }
        let names = connection.children_or_empty(&self.path).await?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
        numbers.retain(|number| *number < before - PROBES);
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        for numbers in numbers.chunks(BATCH) {
            if let Some(number) = first_place(numbers, &self.read(connection, numbers).await?) {
                return Ok(Search::Behind(number));
            }
        }
        Ok(Search::First)
    }

    async fn read(&self, connection: &Connection, numbers: &[u32]) -> Result<Vec<BulkRead>, Error> {
        let paths: Vec<String> = numbers.iter().map(|number| self.path_of(*number)).collect();
        connection.get_many(&paths).await
    }
}

/// Returns the first number whose znode is a place.
fn first_place(numbers: &[u32], read: &[BulkRead]) -> Option<u32> {
    let is_place = |read: &BulkRead| matches!(read, BulkRead::Data(data, stat) if is_place(data, stat));
    numbers.iter().zip(read).find(|(_, read)| is_place(read)).map(|(number, _)| *number)
}

fn is_place(data: &[u8], stat: &Stat) -> bool {
    let id = data.get(..ID_LENGTH).unwrap_or_default();
    is_ephemeral(stat.ephemeral_owner) && !id.is_empty() && id.iter().all(u8::is_ascii_hexdigit)
}

/// Returns the number of a place. `None` for other znodes.
fn number_of(name: &str) -> Option<u32> {
    let is_number = name.len() == 10 && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|number| is_number && *number <= i32::MAX.unsigned_abs())
}

//! Reads and removes the reports that are written down: lists them, reads them in batches of bounded size, and
//! deletes those that are settled or sets them aside. Every write is one `multi` with a check of the own election
//! znode.

use std::collections::BTreeSet;

use atalaya_recipes::session::{BulkRead, CreateMode, Write};
use atalaya_recipes::{Connection, Error, Leadership};
use tracing::warn;

use crate::fail_points;
use crate::leader::delivery::outbox::{self, ASIDE, Ending, MOST_ASIDE};
use crate::leader::fenced_store::{ANY, CommitError, WriteOp, multi, path_of};
use crate::model::fence::MAX_CYCLE;
use crate::model::text;

/// What is below the outbox, or below the reports that are set aside.
#[derive(Debug, Default)]
pub struct Listed {
    /// Cycles whose reports are there.
    pub cycles: BTreeSet<u64>,
    /// Names that are not those of reports. A name that `parse` takes, but a leader never writes (`007`), is one of them.
    pub others: Vec<String>,
}

/// Lists the reports below `parent`; `None` if it is missing.
pub async fn list(connection: &Connection, parent: &str) -> Result<Option<Listed>, Error> {
    let names = match connection.children(parent).await {
        Ok(names) => names,
        Err(error) if error.is_no_node() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut listed = Listed::default();
    for name in names {
        match cycle_of(&name) {
            Some(cycle) => drop(listed.cycles.insert(cycle)),
            None => listed.others.push(name),
        }
    }
    listed.others.sort_unstable();
    Ok(Some(listed))
}

/// Returns the cycles below `parent`; `None` if it is missing.
pub async fn cycles(connection: &Connection, parent: &str) -> Result<Option<BTreeSet<u64>>, Error> {
    Ok(list(connection, parent).await?.map(|listed| listed.cycles))
}

/// Warns about znodes in the outbox whose names are not those of reports. They are neither delivered nor deleted.
pub fn warn_of_others(names: &[String]) {
    const NAMED: usize = 3;
    if names.is_empty() {
        return;
    }
    let named: Vec<String> = names.iter().take(NAMED).map(|name| text::sanitize_for_log(name)).collect();
    let (path, named) = (outbox::PATH, named.join(", "));
    warn!(
        znodes = names.len(),
        "{path} has children that are no reports and are ignored: {named}; \
         if no program needs them, delete them: zkCli.sh deleteall {path}/NAME"
    );
}

fn cycle_of(name: &str) -> Option<u64> {
    name.parse().ok().filter(|cycle: &u64| *cycle <= MAX_CYCLE && cycle.to_string() == name)
}

/// Number of reports that are read in one request: few at first and after large ones, more while they are small. It
/// bounds the memory of an answer, whatever others store.
#[derive(Clone, Copy, Debug)]
pub struct Batch(usize);

impl Default for Batch {
    fn default() -> Batch {
        Batch(16)
    }
}

impl Batch {
    /// Returns the number of reports for the next request.
    pub fn count(self) -> usize {
        self.0
    }

    /// Takes note of the largest report of the last request, in bytes.
    pub fn saw(&mut self, largest: usize) {
        const FEWEST: usize = 4;
        const MOST: usize = 128;
        const SMALL: usize = 4 * 1024;
        self.0 = if largest > SMALL { FEWEST } else { (self.0 * 2).min(MOST) };
    }
}

/// Reads the reports of these cycles in one request: the data of each, and `None` for those that are gone.
pub async fn read(
    connection: &Connection,
    parent: &str,
    cycles: &[u64],
) -> Result<Vec<(u64, Option<Vec<u8>>)>, Error> {
    let paths: Vec<String> = cycles.iter().map(|cycle| format!("{parent}/{cycle}")).collect();
    let answers = connection.get_many(&paths).await?.into_iter().map(|answer| match answer {
        BulkRead::Data(data, _) => Some(data),
        BulkRead::Missing(_) => None,
    });
    Ok(cycles.iter().copied().zip(answers).collect())
}

/// Deletes, replaces or sets aside a settled report. Returns the number of older ones that were deleted to make room
/// for it.
///
/// # Cancellation safety
/// Dropped midway, it may be done or not; it can be done again.
pub async fn settle(leadership: &Leadership, cycle: u64, ending: &Ending) -> Result<usize, CommitError> {
    let connection = leadership.connection();
    let path = path_of(cycle);
    let own = (WriteOp::Own, Write::Check { path: leadership.znode(), version: ANY });
    let delete = (WriteOp::Report, Write::Delete { path: &path, version: None });
    let mut given_up = 0;
    let done = match ending {
        Ending::Delivered => fail_points::during("deleting", multi(connection, &[own, delete])).await,
        Ending::Again(report) => {
            let data = report.data();
            multi(
                connection,
                &[own, (WriteOp::Report, Write::Set { path: &path, data: &data, version: None })],
            )
            .await
        }
        Ending::Refused(data) => {
            given_up = make_room_aside(connection).await?;
            connection.ensure(ASIDE).await?;
            let aside = format!("{ASIDE}/{cycle}");
            let create = Write::Create { path: &aside, data, mode: CreateMode::Persistent };
            match multi(connection, &[own, (WriteOp::Dropped, create), delete]).await {
                // A report of that cycle that the API rejected is worth more.
                Err(CommitError::Rejected(WriteOp::Dropped, error)) if error.is_node_exists() => {
                    warn!("{path} is deleted: {aside} already holds a report of that cycle");
                    multi(connection, &[own, delete]).await
                }
                done => done,
            }
        }
        Ending::Aside(report) => {
            given_up = make_room_aside(connection).await?;
            let (aside, data) = (format!("{ASIDE}/{cycle}"), report.data());
            let create = Write::Create { path: &aside, data: &data, mode: CreateMode::Persistent };
            match multi(connection, &[own, (WriteOp::Dropped, create), delete]).await {
                Err(CommitError::Rejected(WriteOp::Dropped, error)) if error.is_node_exists() => {
                    let set = Write::Set { path: &aside, data: &data, version: None };
                    multi(connection, &[own, (WriteOp::Dropped, set), delete]).await
                }
                Err(CommitError::Rejected(WriteOp::Dropped, error)) if error.is_no_node() => {
                    connection.ensure(ASIDE).await?;
                    multi(connection, &[own, (WriteOp::Dropped, create), delete]).await
                }
                done => done,
            }
        }
    };
    fail_points::point("deleted");
    match done {
        Err(CommitError::Rejected(WriteOp::Report, error)) if error.is_no_node() => Ok(given_up),
        done => done.map(|_| given_up),
    }
}

/// Deletes the oldest reports that are set aside, until there is room for one more. Returns how many it deleted. A report that
/// has children cannot be deleted, and the next one goes in its place.
async fn make_room_aside(connection: &Connection) -> Result<usize, Error> {
    let aside = cycles(connection, ASIDE).await?.unwrap_or_default();
    let too_many = (aside.len() + 1).saturating_sub(MOST_ASIDE);
    let mut deleted = 0;
    for cycle in aside {
        if deleted == too_many {
            break;
        }
        match connection.delete(&format!("{ASIDE}/{cycle}"), None).await {
            Err(error) if error.wrong_znode().is_some() => {}
            Err(error) if !error.is_no_node() => return Err(error),
            _ => deleted += 1,
        }
    }
    Ok(deleted)
}

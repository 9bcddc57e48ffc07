//! Outboxes in ZooKeeper, one for the API and one for each output: lists and reads reports, and finishes those that are
//! delivered or rejected.

use std::collections::BTreeSet;

use atalaya_recipes::session::{BulkRead, CreateMode, Write};
use atalaya_recipes::{Connection, Error, Leadership};
use tracing::warn;

use crate::fail_points;
use crate::leader::delivery::outbox::Disposition;
use crate::leader::fenced_multi::{CommitError, WriteOp, fenced_multi};
use crate::model::fence::MAX_CYCLE;
use crate::model::text;

/// Parent of the outboxes of outputs. Their names are the names of the outputs.
pub(crate) const OUTPUTS_PATH: &str = "/atalaya/outputs";
/// Maximum number of rejected reports that are kept in an outbox. The oldest makes room for a new one.
pub(crate) const MAX_REJECTED: usize = 1_000;

/// Paths of the znodes of one outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutboxPaths {
    /// Parent of the reports that are not delivered yet. Their names are their cycles.
    pub(crate) reports: String,
    /// Parent of the reports that the receiver rejected.
    pub(crate) rejected: String,
}

impl Default for OutboxPaths {
    fn default() -> OutboxPaths {
        OutboxPaths::api()
    }
}

impl OutboxPaths {
    /// Returns the paths of the outbox of the API.
    pub(crate) fn api() -> OutboxPaths {
        OutboxPaths { reports: "/atalaya/reports".to_owned(), rejected: "/atalaya/aside".to_owned() }
    }

    /// Returns the paths of the outbox of the output with this name.
    pub(crate) fn of_output(name: &str) -> OutboxPaths {
        OutboxPaths {
            reports: format!("{OUTPUTS_PATH}/{name}/reports"),
            rejected: format!("{OUTPUTS_PATH}/{name}/aside"),
        }
    }

    pub(crate) fn report(&self, cycle: u64) -> String {
        format!("{}/{cycle}", self.reports)
    }

    pub(crate) fn rejected_report(&self, cycle: u64) -> String {
        format!("{}/{cycle}", self.rejected)
    }
}

/// Children of the outbox, or of the parent of rejected reports.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) cycles: BTreeSet<u64>,
    /// Names that are not names of reports, for example `007`, which parses as a number but is not written by a leader. Sorted.
    pub(crate) others: Vec<String>,
}

/// Lists the reports below `parent`. Returns `None` if `parent` does not exist.
pub(crate) async fn list(connection: &Connection, parent: &str) -> Result<Option<Listing>, Error> {
    let names = match connection.children(parent).await {
        Ok(names) => names,
        Err(error) if error.is_no_node() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut listing = Listing::default();
    for name in names {
        match cycle_of(&name) {
            Some(cycle) => drop(listing.cycles.insert(cycle)),
            None => listing.others.push(name),
        }
    }
    listing.others.sort_unstable();
    Ok(Some(listing))
}

/// Returns the cycles of the reports below `parent`; `None` if `parent` does not exist.
pub(crate) async fn cycles(connection: &Connection, parent: &str) -> Result<Option<BTreeSet<u64>>, Error> {
    Ok(list(connection, parent).await?.map(|listing| listing.cycles))
}

/// Lists the reports below `parent`, which is created if it does not exist.
pub(super) async fn cycles_or_create(connection: &Connection, parent: &str) -> Result<BTreeSet<u64>, Error> {
    match cycles(connection, parent).await? {
        Some(cycles) => Ok(cycles),
        None => {
            connection.ensure(parent).await?;
            Ok(BTreeSet::new())
        }
    }
}

/// Warns about some of the children of the outbox that are not reports. They are neither delivered nor deleted.
pub(super) fn warn_about_foreign_children(parent: &str, names: &[String], all: usize) {
    if names.is_empty() {
        return;
    }
    let shown: Vec<String> = names.iter().map(|name| text::sanitize_for_log(name)).collect();
    let shown = shown.join(", ");
    warn!(
        znodes = all,
        "{parent} has children that are not reports and are ignored: {shown}; \
         if no program needs them, delete them: zkCli.sh deleteall {parent}/NAME"
    );
}

fn cycle_of(name: &str) -> Option<u64> {
    name.parse().ok().filter(|cycle: &u64| *cycle <= MAX_CYCLE && cycle.to_string() == name)
}

/// Number of reports to read in the first request.
pub(crate) const FIRST_BATCH: usize = 16;

/// Returns the number of reports to read in the next request, after one for `last` reports, with these sizes in bytes:
/// few after large reports, more while they are small. It bounds the memory of a response, whatever others store.
pub(crate) fn next_batch(last: usize, mut sizes: impl Iterator<Item = usize>) -> usize {
    const MIN: usize = 4;
    const MAX: usize = 128;
    const SMALL_REPORT: usize = 4 * 1024;
    if sizes.any(|size| size > SMALL_REPORT) { MIN } else { (last * 2).min(MAX) }
}

/// Reads the reports of these cycles in one request. Returns the data of each; `None` if it does not exist.
pub(crate) async fn read(
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

/// Finishes a report: deletes it, replaces it, or moves it to the rejected reports. Returns the number of rejected
/// reports that were deleted to make room for it.
///
/// # Cancellation safety
/// If the future is dropped, the report may be finished or not. Finishing it twice is safe.
pub(super) async fn finish(
    leadership: &Leadership,
    paths: &OutboxPaths,
    cycle: u64,
    disposition: &Disposition,
) -> Result<usize, CommitError> {
    let path = paths.report(cycle);
    let mut dropped = 0;
    let finished = match disposition {
        Disposition::Delivered => {
            let delete = (WriteOp::Report, Write::Delete { path: &path, version: None });
            fail_points::during("deleting", fenced_multi(leadership, &[delete])).await.map(drop)
        }
        Disposition::Resend(report) => {
            let data = report.data();
            let set = (WriteOp::Report, Write::Set { path: &path, data: &data, version: None });
            fenced_multi(leadership, &[set]).await.map(drop)
        }
        Disposition::Rejected(report) => {
            dropped = make_room_for_rejected(leadership.connection(), paths).await?;
            move_to_rejected(leadership, paths, cycle, &report.data(), true).await
        }
        Disposition::Undeliverable(data) => {
            dropped = make_room_for_rejected(leadership.connection(), paths).await?;
            // A report of the same cycle that the API rejected is worth more than this data.
            move_to_rejected(leadership, paths, cycle, data, false).await
        }
    };
    fail_points::point("deleted");
    match finished {
        Err(CommitError::Rejected(WriteOp::Report, error)) if error.is_no_node() => Ok(dropped),
        finished => finished.map(|()| dropped),
    }
}

/// Deletes a report from the outbox and writes `data` to the rejected reports. If a rejected report of this cycle
/// exists, `data` replaces it or is discarded.
async fn move_to_rejected(
    leadership: &Leadership,
    paths: &OutboxPaths,
    cycle: u64,
    data: &[u8],
    replace: bool,
) -> Result<(), CommitError> {
    let (path, rejected) = (paths.report(cycle), paths.rejected_report(cycle));
    let delete = (WriteOp::Report, Write::Delete { path: &path, version: None });
    let create = Write::Create { path: &rejected, data, mode: CreateMode::Persistent };
    let move_it = [(WriteOp::RejectedReport, create), delete];
    match fenced_multi(leadership, &move_it).await {
        Err(CommitError::Rejected(WriteOp::RejectedReport, error)) if error.is_no_node() => {
            leadership.connection().ensure(&paths.rejected).await?;
            fenced_multi(leadership, &move_it).await
        }
        Err(CommitError::Rejected(WriteOp::RejectedReport, error)) if error.is_node_exists() && replace => {
            let set = Write::Set { path: &rejected, data, version: None };
            fenced_multi(leadership, &[(WriteOp::RejectedReport, set), delete]).await
        }
        Err(CommitError::Rejected(WriteOp::RejectedReport, error)) if error.is_node_exists() => {
            warn!("{path} is deleted: {rejected} already holds a report of that cycle");
            fenced_multi(leadership, &[delete]).await
        }
        moved => moved,
    }
    .map(drop)
}

/// Deletes the oldest rejected reports until there is room for one more. Returns the number of deleted reports. A
/// report with children cannot be deleted; the next one is deleted instead.
async fn make_room_for_rejected(connection: &Connection, paths: &OutboxPaths) -> Result<usize, Error> {
    let rejected = cycles(connection, &paths.rejected).await?.unwrap_or_default();
    let excess = (rejected.len() + 1).saturating_sub(MAX_REJECTED);
    let mut deleted = 0;
    for cycle in rejected {
        if deleted == excess {
            break;
        }
        match connection.delete(&paths.rejected_report(cycle), None).await {
            Err(error) if error.wrong_znode().is_some() => {}
            Err(error) if !error.is_no_node() => return Err(error),
            _ => deleted += 1,
        }
    }
    Ok(deleted)
}

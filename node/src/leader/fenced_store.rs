//! State of the fleet that only the leader writes: the fence, and the outcome of each cycle.
//!
//! A new leader takes over with [`FencedStore::acquire`], which increments the epoch in the fence. Each cycle is
//! committed with [`FencedStore::commit`], one transaction that checks the version of the fence, and so fails if
//! another leader has taken over.

use std::collections::BTreeSet;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::session::{CreateMode, Write, Written};
use atalaya_recipes::{Connection, Error, Leadership, Stat};
use tracing::warn;

use crate::fail_points;
use crate::leader::fenced_multi::{CommitError, WriteOp, fenced_multi};
use crate::leader::outbox_store::{OutboxPaths, cycles, cycles_or_create};
use crate::model::fence::{self, Fence};
use crate::model::report::CycleReport;
use crate::model::{barrier, counter};
use crate::zk::server_clock::{Millis, ServerClock};

/// Number of failures because the path of a cycle's report is occupied after which the cycle is skipped. Before, the
/// outbox reader has had time to move a report that is there.
const MAX_OCCUPIED: u32 = 5;

/// The fence, as this leader wrote it last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FencedStore {
    /// Fencing token of the leadership in which the fence was acquired.
    pub(super) fencing_token: i64,
    pub(super) fence: Fence,
    version: i32,
    /// Transaction of the newest cycle: measurements that were written later are in no cycle.
    pub(super) last_cycle_zxid: i64,
    /// Cycle whose report's path is occupied by another znode, and the number of times this was found.
    occupied: Option<(u64, u32)>,
    /// Newest cycle that was skipped for this reason.
    skipped: u64,
}

/// State in ZooKeeper at a takeover.
#[derive(Debug)]
pub(super) struct Takeover {
    pub(super) store: FencedStore,
    /// Cycles with a report, for each outbox.
    pub(super) listed: Vec<BTreeSet<u64>>,
    /// Time of the previous write of the fence by ZooKeeper's clock: usually the time of the last cycle.
    pub(super) last_cycle: Option<Millis>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct CounterValue {
    pub(super) value: i64,
    pub(super) version: i32,
}

#[derive(Debug, Default)]
pub(super) struct CycleCommit<'a> {
    /// `None` if no node had a usable measurement: then the number of the cycle does not change.
    pub(super) report: Option<&'a CycleReport>,
    /// Outboxes to which the report is written, each with the cycle whose report is deleted to make room.
    pub(super) outboxes: &'a [(&'a OutboxPaths, Option<u64>)],
    /// True if the closed barrier is opened, so that waiting nodes are released.
    pub(super) open_barrier: bool,
    /// True if the barrier is closed (again): the next generation begins.
    pub(super) close_barrier: bool,
    /// New value of the counter, and the version that it must replace.
    pub(super) counter: Option<CounterValue>,
}

impl FencedStore {
    /// Acquires the fence: from then on no earlier leader can commit. `last_own` is the fence that this leader wrote
    /// last, in case the znode was deleted. The new epoch is above `min_epoch`, the epoch of a report that a collector
    /// has from another program, if any. The first of `outboxes` is that of the API.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the fence may be acquired or not; acquiring it again takes one more epoch.
    pub(super) async fn acquire(
        leadership: &Leadership,
        clock: &mut ServerClock,
        last_own: Option<Fence>,
        min_epoch: Option<i64>,
        outboxes: &[&OutboxPaths],
    ) -> Result<Takeover, CommitError> {
        let connection = leadership.connection();
        // The server may be behind the one that answered the previous leader.
        connection.sync().await?;
        let mut listed = Vec::new();
        for paths in outboxes {
            listed.push(cycles_or_create(connection, &paths.reports).await?);
        }
        let stored = connection.get_opt(fence::PATH).await?;
        let created = connection.stat(leadership.znode()).await?.ok_or(CommitError::Fenced)?.ctime;
        let previous = stored.as_ref().and_then(|(data, stat)| parse_plausible(data, stat, created));
        let (mut now, mut newest_report) = (created, 0);
        if previous.is_none() {
            (now, newest_report) = recover_without_fence(connection, outboxes, &listed, created).await?;
        }
        let fence = Fence::next(previous, last_own, now, newest_report, min_epoch);
        let stat = write_fence(leadership, fence, stored.as_ref().map(|(_, stat)| stat), clock).await?;
        // If the previous leader committed no cycle, the fence's stat is that of its takeover and not of the last
        // cycle. Then measurements that were written in between are counted in no cycle.
        let (last_cycle, last_cycle_zxid) = match previous.and(stored) {
            Some((_, stat)) => (Some(stat.mtime), stat.mzxid),
            None => (None, 0),
        };
        let (fencing_token, version) = (leadership.fencing_token(), stat.version);
        let store =
            FencedStore { fencing_token, fence, version, last_cycle_zxid, occupied: None, skipped: 0 };
        Ok(Takeover { store, listed, last_cycle })
    }

    /// Reads the fence again, after an interruption or after a commit with an unknown outcome. Returns the cycles with
    /// a report, for each outbox; `None` if the fence is missing or has another epoch: then another program has
    /// written it.
    pub(super) async fn reload(
        &mut self,
        leadership: &Leadership,
        outboxes: &[&OutboxPaths],
    ) -> Result<Option<Vec<BTreeSet<u64>>>, CommitError> {
        let connection = leadership.connection();
        connection.sync().await?;
        let Some((data, stat)) = connection.get_opt(fence::PATH).await? else { return Ok(None) };
        let Some(fence) = Fence::parse(&data).ok().filter(|fence| fence.epoch == self.fence.epoch) else {
            return Ok(None);
        };
        let mut listed = Vec::new();
        for paths in outboxes {
            listed.push(cycles(connection, &paths.reports).await?.unwrap_or_default());
        }
        if fence.cycle != self.fence.cycle {
            // The commit with the unknown outcome has taken effect.
            self.last_cycle_zxid = stat.mzxid;
        }
        (self.fence, self.version) = (fence, stat.version);
        Ok(Some(listed))
    }

    /// Returns the fence of the next cycle. It skips cycles whose report's path another znode occupies for long.
    pub(super) fn next_fence(&self) -> Fence {
        Fence { cycle: self.fence.cycle.max(self.skipped), ..self.fence }.with_next_cycle()
    }

    /// Records that another znode occupies the path of the next cycle's report in an outbox.
    pub(super) fn on_occupied(&mut self, path: &str) {
        let cycle = self.next_fence().cycle;
        let times = match self.occupied {
            Some((known, times)) if known == cycle => times.saturating_add(1),
            _ => 1,
        };
        if times == MAX_OCCUPIED {
            self.skipped = cycle;
            warn!("{path} is occupied by a znode that cannot be moved: cycle {cycle} is skipped");
        }
        self.occupied = Some((cycle, times));
    }

    /// Commits a cycle. Returns the transaction, which is also the generation of the barrier that it closes.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the commit may have taken effect or not; [`FencedStore::reload`] finds out.
    pub(super) async fn commit(
        &mut self,
        leadership: &Leadership,
        clock: &mut ServerClock,
        commit: CycleCommit<'_>,
    ) -> Result<i64, CommitError> {
        let fence = if commit.report.is_some() { self.next_fence() } else { self.fence };
        let data = fence.data();
        let report = commit.report.map(|report| (report.cycle, report.data()));
        let reports = report.iter().flat_map(|(cycle, data)| {
            let path = move |(paths, dropped): &(&OutboxPaths, Option<u64>)| {
                (paths.report(*cycle), dropped.map(|dropped| paths.report(dropped)), data)
            };
            commit.outboxes.iter().map(path)
        });
        let reports: Vec<_> = reports.collect();
        let counter = commit.counter.map(|counter| (counter.value.to_string(), counter.version));
        let mode = CreateMode::Persistent;
        let mut writes = vec![(
            WriteOp::Fence,
            Write::Set { path: fence::PATH, data: &data, version: Some(self.version) },
        )];
        for (path, dropped, data) in &reports {
            writes.push((WriteOp::Report, Write::Create { path, data, mode }));
            let drop = dropped.as_deref().map(|path| Write::Delete { path, version: None });
            writes.extend(drop.map(|drop| (WriteOp::DropReport, drop)));
        }
        let open = Write::Delete { path: barrier::PATH, version: None };
        writes.extend(commit.open_barrier.then_some((WriteOp::OpenBarrier, open)));
        let close = Write::Create { path: barrier::PATH, data: b"", mode };
        writes.extend(commit.close_barrier.then_some((WriteOp::CloseBarrier, close)));
        if let Some((value, version)) = &counter {
            let data = value.as_bytes();
            writes
                .push((WriteOp::Counter, Write::Set { path: counter::PATH, data, version: Some(*version) }));
        }
        let stat = fail_points::during("committing", set_fence(leadership, clock, &writes)).await?;
        fail_points::point("committed");
        (self.fence, self.version, self.last_cycle_zxid) = (fence, stat.version, stat.mzxid);
        Ok(stat.mzxid)
    }
}

/// Writes a new epoch to the fence, whose stat was `stored` (`None`: the znode is missing). Returns the new stat.
async fn write_fence(
    leadership: &Leadership,
    fence: Fence,
    stored: Option<&Stat>,
    clock: &mut ServerClock,
) -> Result<Stat, CommitError> {
    let data = fence.data();
    let mut version = stored.map(|stat| stat.version);
    if version.is_none() {
        let mode = CreateMode::Persistent;
        let create = Write::Create { path: fence::PATH, data: &data, mode };
        fenced_multi(leadership, &[(WriteOp::Fence, create)]).await?;
        // Before ZooKeeper 3.8.2 the stat of a create in a `multi` is wrong, so the znode is written once more.
        version = Some(0);
    }
    let set = Write::Set { path: fence::PATH, data: &data, version };
    set_fence(leadership, clock, &[(WriteOp::Fence, set)]).await
}

/// Executes a transaction whose first write sets the fence. Returns the new stat of the fence.
async fn set_fence(
    leadership: &Leadership,
    clock: &mut ServerClock,
    writes: &[(WriteOp, Write<'_>)],
) -> Result<Stat, CommitError> {
    let sent = BootInstant::now();
    match fenced_multi(leadership, writes).await?.first() {
        Some(Written::Set(stat)) => {
            clock.record_write(stat.mtime, sent, BootInstant::now());
            Ok(*stat)
        }
        // No server responds so.
        _ => {
            let after = leadership.connection().timeout();
            Err(Error::Timeout { operation: "multi", path: fence::PATH.to_owned(), after }.into())
        }
    }
}

/// Returns ZooKeeper's time, and the newest cycle that the reports in ZooKeeper have, for a fleet without a fence. With
/// a fence, a report of a later cycle is from another program, and does not count.
async fn recover_without_fence(
    connection: &Connection,
    outboxes: &[&OutboxPaths],
    listed: &[BTreeSet<u64>],
    created: Millis,
) -> Result<(Millis, u64), Error> {
    let mut now = created;
    // The own election znode may be much older than the last epoch, so a write asks for the time.
    if let Some(OutboxPaths { reports, .. }) = outboxes.first() {
        match connection.set(reports, b"", None).await {
            Ok(stat) => now = created.max(stat.mtime),
            Err(error) if error.is_connection_loss() => return Err(error),
            Err(error) => warn!(%error, "cannot write {reports}"),
        }
    }
    let mut newest = listed.iter().map(last_plausible).max().unwrap_or(0);
    for paths in outboxes {
        let rejected = cycles(connection, &paths.rejected).await?.unwrap_or_default();
        newest = newest.max(last_plausible(&rejected));
    }
    Ok((now, newest))
}

/// Returns the last cycle that a fleet can have reached: after a thousand years with a thousand cycles per second.
fn last_plausible(cycles: &BTreeSet<u64>) -> u64 {
    const LIMIT: u64 = 1_000 * 366 * 86_400 * 1_000;
    cycles.range(..LIMIT).next_back().copied().unwrap_or(0)
}

/// Parses the data of the fence. Returns `None` and logs the reason if no leader can have written it.
///
/// Epochs increase more slowly than clocks. So an epoch far above the clock of ZooKeeper, as the stats of the fence and
/// of this leader's election znode (`created`) have it, is damage or an attack: collectors would refuse leaders above
/// it.
fn parse_plausible(data: &[u8], stat: &Stat, created: Millis) -> Option<Fence> {
    let latest = fence::latest_epoch(created.max(stat.mtime).max(stat.ctime));
    let parsed = Fence::parse(data).and_then(|fence| match fence.epoch < latest {
        true => Ok(fence),
        false => Err(format!("epoch {} is above {latest}, a day ahead of ZooKeeper's clock", fence.epoch)),
    });
    match parsed {
        Ok(fence) => Some(fence),
        Err(problem) => {
            let path = fence::PATH;
            warn!("{path} does not hold what a leader writes: {problem}; a new epoch begins");
            None
        }
    }
}

#[cfg(test)]
#[path = "fenced_store_tests.rs"]
mod tests;

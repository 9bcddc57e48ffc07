//! What a leader writes into ZooKeeper: its term, cycle by cycle with its report, and what became of reports. Every write is
//! one `multi` with a check of the own election znode, so that nothing of a deposed leader takes effect.

use std::collections::BTreeSet;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::session::{CreateMode, Write, Written};
use atalaya_recipes::{Connection, Error, Leadership, Stat};
use tracing::warn;

use crate::fail_points;
use crate::leader::delivery::outbox::{self, ASIDE};
use crate::leader::outbox_store::{cycles, list, warn_of_others};
use crate::leader::schedule::ServerClock;
use crate::model::barrier;
use crate::model::fence::{self, Fence};
use crate::model::report::CycleReport;

/// The version that every znode has.
pub(super) const ANY: i32 = -1;

/// Why a write of the leader had no effect, or may have had none.
#[derive(Debug)]
pub enum CommitError {
    /// The own election znode is gone: somebody else leads, or will.
    Fenced,
    /// One of the writes was refused.
    Rejected(WriteOp, Error),
    /// None of them took effect, or nobody knows.
    OutcomeUnknown(Error),
}

impl From<Error> for CommitError {
    fn from(error: Error) -> CommitError {
        CommitError::OutcomeUnknown(error)
    }
}

/// Which of the writes of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOp {
    /// The check that the own election znode is there.
    Own,
    /// The fence.
    Fence,
    /// The report.
    Report,
    /// The report that makes room.
    Dropped,
    /// The barrier, which is opened.
    Open,
    /// The barrier, which is closed.
    Close,
    /// The counter.
    Counter,
}

/// A leader's hold on the fence.
#[derive(Clone, Copy, Debug)]
pub struct FencedStore {
    /// Which election znode it was taken with.
    own: i64,
    /// What stands at the fence.
    pub term: Fence,
    version: i32,
    /// The transaction that wrote the newest cycle: what was measured since then is in no cycle.
    pub newest: i64,
    /// The cycle at whose path there is another znode, and how many times that was found.
    occupied: Option<(u64, u32)>,
    /// The newest cycle that was skipped for that reason.
    skipped: u64,
}

/// Number of failures because the path of a cycle is occupied after which the cycle is skipped. A report that can be
/// moved is gone before.
const OCCUPIED: u32 = 5;

/// What stands in ZooKeeper when a leader begins.
#[derive(Debug)]
pub struct Takeover {
    /// The hold on the fence.
    pub office: FencedStore,
    /// Cycles whose reports wait.
    pub waiting: BTreeSet<u64>,
    /// When the fence was written last before, by ZooKeeper's clock.
    pub before: Option<i64>,
}

/// What goes with a cycle besides its term.
#[derive(Debug, Default)]
pub struct Cycle<'a> {
    /// What it came to; `None` if to nothing.
    pub report: Option<&'a CycleReport>,
    /// Whether that is to be delivered.
    pub stored: bool,
    /// The report that makes room for it.
    pub dropped: Option<u64>,
    /// The barrier is opened, if it is closed (`Some(true)`), and closed behind those who waited.
    pub barrier: Option<bool>,
    /// What the counter is to be, and the version that it must be at.
    pub counter: Option<(i64, i32)>,
}

/// Where the counter stands.
pub const COUNTER: &str = "/counter";

impl FencedStore {
    /// Whether it was taken in this term of leading.
    pub fn is_of(&self, leadership: &Leadership) -> bool {
        self.own == leadership.fencing_token()
    }

    /// Takes it: no leader before this one can write after that. `own` is the last term of this leader, if any. The
    /// new epoch is above `collector`, the epoch of a report that a collector has from elsewhere, if any.
    ///
    /// # Cancellation safety
    /// Dropped midway, it may have been taken or not; taking it again costs an epoch.
    pub async fn take(
        leadership: &Leadership,
        clock: &mut ServerClock,
        own: Option<Fence>,
        collector: Option<i64>,
    ) -> Result<Takeover, CommitError> {
        let connection = leadership.connection();
        // What was written before must be seen, whichever server answers.
        connection.sync().await?;
        let waiting = match list(connection, outbox::PATH).await? {
            Some(waiting) => {
                warn_of_others(&waiting.others);
                waiting.cycles
            }
            None => {
                connection.ensure(outbox::PATH).await?;
                BTreeSet::new()
            }
        };
        let check = Write::Check { path: leadership.znode(), version: ANY };
        let found = match connection.get(fence::PATH).await {
            Ok(found) => Some(found),
            Err(error) if error.is_no_node() => None,
            Err(error) => return Err(error.into()),
        };
        let created = connection.stat(leadership.znode()).await?.ok_or(CommitError::Fenced)?.ctime;
        let before = found.as_ref().and_then(|(data, stat)| believed(data, stat, created));
        // A report above a fence is from another program, so only without a fence do reports tell the last cycle.
        let (mut now, mut newest) = (created, 0);
        if before.is_none() {
            // Its stat tells the time: the own election znode may be much older than the last epoch.
            match connection.set(outbox::PATH, b"", None).await {
                Ok(stat) => now = now.max(stat.mtime),
                Err(error) if error.is_connection_loss() => return Err(error.into()),
                Err(error) => warn!(%error, "cannot write {}", outbox::PATH),
            }
            let aside = cycles(connection, ASIDE).await?.unwrap_or_default();
            newest = last_likely(&waiting).max(last_likely(&aside));
        }
        let term = Fence::next(before, own, now, newest, collector);
        let data = term.data();
        let sent = BootInstant::now();
        let write = match &found {
            Some((_, stat)) => Write::Set { path: fence::PATH, data: &data, version: Some(stat.version) },
            None => Write::Create { path: fence::PATH, data: &data, mode: CreateMode::Persistent },
        };
        let written = multi(connection, &[(WriteOp::Own, check), (WriteOp::Fence, write)]).await?;
        let version = match written.get(1) {
            Some(Written::Set(stat)) => {
                clock.heard(stat.mtime, sent, BootInstant::now());
                stat.version
            }
            // The stat of what a `multi` creates is not to be trusted before ZooKeeper 3.8.2.
            _ => {
                let sent = BootInstant::now();
                let set = Write::Set { path: fence::PATH, data: &data, version: Some(0) };
                match multi(connection, &[(WriteOp::Own, check), (WriteOp::Fence, set)]).await?.get(1) {
                    Some(Written::Set(stat)) => {
                        clock.heard(stat.mtime, sent, BootInstant::now());
                        stat.version
                    }
                    _ => return Err(CommitError::OutcomeUnknown(unexpected(connection))),
                }
            }
        };
        // If somebody has led without a cycle in between, the one before that is no more to be told from it; then what was
        // measured meanwhile counts in no cycle.
        let (before, newest) = match before.and(found) {
            Some((_, stat)) => (Some(stat.mtime), stat.mzxid),
            None => (None, 0),
        };
        let office = FencedStore {
            own: leadership.fencing_token(),
            term,
            version,
            newest,
            occupied: None,
            skipped: 0,
        };
        Ok(Takeover { office, waiting, before })
    }

    /// Looks again after an interruption, or a write whose outcome is unknown: the cycles whose reports wait, or `None` if
    /// the fence is not what it was left at, nor one cycle on: somebody else has written it.
    pub async fn look(&mut self, leadership: &Leadership) -> Result<Option<BTreeSet<u64>>, CommitError> {
        let connection = leadership.connection();
        connection.sync().await?;
        let (data, stat) = match connection.get(fence::PATH).await {
            Ok(found) => found,
            Err(error) if error.is_no_node() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(term) = Fence::parse(&data).ok().filter(|term| term.epoch == self.term.epoch) else {
            return Ok(None);
        };
        let waiting = cycles(connection, outbox::PATH).await?.unwrap_or_default();
        if term.cycle != self.term.cycle {
            self.newest = stat.mzxid;
        }
        (self.term, self.version) = (term, stat.version);
        Ok(Some(waiting))
    }

    /// Returns the term of the next cycle: one on, or more if znodes that cannot be moved have taken its path.
    pub fn next_term(&self) -> Fence {
        Fence { cycle: self.term.cycle.max(self.skipped), ..self.term }.with_next_cycle()
    }

    /// Takes note that another znode is at the path of the next cycle.
    pub fn found_occupied(&mut self) {
        let cycle = self.next_term().cycle;
        let times = match self.occupied {
            Some((known, times)) if known == cycle => times.saturating_add(1),
            _ => 1,
        };
        if times == OCCUPIED {
            self.skipped = cycle;
            warn!("{} is another znode and cannot be moved: cycle {cycle} is skipped", path_of(cycle));
        }
        self.occupied = Some((cycle, times));
    }

    /// Writes a cycle down. Gives the transaction's number, which is the generation of the barrier that it closes.
    ///
    /// # Cancellation safety
    /// Dropped midway, it took effect or not: [`FencedStore::look`] tells.
    pub async fn advance(
        &mut self,
        leadership: &Leadership,
        clock: &mut ServerClock,
        cycle: Cycle<'_>,
    ) -> Result<i64, CommitError> {
        let term = if cycle.report.is_some() { self.next_term() } else { self.term };
        let (data, report) = (term.data(), cycle.report.map(|report| (path_of(report.cycle), report.data())));
        let dropped = cycle.dropped.map(path_of);
        let count = cycle.counter.map(|(value, _)| value.to_string());
        let mut writes = vec![
            (WriteOp::Own, Write::Check { path: leadership.znode(), version: ANY }),
            (WriteOp::Fence, Write::Set { path: fence::PATH, data: &data, version: Some(self.version) }),
        ];
        if let Some((path, data)) = report.as_ref().filter(|_| cycle.stored) {
            writes.push((WriteOp::Report, Write::Create { path, data, mode: CreateMode::Persistent }));
        }
        if let Some(path) = &dropped {
            writes.push((WriteOp::Dropped, Write::Delete { path, version: None }));
        }
        if let Some(closed) = cycle.barrier {
            if closed {
                writes.push((WriteOp::Open, Write::Delete { path: barrier::PATH, version: None }));
            }
            writes.push((
                WriteOp::Close,
                Write::Create { path: barrier::PATH, data: b"", mode: CreateMode::Persistent },
            ));
        }
        if let (Some(count), Some((_, version))) = (&count, cycle.counter) {
            let data = count.as_bytes();
            writes.push((WriteOp::Counter, Write::Set { path: COUNTER, data, version: Some(version) }));
        }
        let sent = BootInstant::now();
        let written = fail_points::during("committing", multi(leadership.connection(), &writes)).await?;
        fail_points::point("committed");
        let Some(Written::Set(stat)) = written.get(1) else {
            return Err(CommitError::OutcomeUnknown(unexpected(leadership.connection())));
        };
        clock.heard(stat.mtime, sent, BootInstant::now());
        (self.term, self.version, self.newest) = (term, stat.version, stat.mzxid);
        Ok(stat.mzxid)
    }
}

/// Returns the last cycle that a fleet can have reached: in a thousand years with a thousand cycles a second.
fn last_likely(cycles: &BTreeSet<u64>) -> u64 {
    const LIMIT: u64 = 1_000 * 366 * 86_400 * 1_000;
    cycles.range(..LIMIT).next_back().copied().unwrap_or(0)
}

/// Returns what `data` at the fence says, unless no leader can have written it; the log then says why.
///
/// Epochs grow more slowly than clocks. So an epoch far above the clock of ZooKeeper that wrote the znode, or this
/// leader's election znode, is damage or an attack: leaders above it would be refused by collectors.
fn believed(data: &[u8], stat: &Stat, created: i64) -> Option<Fence> {
    let latest = fence::latest_epoch(created.max(stat.mtime).max(stat.ctime));
    let read = Fence::parse(data).and_then(|term| match term.epoch < latest {
        true => Ok(term),
        false => Err(format!("epoch {} is above {latest}, a day ahead of ZooKeeper's clock", term.epoch)),
    });
    match read {
        Ok(term) => Some(term),
        Err(problem) => {
            let path = fence::PATH;
            warn!("{path} does not hold what a leader writes: {problem}; a new epoch begins");
            None
        }
    }
}

/// Closes the barrier, which is open, before the first cycle. Gives its generation, unless somebody has opened it since.
pub async fn close_barrier(leadership: &Leadership) -> Result<Option<i64>, CommitError> {
    let connection = leadership.connection();
    let own = Write::Check { path: leadership.znode(), version: ANY };
    let close = Write::Create { path: barrier::PATH, data: b"", mode: CreateMode::Persistent };
    multi(connection, &[(WriteOp::Own, own), (WriteOp::Close, close)]).await?;
    // The stat of what a `multi` creates is not to be trusted before ZooKeeper 3.8.2.
    Ok(connection.stat(barrier::PATH).await?.map(|stat| stat.czxid))
}

/// Opens the barrier, which is closed, for good.
pub async fn open_barrier(leadership: &Leadership) -> Result<(), CommitError> {
    let own = Write::Check { path: leadership.znode(), version: ANY };
    let open = Write::Delete { path: barrier::PATH, version: None };
    multi(leadership.connection(), &[(WriteOp::Own, own), (WriteOp::Open, open)]).await.map(|_| ())
}

/// An answer that no server gives.
fn unexpected(connection: &Connection) -> Error {
    Error::Timeout { operation: "multi", path: fence::PATH.to_owned(), after: connection.timeout() }
}

pub(super) fn path_of(cycle: u64) -> String {
    format!("{}/{cycle}", outbox::PATH)
}

/// All or none.
pub(super) async fn multi(
    connection: &Connection,
    writes: &[(WriteOp, Write<'_>)],
) -> Result<Vec<Written>, CommitError> {
    let all: Vec<Write<'_>> = writes.iter().map(|(_, write)| *write).collect();
    connection.multi(&all).await.map_err(|refusal| match refusal.at.and_then(|at| writes.get(at)) {
        Some((WriteOp::Own, _)) if refusal.error.is_no_node() => CommitError::Fenced,
        Some((part, _)) if !refusal.error.is_connection_loss() => CommitError::Rejected(*part, refusal.error),
        _ => CommitError::OutcomeUnknown(refusal.error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leader_skips_a_cycle_whose_path_stays_occupied() {
        let term = Fence { epoch: 7, cycle: 41, skipped: None };
        let mut office = FencedStore { own: 1, term, version: 0, newest: 0, occupied: None, skipped: 0 };
        for _ in 1..OCCUPIED {
            office.found_occupied();
            assert_eq!(office.next_term().cycle, 42, "a report there may still be moved");
        }
        office.found_occupied();
        assert_eq!(office.next_term().cycle, 43);
        // The next one is occupied, too.
        (0..OCCUPIED).for_each(|_| office.found_occupied());
        assert_eq!(office.next_term().cycle, 44);
        office.term = office.next_term();
        assert_eq!(office.next_term().cycle, 45);
    }

    #[test]
    fn leader_believes_no_fence_that_is_a_day_ahead_of_every_clock() {
        let stat = |seconds: i64| crate::fleet_status::tests::stat(1_000 * seconds, 1_000 * seconds);
        let believed = |epoch, written, created| {
            let data = Fence { epoch, cycle: 3, skipped: None }.data();
            believed(&data, &stat(written), created * 1_000).map(|term| term.epoch)
        };
        let now = 1_795_000_000;
        assert_eq!(believed(now, now, now), Some(now));
        assert_eq!(believed(now + 86_000, now, now), Some(now + 86_000));
        assert_eq!(believed(now + 86_400, now, now), None);
        assert_eq!(believed(now, now, now - 300 * 86_400), Some(now), "a clock that was set back");
        assert_eq!(believed(now, 5, 7), Some(now), "a clock that was never set");
        assert_eq!(believed(i64::MAX, 5, 7), None);
    }
}

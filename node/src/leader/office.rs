//! What a leader writes into ZooKeeper: its term, cycle by cycle with its report, and what became of reports. Every write is
//! one `multi` with a check of the own election znode, so that nothing of a deposed leader takes effect.

use std::collections::BTreeSet;

use atalaya_recipes::clock::Moment;
use atalaya_recipes::session::{BulkRead, Kind, Write, Written};
use atalaya_recipes::{Error, Leadership, Link};
use tracing::warn;

use super::outbox::{self, ASIDE, Ending, MOST_ASIDE};
use super::report::CycleReport;
use super::rhythm::ServerClock;
use super::term::{self, Term};
use crate::fault;

/// Reports that are read in one request; each is less than 1 KiB, mostly.
const BATCH: usize = 128;

/// The version that every znode has.
const ANY: i32 = -1;

/// Why a write of the leader had no effect, or may have had none.
#[derive(Debug)]
pub enum Failed {
    /// The own election znode is gone: somebody else leads, or will.
    Deposed,
    /// One of the writes was refused.
    Refused(Part, Error),
    /// None of them took effect, or nobody knows.
    Unclear(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Unclear(error)
    }
}

/// Which of the writes of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The check that the own election znode is there.
    Own,
    /// The fence.
    Term,
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
pub struct Office {
    /// Which election znode it was taken with.
    own: i64,
    /// What stands at the fence.
    pub term: Term,
    version: i32,
    /// The transaction that wrote the newest cycle: what was measured since then is in no cycle.
    pub newest: i64,
}

/// What stands in ZooKeeper when a leader begins.
#[derive(Debug)]
pub struct Begun {
    /// The hold on the fence.
    pub office: Office,
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
/// Where the barrier stands.
pub const BARRIER: &str = "/barrier";

impl Office {
    /// Whether it was taken in this term of leading.
    pub fn is_of(&self, leadership: &Leadership) -> bool {
        self.own == leadership.term()
    }

    /// Takes it: whoever had it before can write no more. `own` is what this leader has written last, if it has.
    ///
    /// # Cancellation safety
    /// Dropped midway, it may have been taken or not; taking it again costs an epoch.
    pub async fn take(
        leadership: &Leadership,
        clock: &mut ServerClock,
        own: Option<Term>,
    ) -> Result<Begun, Failed> {
        let link = leadership.link();
        // What was written before must be seen, whichever server answers.
        link.sync().await?;
        let waiting = match cycles(link, outbox::PATH).await? {
            Some(waiting) => waiting,
            None => {
                link.ensure(outbox::PATH).await?;
                BTreeSet::new()
            }
        };
        let check = Write::Check { path: leadership.znode(), version: ANY };
        let found = match link.get(term::PATH).await {
            Ok(found) => Some(found),
            Err(error) if error.is_no_node() => None,
            Err(error) => return Err(error.into()),
        };
        let before = found.as_ref().and_then(|(data, _)| Term::parse(data));
        let (mut created, mut newest) = (0, waiting.last().copied().unwrap_or(0));
        if before.is_none() {
            let stat = link.stat(leadership.znode()).await?.ok_or(Failed::Deposed)?;
            created = stat.ctime;
            let aside = cycles(link, ASIDE).await?.and_then(|aside| aside.last().copied());
            newest = newest.max(aside.unwrap_or(0));
            if found.is_some() {
                warn!("{} holds nothing that a leader has written: beginning anew", term::PATH);
            }
        }
        let term = Term::next(before, own, created, newest);
        let data = term.data();
        let sent = Moment::now();
        let write = match &found {
            Some((_, stat)) => Write::Set { path: term::PATH, data: &data, version: Some(stat.version) },
            None => Write::Create { path: term::PATH, data: &data, kind: Kind::Persistent },
        };
        let written = multi(link, &[(Part::Own, check), (Part::Term, write)]).await?;
        let version = match written.get(1) {
            Some(Written::Set(stat)) => {
                clock.heard(stat.mtime, sent, Moment::now());
                stat.version
            }
            // The stat of what a `multi` creates is not to be trusted before ZooKeeper 3.8.2.
            _ => {
                let sent = Moment::now();
                let set = Write::Set { path: term::PATH, data: &data, version: Some(0) };
                match multi(link, &[(Part::Own, check), (Part::Term, set)]).await?.get(1) {
                    Some(Written::Set(stat)) => {
                        clock.heard(stat.mtime, sent, Moment::now());
                        stat.version
                    }
                    _ => return Err(Failed::Unclear(unexpected(link))),
                }
            }
        };
        // If somebody has led without a cycle in between, the one before that is no more to be told from it; then what was
        // measured meanwhile counts in no cycle.
        let (before, newest) = match before.and(found) {
            Some((_, stat)) => (Some(stat.mtime), stat.mzxid),
            None => (None, 0),
        };
        Ok(Begun { office: Office { own: leadership.term(), term, version, newest }, waiting, before })
    }

    /// Looks again after an interruption, or a write whose outcome is unknown: the cycles whose reports wait, or `None` if
    /// the fence is not what it was left at, nor one cycle on: somebody else has written it.
    pub async fn look(&mut self, leadership: &Leadership) -> Result<Option<BTreeSet<u64>>, Failed> {
        let link = leadership.link();
        link.sync().await?;
        let (data, stat) = match link.get(term::PATH).await {
            Ok(found) => found,
            Err(error) if error.is_no_node() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(term) = Term::parse(&data).filter(|term| term.epoch == self.term.epoch) else {
            return Ok(None);
        };
        let waiting = cycles(link, outbox::PATH).await?.unwrap_or_default();
        if term.cycle != self.term.cycle {
            self.newest = stat.mzxid;
        }
        (self.term, self.version) = (term, stat.version);
        Ok(Some(waiting))
    }

    /// Writes a cycle down. Gives the transaction's number, which is the generation of the barrier that it closes.
    ///
    /// # Cancellation safety
    /// Dropped midway, it took effect or not: [`Office::look`] tells.
    pub async fn advance(
        &mut self,
        leadership: &Leadership,
        clock: &mut ServerClock,
        cycle: Cycle<'_>,
    ) -> Result<i64, Failed> {
        let term = if cycle.report.is_some() { self.term.advanced() } else { self.term };
        let (data, report) = (term.data(), cycle.report.map(|report| (path_of(report.cycle), report.data())));
        let dropped = cycle.dropped.map(path_of);
        let count = cycle.counter.map(|(value, _)| value.to_string());
        let mut writes = vec![
            (Part::Own, Write::Check { path: leadership.znode(), version: ANY }),
            (Part::Term, Write::Set { path: term::PATH, data: &data, version: Some(self.version) }),
        ];
        if let Some((path, data)) = report.as_ref().filter(|_| cycle.stored) {
            writes.push((Part::Report, Write::Create { path, data, kind: Kind::Persistent }));
        }
        if let Some(path) = &dropped {
            writes.push((Part::Dropped, Write::Delete { path, version: None }));
        }
        if let Some(closed) = cycle.barrier {
            if closed {
                writes.push((Part::Open, Write::Delete { path: BARRIER, version: None }));
            }
            writes.push((Part::Close, Write::Create { path: BARRIER, data: b"", kind: Kind::Persistent }));
        }
        if let (Some(count), Some((_, version))) = (&count, cycle.counter) {
            let data = count.as_bytes();
            writes.push((Part::Counter, Write::Set { path: COUNTER, data, version: Some(version) }));
        }
        let sent = Moment::now();
        let written = fault::during("committing", multi(leadership.link(), &writes)).await?;
        fault::point("committed");
        let Some(Written::Set(stat)) = written.get(1) else {
            return Err(Failed::Unclear(unexpected(leadership.link())));
        };
        clock.heard(stat.mtime, sent, Moment::now());
        (self.term, self.version, self.newest) = (term, stat.version, stat.mzxid);
        Ok(stat.mzxid)
    }
}

/// Closes the barrier, which is open, before the first cycle. Gives its generation, unless somebody has opened it since.
pub async fn close_barrier(leadership: &Leadership) -> Result<Option<i64>, Failed> {
    let link = leadership.link();
    let own = Write::Check { path: leadership.znode(), version: ANY };
    let close = Write::Create { path: BARRIER, data: b"", kind: Kind::Persistent };
    multi(link, &[(Part::Own, own), (Part::Close, close)]).await?;
    // The stat of what a `multi` creates is not to be trusted before ZooKeeper 3.8.2.
    Ok(link.stat(BARRIER).await?.map(|stat| stat.czxid))
}

/// Opens the barrier, which is closed, for good.
pub async fn open_barrier(leadership: &Leadership) -> Result<(), Failed> {
    let own = Write::Check { path: leadership.znode(), version: ANY };
    let open = Write::Delete { path: BARRIER, version: None };
    multi(leadership.link(), &[(Part::Own, own), (Part::Open, open)]).await.map(|_| ())
}

/// An answer that no server gives.
fn unexpected(link: &Link) -> Error {
    Error::Timeout { operation: "multi", path: term::PATH.to_owned(), after: link.timeout() }
}

fn path_of(cycle: u64) -> String {
    format!("{}/{cycle}", outbox::PATH)
}

/// All or none.
async fn multi(link: &Link, writes: &[(Part, Write<'_>)]) -> Result<Vec<Written>, Failed> {
    let all: Vec<Write<'_>> = writes.iter().map(|(_, write)| *write).collect();
    link.multi(&all).await.map_err(|refusal| match refusal.at.and_then(|at| writes.get(at)) {
        Some((Part::Own, _)) if refusal.error.is_no_node() => Failed::Deposed,
        Some((part, _)) if !refusal.error.is_link_trouble() => Failed::Refused(*part, refusal.error),
        _ => Failed::Unclear(refusal.error),
    })
}

/// The cycles below `parent`; `None` if it is not there.
pub async fn cycles(link: &Link, parent: &str) -> Result<Option<BTreeSet<u64>>, Error> {
    match link.children(parent).await {
        // Names that are no cycles are none of ours.
        Ok(names) => Ok(Some(names.iter().filter_map(|name| name.parse().ok()).collect())),
        Err(error) if error.is_no_node() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads reports that wait, oldest first: what each cycle's znode holds, and `None` for those that are gone.
pub async fn read(link: &Link, parent: &str, cycles: &[u64]) -> Result<Vec<(u64, Option<Vec<u8>>)>, Error> {
    let mut all = Vec::with_capacity(cycles.len());
    for batch in cycles.chunks(BATCH) {
        let paths: Vec<String> = batch.iter().map(|cycle| format!("{parent}/{cycle}")).collect();
        for (cycle, answer) in batch.iter().zip(link.get_many(&paths).await?) {
            let data = match answer {
                BulkRead::Data(data, _) => Some(data),
                BulkRead::Missing(_) => None,
            };
            all.push((*cycle, data));
        }
    }
    Ok(all)
}

/// Does what is to be done with a report that is settled. Gives how many older ones were given up to make room for it.
///
/// # Cancellation safety
/// Dropped midway, it may be done or not; it can be done again.
pub async fn settle(leadership: &Leadership, cycle: u64, ending: &Ending) -> Result<usize, Failed> {
    let link = leadership.link();
    let path = path_of(cycle);
    let own = (Part::Own, Write::Check { path: leadership.znode(), version: ANY });
    let delete = (Part::Report, Write::Delete { path: &path, version: None });
    let mut given_up = 0;
    let done = match ending {
        Ending::Delivered => fault::during("deleting", multi(link, &[own, delete])).await,
        Ending::Aside(report) => {
            given_up = make_room_aside(link).await?;
            let (aside, data) = (format!("{ASIDE}/{cycle}"), report.data());
            let create = Write::Create { path: &aside, data: &data, kind: Kind::Persistent };
            match multi(link, &[own, (Part::Dropped, create), delete]).await {
                Err(Failed::Refused(Part::Dropped, error)) if error.is_node_exists() => {
                    let set = Write::Set { path: &aside, data: &data, version: None };
                    multi(link, &[own, (Part::Dropped, set), delete]).await
                }
                Err(Failed::Refused(Part::Dropped, error)) if error.is_no_node() => {
                    link.ensure(ASIDE).await?;
                    multi(link, &[own, (Part::Dropped, create), delete]).await
                }
                done => done,
            }
        }
    };
    fault::point("deleted");
    match done {
        Err(Failed::Refused(Part::Report, error)) if error.is_no_node() => Ok(given_up),
        done => done.map(|_| given_up),
    }
}

async fn make_room_aside(link: &Link) -> Result<usize, Error> {
    let aside = cycles(link, ASIDE).await?.unwrap_or_default();
    let too_many = (aside.len() + 1).saturating_sub(MOST_ASIDE);
    for cycle in aside.iter().take(too_many) {
        match link.delete(&format!("{ASIDE}/{cycle}"), None).await {
            Err(error) if !error.is_no_node() => return Err(error),
            _ => {}
        }
    }
    Ok(too_many)
}

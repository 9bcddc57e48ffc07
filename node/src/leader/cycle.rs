//! The leader's clock: when a cycle is due, what it comes to, and writing it down.

use std::time::Duration;

use atalaya_hal::boards::{Counting, Release, SyncMode};
use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Backoff, Leadership, WrongZnodeReporter};
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{AGAIN, AVERAGES, Leader, LeaderConfig, log_joined, log_left, patience};
use crate::fail_points;
use crate::leader::delivery::worker::Outgoing;
use crate::leader::fenced_store::{self, CommitError, Cycle, FencedStore, WriteOp};
use crate::leader::members::Members;
use crate::leader::read_fleet::{Gathered, Since, gather, not_written_since};
use crate::leader::schedule::{Schedule, ServerClock};
use crate::leader::write_counter::{Count, CounterTrouble};
use crate::metrics::CycleResult;
use crate::model::barrier;
use crate::model::report::CycleReport;

/// After so many periods without a write a measurement is too old to count, and never before [`SHORTEST_LIFE`].
const STALE_PERIODS: u32 = 3;
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// How often to look whether all have published: a part of the period, within bounds.
const LOOKS: u32 = 50;
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(50);

/// What takes part in a cycle.
pub(super) struct CycleRunner<'a> {
    pub(super) leader: &'a Leader,
    pub(super) leadership: &'a Leadership,
    pub(super) office: &'a mut FencedStore,
    pub(super) clock: &'a mut ServerClock,
    pub(super) roster: &'a mut Members,
    pub(super) outgoing: &'a Outgoing,
    /// Told of the newest cycle.
    pub(super) counted: watch::Sender<u64>,
    /// Problems with the counter.
    pub(super) counter: CounterTrouble,
    /// Refusals by ZooKeeper since the last cycle that was written down.
    pub(super) trouble: &'a mut Backoff,
    /// Znodes that have the wrong type, besides those that refuse a cycle.
    pub(super) sightings: WrongZnodeReporter,
}

/// The barrier, in lock-step.
#[derive(Clone, Debug)]
struct Closed {
    /// Its generation; `None` if it turned out to be open.
    generation: Option<i64>,
    /// The measurements that are waited for; `None`: not looked yet.
    missing: Option<Vec<String>>,
}

/// How a cycle ended.
enum Done {
    /// The next one, please.
    Well(CycleResult),
    /// It could not be done; once more, soon.
    Again,
    /// The office has to be looked at.
    Unsure,
}

impl CycleRunner<'_> {
    /// Makes cycle after cycle, until the office has to be looked at again. `before` is when the last one was.
    pub(super) async fn run(mut self, before: Option<i64>, list: &mut watch::Receiver<Option<Vec<String>>>) {
        // It is to be known who measures.
        if list.wait_for(Option::is_some).await.is_err() {
            return;
        }
        self.take_list(list);
        let mut orders = self.leader.options.orders.clone();
        let mut now = orders.borrow_and_update().clone();
        let mut last = before;
        let mut closed = match now.sync {
            SyncMode::Barrier => match self.close().await {
                Ok((closed, since)) => {
                    last = since.or(last);
                    Some(closed)
                }
                Err(failed) => return self.complain(failed).await,
            },
            SyncMode::Free => {
                self.open_what_is_left().await;
                None
            }
        };
        let mut count = None;
        let mut rhythm = self.rhythm(last, &now);
        loop {
            let due = rhythm.wait(self.now());
            self.leader.options.metrics.cycle_scheduled(due, patience(self.leadership.connection()));
            let look = (now.period / LOOKS).clamp(SHORTEST_LOOK, LONGEST_LOOK);
            let early = closed.is_some() && now.release == Release::Complete;
            tokio::select! {
                biased;
                Ok(()) = orders.changed() => {
                    let new = orders.borrow_and_update().clone();
                    if new.sync != now.sync {
                        // From the beginning, as another leader would.
                        return;
                    }
                    if (new.period, new.release) != (now.period, now.release) {
                        rhythm = self.rhythm(Some(self.now()), &new);
                    }
                    now = new;
                    continue;
                }
                Ok(()) = list.changed() => {
                    self.take_list(list);
                    continue;
                }
                () = tokio::time::sleep(due), if !early || due <= look => {}
                () = tokio::time::sleep(look), if early && due > look => {
                    if !self.all_have_published(closed.as_mut()).await {
                        continue;
                    }
                }
            }
            let begun = self.now();
            let (late, since) = (rhythm.late(begun), BootInstant::now());
            let done = self.cycle(&now, &mut closed, &mut count).await;
            let took = BootInstant::now().since(since);
            let ended = if let Done::Well(ended) = done { ended } else { CycleResult::Failed };
            self.leader.options.metrics.cycle_ended(ended, late, took, self.clock.now(BootInstant::now()));
            match done {
                Done::Well(_) => rhythm.begun(begun),
                Done::Again => tokio::time::sleep(AGAIN.min(now.period / 2)).await,
                Done::Unsure => return,
            }
        }
    }

    /// ZooKeeper's clock, in milliseconds.
    fn now(&self) -> i64 {
        // Taking the office has told it.
        self.clock.now(BootInstant::now()).unwrap_or_default()
    }

    fn rhythm(&self, last: Option<i64>, orders: &LeaderConfig) -> Schedule {
        match (orders.sync, orders.release) {
            (SyncMode::Barrier, Release::Complete) => {
                Schedule::at_the_latest(last, self.now(), orders.period)
            }
            _ => Schedule::after(last, self.now(), orders.period),
        }
    }

    fn take_list(&mut self, list: &mut watch::Receiver<Option<Vec<String>>>) {
        let names = list.borrow_and_update().clone().unwrap_or_default();
        let options = &self.leader.options;
        let changes = self.roster.update(&options.measurements, names);
        log_joined(&changes.joined, self.roster.len());
        log_left(&changes.left, self.roster.len());
    }

    /// Whether every live node has published since the barrier was closed.
    async fn all_have_published(&self, closed: Option<&mut Closed>) -> bool {
        let Some(Closed { generation: Some(generation), missing }) = closed else { return true };
        if self.roster.is_empty() {
            return false;
        }
        let asked = match missing.take() {
            Some(missing) => missing.into_iter().filter(|path| self.roster.has(path)).collect(),
            None => self.roster.paths(),
        };
        match not_written_since(self.leadership.connection(), asked.clone(), *generation).await {
            Ok(left) if left.is_empty() => {
                // Somebody may have come meanwhile.
                *missing = None;
                true
            }
            Ok(left) => {
                *missing = Some(left);
                false
            }
            Err(_) => {
                *missing = Some(asked);
                false
            }
        }
    }

    async fn cycle(
        &mut self,
        orders: &LeaderConfig,
        closed: &mut Option<Closed>,
        count: &mut Option<Count>,
    ) -> Done {
        let now = self.now();
        let life = (orders.period * STALE_PERIODS).max(SHORTEST_LIFE);
        let time = now.saturating_sub(i64::try_from(life.as_millis()).unwrap_or(i64::MAX));
        let since = Since { time, zxid: self.office.newest };
        let gathered = match gather(self.leadership.connection(), self.roster, since).await {
            Ok(gathered) => gathered,
            Err(error) => {
                warn!("no average this time: {error}");
                // Who waits at the barrier waits for this cycle.
                return if closed.is_some() { Done::Again } else { Done::Well(CycleResult::Failed) };
            }
        };
        self.leader.options.metrics.fleet_read(self.roster.len(), gathered.reasons);
        fail_points::point("gathered");
        let report = self.report(&gathered, now);
        if report.is_none() {
            warn!(excluded = gathered.excluded, "no average this time: nobody has a usable measurement");
            if closed.is_none() {
                return Done::Well(CycleResult::Empty);
            }
        }
        if orders.counting != Counting::PerCycle {
            *count = None;
        } else if count.is_none() {
            *count = match self.counter.read(self.leadership.connection()).await {
                Ok(count) => count,
                Err(error) => {
                    warn!(%error, "cannot read the counter");
                    return Done::Again;
                }
            };
        }
        let counted = count.map(|count| count.value.saturating_add(gathered.new as i64));
        let dropped = match &report {
            Some(_) if orders.api.is_some() => self.outgoing.with(|outbox| outbox.too_many()).await,
            _ => None,
        };
        let cycle = Cycle {
            report: report.as_ref(),
            stored: orders.api.is_some(),
            dropped,
            barrier: closed.as_ref().map(|closed| closed.generation.is_some()),
            counter: counted.zip(count.map(|count| count.version)),
        };
        let generation = match self.office.advance(self.leadership, self.clock, cycle).await {
            Ok(generation) => {
                self.trouble.reset();
                generation
            }
            Err(failed) => return self.refused(failed, closed, count).await,
        };
        if let Some(closed) = closed {
            *closed = Closed { generation: Some(generation), missing: None };
        }
        if let (Some(count), Some(value)) = (count, counted) {
            *count = Count { value, version: count.version.wrapping_add(1) };
        }
        self.leader.options.metrics.set_counter(counted);
        let Some(report) = report else { return Done::Well(CycleResult::Empty) };
        self.written(report, dropped, orders.api.is_some()).await;
        Done::Well(CycleResult::Committed)
    }

    fn report(&self, gathered: &Gathered, now: i64) -> Option<CycleReport> {
        let averages = gathered.aggregate.averages();
        if averages.is_empty() {
            return None;
        }
        let term = self.office.next_term();
        let time = Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH);
        Some(CycleReport::new(term.epoch, term.cycle, time, averages, gathered.excluded))
    }

    /// A cycle is written down.
    async fn written(&self, report: CycleReport, dropped: Option<u64>, stored: bool) {
        self.counted.send_replace(report.cycle);
        for average in &report.averages {
            info!(
                target: AVERAGES,
                cycle = report.cycle,
                mean = average.mean,
                unit = average.unit.as_deref(),
                min = average.min,
                max = average.max,
                count = average.count,
                excluded = report.excluded,
                "average"
            );
        }
        self.leader.options.metrics.set_averages(&report);
        dropped.iter().for_each(|_| self.leader.options.metrics.report_dropped());
        self.leader.tell_averages(&report);
        self.outgoing
            .with(|outbox| {
                dropped.into_iter().for_each(|cycle| outbox.dropped(cycle));
                if stored {
                    outbox.add(report);
                }
            })
            .await;
    }

    /// What to do about a cycle that was not written down, or perhaps not.
    async fn refused(
        &mut self,
        failed: CommitError,
        closed: &mut Option<Closed>,
        count: &mut Option<Count>,
    ) -> Done {
        match failed {
            CommitError::Fenced => std::future::pending().await,
            CommitError::Rejected(WriteOp::Counter, error) => {
                // Another client has counted, or the counter cannot be written at all: then the cycle goes without it.
                self.counter.refused(&error);
                *count = None;
                Done::Again
            }
            CommitError::Rejected(WriteOp::Open, error) if error.is_no_node() => {
                warn!("somebody else has opened the barrier");
                if let Some(closed) = closed {
                    closed.generation = None;
                }
                Done::Again
            }
            CommitError::Rejected(WriteOp::Close, error) if error.is_node_exists() => {
                if let Some(closed) = closed {
                    closed.generation = Some(0);
                }
                Done::Again
            }
            CommitError::Rejected(WriteOp::Dropped, error) if error.is_no_node() => Done::Unsure,
            CommitError::Rejected(WriteOp::Report, error) if error.is_no_node() => {
                // Somebody has deleted the outbox.
                match self.leadership.connection().ensure(crate::leader::delivery::outbox::PATH).await {
                    Ok(()) => Done::Again,
                    Err(_) => Done::Unsure,
                }
            }
            failed => {
                if matches!(&failed, CommitError::Rejected(WriteOp::Report, error) if error.is_node_exists())
                {
                    self.office.found_occupied();
                }
                self.complain(failed).await;
                Done::Unsure
            }
        }
    }

    async fn complain(&mut self, failed: CommitError) {
        match failed {
            CommitError::Fenced => std::future::pending().await,
            // It will be refused again: this is logged once, and retried with growing pauses.
            CommitError::OutcomeUnknown(error) | CommitError::Rejected(_, error)
                if !error.is_connection_loss() =>
            {
                self.trouble.pause(self.leadership.connection().session(), &error).await;
            }
            CommitError::OutcomeUnknown(error) | CommitError::Rejected(_, error) => {
                warn!("this cycle is not written down, or not known to be: {error}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Closes the barrier, or finds it closed: since when, by ZooKeeper's clock, if another leader has closed it.
    async fn close(&mut self) -> Result<(Closed, Option<i64>), CommitError> {
        let connection = self.leadership.connection();
        if let Some(stat) = connection.stat(barrier::PATH).await? {
            info!(generation = stat.czxid, "the barrier is closed; this cycle is finished first");
            // The transaction of the newest cycle, exactly.
            self.office.newest = stat.czxid;
            return Ok((Closed { generation: Some(stat.czxid), missing: None }, Some(stat.ctime)));
        }
        let generation = fenced_store::close_barrier(self.leadership).await?;
        Ok((Closed { generation, missing: None }, Some(self.now())))
    }

    /// Nobody waits at the barrier any more.
    async fn open_what_is_left(&mut self) {
        let connection = self.leadership.connection();
        let opened = async {
            match connection.stat(barrier::PATH).await? {
                Some(_) => fenced_store::open_barrier(self.leadership).await.map(|()| true),
                None => Ok(false),
            }
        };
        match opened.await {
            Ok(true) => info!("the barrier was closed, and is open: every node measures by its own clock"),
            Ok(false) => {}
            Err(CommitError::Rejected(_, error)) if error.is_no_node() => {}
            // Who leads now sees to it.
            Err(CommitError::Fenced) => {}
            Err(CommitError::Rejected(_, error) | CommitError::OutcomeUnknown(error)) => {
                match error.wrong_znode() {
                    Some(wrong) => self.sightings.update(connection.session(), [wrong]),
                    None => warn!(%error, "cannot open the barrier"),
                }
            }
        }
    }
}

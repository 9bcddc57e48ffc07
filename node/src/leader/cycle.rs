//! The cycles of an epoch: waits until a cycle is due, reads the fleet, and commits the average.

use std::fmt::Display;
use std::time::Duration;

use atalaya_config::{BarrierRelease, CounterMode, SyncMode};
use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Backoff, Connection, Error, Leadership, WrongZnodeReporter};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::fail_points;
use crate::leader::barrier::{self, Barrier};
use crate::leader::config::{LeaderConfig, LeaderHandles};
use crate::leader::delivery::outbox::Outbox;
use crate::leader::delivery::shared_outbox::SharedOutbox;
use crate::leader::fenced_multi::{CommitError, WriteOp};
use crate::leader::fenced_store::{CounterValue, CycleCommit, FencedStore};
use crate::leader::findings_log::FindingsLog;
use crate::leader::groups::Groups;
use crate::leader::members::Members;
use crate::leader::read_fleet::{FleetReading, Freshness, read_fleet};
use crate::leader::schedule::Schedule;
use crate::leader::status_push::{FleetSnapshot, MAX_NODES};
use crate::leader::write_counter::CounterReader;
use crate::metrics::{CycleResult, FleetCounts};
use crate::model::barrier::PATH;
use crate::model::fence::Fence;
use crate::model::report::{Average, CycleReport};
use crate::zk::server_clock::{Millis, ServerClock, millis};

#[path = "cycle_values.rs"]
mod values;

/// Target of the log lines with averages.
pub(crate) const AVERAGES_TARGET: &str = "atalaya::leader::average";

/// Age at which a measurement is stale, in periods. It is never below [`MIN_STALE_AGE`].
const STALE_PERIODS: u32 = 3;
const MIN_STALE_AGE: Duration = Duration::from_secs(1);
/// Number of checks per period whether all nodes have published, within the bounds below.
const POLLS_PER_PERIOD: u32 = 50;
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(2);
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(50);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Returns the maximum duration of a cycle's requests: a leader without a response for a session timeout is deposed.
pub(super) fn zookeeper_timeout(connection: &Connection) -> Duration {
    connection.timeout() * 2
}

pub(super) struct CycleRunner<'a> {
    pub(super) handles: &'a LeaderHandles,
    pub(super) leadership: &'a Leadership,
    pub(super) config: LeaderConfig,
    pub(super) store: &'a mut FencedStore,
    pub(super) clock: &'a mut ServerClock,
    pub(super) members: &'a mut Members,
    pub(super) outboxes: &'a [SharedOutbox],
    /// Backoff after errors of ZooKeeper since the last committed cycle.
    pub(super) backoff: &'a mut Backoff,
    /// True while the cycles have no average, which is logged already.
    pub(super) without_average: &'a mut bool,
    /// Outliers and withheld values that are logged already.
    pub(super) findings_log: &'a mut FindingsLog,
    pub(super) groups: watch::Receiver<Groups>,
    /// Receiver of the measurements, for the fleet status.
    pub(super) snapshot: watch::Sender<Option<FleetSnapshot>>,
    /// State of the barrier; `None` if the fleet is not in lock-step mode.
    pub(super) barrier: Option<Barrier>,
    /// Value of the counter; `None` if it has to be read, or is not written by the leader.
    pub(super) counter: Option<CounterValue>,
    pub(super) counter_reader: CounterReader,
    /// Znodes of the wrong type, besides those that [`CycleRunner::backoff`] reports.
    pub(super) wrong_znodes: WrongZnodeReporter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CycleOutcome {
    Done(CycleResult),
    Retry,
    /// The fence must be reloaded: the cycle may be committed or not, or another leader may have taken over.
    ReloadFence,
}

impl CycleRunner<'_> {
    /// Runs cycles until the fence must be reloaded. `last_cycle` is the time of the last cycle.
    pub(super) async fn run(
        mut self,
        mut last_cycle: Option<Millis>,
        member_names: &mut watch::Receiver<Option<Vec<String>>>,
    ) {
        // Without the first list there is no node to read.
        if member_names.wait_for(Option::is_some).await.is_err() {
            return;
        }
        self.update_members(member_names);
        let mut configs = self.handles.config.clone();
        self.config = configs.borrow_and_update().clone();
        match self.config.sync {
            SyncMode::Barrier => match self.find_or_close_barrier().await {
                Ok(closed_at) => last_cycle = Some(closed_at),
                Err(error) => return self.back_off(error).await,
            },
            SyncMode::Free => barrier::open_leftover(self.leadership, &mut self.wrong_znodes).await,
        }
        let mut schedule = self.schedule(last_cycle);
        loop {
            let delay = schedule.delay(self.now());
            let timeout = zookeeper_timeout(self.leadership.connection());
            self.handles.metrics.cycle_scheduled(delay, timeout);
            let poll = (self.config.period / POLLS_PER_PERIOD).clamp(MIN_POLL_INTERVAL, MAX_POLL_INTERVAL);
            let polls =
                self.barrier.is_some() && self.config.release == BarrierRelease::Complete && delay > poll;
            tokio::select! {
                biased;
                Ok(()) = configs.changed() => {
                    let before = std::mem::replace(&mut self.config, configs.borrow_and_update().clone());
                    if self.config.sync != before.sync {
                        // Prepares the barrier again, as a new leader does.
                        return;
                    }
                    if (self.config.period, self.config.release) != (before.period, before.release) {
                        schedule = self.schedule(Some(self.now()));
                    }
                    continue;
                }
                Ok(()) = member_names.changed() => {
                    self.update_members(member_names);
                    continue;
                }
                () = sleep(delay), if !polls => {}
                () = sleep(poll), if polls => {
                    if !self.all_have_published().await {
                        continue;
                    }
                }
            }
            let (started, timer) = (self.now(), BootInstant::now());
            let lateness = schedule.lateness(started);
            let outcome = self.run_cycle().await;
            let result = if let CycleOutcome::Done(result) = outcome { result } else { CycleResult::Failed };
            let duration = BootInstant::now().since(timer);
            self.handles.metrics.cycle_ended(result, lateness, duration, self.clock.now(BootInstant::now()));
            match outcome {
                CycleOutcome::Done(_) => schedule.on_started(started),
                CycleOutcome::Retry => sleep(RETRY_INTERVAL.min(self.config.period / 2)).await,
                CycleOutcome::ReloadFence => return,
            }
        }
    }

    /// Returns ZooKeeper's time.
    fn now(&self) -> Millis {
        // The takeover wrote the fence, so the clock is known.
        self.clock.now(BootInstant::now()).unwrap_or_default()
    }

    fn schedule(&self, last_cycle: Option<Millis>) -> Schedule {
        let aligned =
            (self.config.sync, self.config.release) != (SyncMode::Barrier, BarrierRelease::Complete);
        Schedule::new(last_cycle, self.now(), self.config.period, aligned)
    }

    fn update_members(&mut self, names: &mut watch::Receiver<Option<Vec<String>>>) {
        let names = names.borrow_and_update().clone().unwrap_or_default();
        self.members.update(&self.handles.measurements, names).log(self.members.len());
    }

    async fn run_cycle(&mut self) -> CycleOutcome {
        let now = self.now();
        debug!(members = self.members.len(), "reading the fleet");
        let reading = match self.read_fleet(now).await {
            Ok(reading) => reading,
            Err(error) => {
                self.log_average(Some(&error));
                // In lock-step mode all nodes wait for this cycle, so it must not be skipped.
                return match self.barrier {
                    Some(_) => CycleOutcome::Retry,
                    None => CycleOutcome::Done(CycleResult::Failed),
                };
            }
        };
        fail_points::point("gathered");
        let evaluation = self.evaluate(&reading);
        let withheld = evaluation.findings.withheld.len();
        let report = self.report(evaluation.averages, reading.excluded, now);
        let without_report = if withheld > 0 { CycleResult::Withheld } else { CycleResult::Empty };
        match without_report {
            _ if report.is_some() => {}
            CycleResult::Withheld => self.log_average(Some(&"too few nodes support the values")),
            _ => self.log_average(Some(&format!(
                "no node has a usable measurement; {} excluded",
                reading.excluded
            ))),
        }
        if report.is_none() && self.barrier.is_none() {
            return CycleOutcome::Done(without_report);
        }
        if let Err(error) = self.read_counter().await {
            warn!(%error, "cannot read the counter");
            return CycleOutcome::Retry;
        }
        let counter = self.counter.map(|counter| CounterValue {
            value: counter.value.saturating_add(reading.new as i64),
            ..counter
        });
        let mut outboxes = Vec::new();
        for outbox in self.outboxes.iter().filter(|outbox| outbox.receiver(&self.config).is_some()) {
            let dropped = if report.is_some() { outbox.lock().await.to_drop() } else { None };
            outboxes.push((outbox, dropped));
        }
        let paths: Vec<_> = outboxes.iter().map(|(outbox, dropped)| (&outbox.paths, *dropped)).collect();
        let commit = CycleCommit {
            report: report.as_ref(),
            outboxes: &paths,
            open_barrier: self.barrier.as_ref().is_some_and(|barrier| barrier.generation.is_some()),
            close_barrier: self.barrier.is_some(),
            counter,
        };
        match self.store.commit(self.leadership, self.clock, commit).await {
            Ok(zxid) => match self.on_committed(zxid, report, &outboxes, counter).await {
                true => CycleOutcome::Done(CycleResult::Committed),
                false => CycleOutcome::Done(without_report),
            },
            Err(error) => self.on_commit_failed(error).await,
        }
    }

    /// Logs once that cycles have no average, and once that they have one again.
    fn log_average(&mut self, problem: Option<&dyn Display>) {
        match (problem, std::mem::replace(self.without_average, problem.is_some())) {
            (Some(problem), false) => warn!("no average in this cycle: {problem}"),
            (Some(problem), true) => debug!("no average in this cycle: {problem}"),
            (None, true) => info!("cycles have an average again"),
            (None, false) => {}
        }
    }

    /// Closes the barrier, unless a previous leader has closed it. Returns the time at which it was closed.
    async fn find_or_close_barrier(&mut self) -> Result<Millis, CommitError> {
        if let Some(stat) = self.leadership.connection().stat(PATH).await? {
            let generation = stat.czxid;
            info!(generation, "the barrier is closed; the cycle of the previous leader is finished first");
            // The barrier was closed by the transaction of the newest cycle.
            self.store.last_cycle_zxid = generation;
            self.barrier = Some(Barrier::closed(generation));
            return Ok(stat.ctime);
        }
        self.barrier = Some(barrier::close(self.leadership).await?);
        Ok(self.now())
    }

    async fn all_have_published(&mut self) -> bool {
        let Some(barrier) = &mut self.barrier else { return true };
        barrier.all_have_published(self.leadership.connection(), self.members).await
    }

    async fn read_fleet(&mut self, now: Millis) -> Result<FleetReading, Error> {
        let stale_age = (self.config.period * STALE_PERIODS).max(MIN_STALE_AGE);
        let min_time = now.saturating_sub(millis(stale_age));
        let freshness = Freshness { min_time, last_cycle_zxid: self.store.last_cycle_zxid };
        let api = self.config.api.as_ref();
        // Only a collector of Atalaya receives the fleet status.
        let has_collector = api.is_some_and(|api| api.collector_url().is_some());
        let keep = if has_collector { MAX_NODES } else { 0 };
        let connection = self.leadership.connection();
        let mut reading = read_fleet(connection, self.members, freshness, keep).await?;
        if has_collector {
            let measurements = std::mem::take(&mut reading.measurements);
            self.snapshot.send_replace(Some(FleetSnapshot { measurements, clock: *self.clock }));
        }
        let fleet = FleetCounts { nodes: self.members.len(), excluded: reading.excluded_by_reason };
        self.handles.metrics.update(|stats| stats.fleet = Some(fleet));
        Ok(reading)
    }

    fn report(&self, averages: Vec<Average>, excluded: usize, now: Millis) -> Option<CycleReport> {
        if averages.is_empty() {
            return None;
        }
        let Fence { epoch, cycle, .. } = self.store.next_fence();
        let time = Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut report = CycleReport { epoch, cycle, time, excluded, averages, reason: None };
        report.limit_size();
        Some(report)
    }

    async fn read_counter(&mut self) -> Result<(), Error> {
        if self.config.counting != CounterMode::PerCycle {
            self.counter = None;
        } else if self.counter.is_none() {
            self.counter = self.counter_reader.read(self.leadership.connection()).await?;
        }
        Ok(())
    }

    /// Returns true if the cycle has a report.
    async fn on_committed(
        &mut self,
        zxid: i64,
        report: Option<CycleReport>,
        outboxes: &[(&SharedOutbox, Option<u64>)],
        counter: Option<CounterValue>,
    ) -> bool {
        self.backoff.reset();
        self.barrier = self.barrier.take().map(|_| Barrier::closed(zxid));
        self.counter = counter
            .map(|CounterValue { value, version }| CounterValue { value, version: version.wrapping_add(1) });
        self.handles.metrics.update(|stats| stats.counter = counter.map(|counter| counter.value));
        let Some(report) = report else { return false };
        self.handles.state.send_modify(|state| state.iter_mut().for_each(|state| state.cycle = report.cycle));
        self.log_average(None);
        values::log_averages(&report);
        self.handles.metrics.set_averages(&report);
        self.handles.publish_averages(&report);
        for (outbox, dropped) in outboxes {
            if dropped.is_some() {
                outbox.metrics.report_dropped();
            }
            let add = |outbox: &mut Outbox| {
                dropped.iter().for_each(|cycle| outbox.on_dropped(*cycle));
                outbox.add(report.clone());
            };
            outbox.update(add).await;
        }
        true
    }

    /// Decides how to continue after a commit that failed; see the errors in the documentation of [`crate::leader`].
    async fn on_commit_failed(&mut self, error: CommitError) -> CycleOutcome {
        match error {
            CommitError::Rejected(WriteOp::Counter, error) => {
                // Another client has written it, or it is not writable: then the cycle is committed without it.
                self.counter_reader.on_rejected(&error);
                self.counter = None;
                CycleOutcome::Retry
            }
            CommitError::Rejected(WriteOp::OpenBarrier, error) if error.is_no_node() => {
                warn!("another client has opened the barrier");
                self.barrier = Some(Barrier::default());
                CycleOutcome::Retry
            }
            CommitError::Rejected(WriteOp::CloseBarrier, error) if error.is_node_exists() => {
                // Another program has closed the barrier. Its generation is not known; 0 is before every write.
                self.barrier = Some(Barrier::closed(0));
                CycleOutcome::Retry
            }
            // The report that makes room is gone already.
            CommitError::Rejected(WriteOp::DropReport, error) if error.is_no_node() => {
                CycleOutcome::ReloadFence
            }
            CommitError::Rejected(WriteOp::Report, error) if error.is_no_node() => {
                // Another program has deleted the outbox.
                for outbox in self.outboxes {
                    if self.leadership.connection().ensure(&outbox.paths.reports).await.is_err() {
                        return CycleOutcome::ReloadFence;
                    }
                }
                CycleOutcome::Retry
            }
            error => {
                if let CommitError::Rejected(WriteOp::Report, refused @ Error::Refused { path, .. }) = &error
                    && refused.is_node_exists()
                {
                    self.store.on_occupied(path);
                }
                self.back_off(error).await;
                CycleOutcome::ReloadFence
            }
        }
    }

    /// Logs an error that prevents the cycle, and waits before the next attempt.
    async fn back_off(&mut self, error: CommitError) {
        let error = error.unless_fenced().await;
        if error.is_connection_loss() {
            warn!("this cycle is not committed, or its commit is not confirmed: {error}");
            sleep(RETRY_INTERVAL).await;
        } else {
            // ZooKeeper will probably refuse it again: it is logged once, and retried with growing delays.
            self.backoff.pause(self.leadership.connection().session(), &error).await;
        }
    }
}

#[cfg(test)]
#[path = "cycle_tests.rs"]
mod tests;

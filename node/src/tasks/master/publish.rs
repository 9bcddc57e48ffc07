//! Publishes the tasks as the leader records them: metrics, and the overview for the fleet status, at most once a second.

use std::sync::Arc;
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use tokio::sync::watch;
use tokio::time::Instant;

use super::core::Core;
use super::task::{Change, Op, Task};
use crate::metrics::{TaskMetrics, TaskStats};
use crate::model::task::overview::{MAX_TASKS, Overview, TaskSummary};
use crate::model::task::record::{Outcome, Part, Record, State};

/// Minimum time between two publications.
const INTERVAL: Duration = Duration::from_secs(1);

/// Receiver of the overview; `None` while this node does not lead.
pub(crate) type OverviewSender = watch::Sender<Option<Arc<Overview>>>;

pub(super) struct Publisher<'a> {
    metrics: &'a TaskMetrics,
    overview: &'a OverviewSender,
    /// Earliest time of the next publication.
    next: Instant,
    is_outdated: bool,
}

impl<'a> Publisher<'a> {
    pub(super) fn new(metrics: &'a TaskMetrics, overview: &'a OverviewSender) -> Publisher<'a> {
        metrics.set_stats(Some(TaskStats::default()));
        Publisher { metrics, overview, next: Instant::now(), is_outdated: true }
    }

    /// Records that workers or tasks have changed.
    pub(super) fn outdated(&mut self) {
        self.is_outdated = true;
    }

    /// Completes when a publication is due.
    pub(super) async fn due(&self) {
        if !self.is_outdated {
            return std::future::pending().await;
        }
        tokio::time::sleep_until(self.next).await;
    }

    /// Publishes, if something has changed and the last publication was long enough ago.
    pub(super) fn publish(&mut self, core: &Core, now: i64) {
        if !self.is_outdated || Instant::now() < self.next {
            return;
        }
        self.metrics.set_stats(Some(core.stats(now, BootInstant::now())));
        self.overview.send_replace(Some(Arc::new(core.overview())));
        (self.is_outdated, self.next) = (false, Instant::now() + INTERVAL);
    }

    /// Counts committed changes. `now` is the time of their step.
    pub(super) fn committed(&mut self, changes: &[Change], now: i64) {
        self.is_outdated |= !changes.is_empty();
        for change in changes {
            self.count(change, now);
        }
    }

    fn count(&self, change: &Change, now: i64) {
        let metrics = self.metrics;
        // Only changes with a new outcome delete its znode.
        let has_outcome = change.ops.iter().any(|op| matches!(op, Op::DeleteDone(_)));
        for op in &change.ops {
            match op {
                Op::CreateState(record) | Op::SetState(record) => {
                    if let (Op::CreateState(_), Some(spec)) = (op, &record.spec) {
                        metrics.task_accepted(&spec.action);
                    }
                    if let Some(part) = &record.part {
                        self.count_part(part, has_outcome);
                    }
                    if record.state.is_final() {
                        self.count_ended(record);
                    }
                }
                Op::CreatePart(_, part) | Op::SetPart(_, part) => self.count_part(part, has_outcome),
                Op::CreateRun(_, run) if run.attempt == 1 => {
                    // The later batches of a roll-out wait for the earlier ones.
                    if let Some(task) = &change.after
                        && task.spec.rollout.is_none()
                    {
                        metrics.waited(millis(now.saturating_sub(task.record.submitted_at)));
                    }
                }
                _ => {}
            }
        }
    }

    fn count_part(&self, part: &Part, has_outcome: bool) {
        if part.state == State::Lost {
            self.metrics.execution_lost();
        }
        if let Some(Outcome { duration_ms, .. }) = part.outcome.as_ref().filter(|_| has_outcome) {
            self.metrics.ran(Duration::from_millis(*duration_ms));
        }
    }

    fn count_ended(&self, record: &Record) {
        let action = record.spec.as_ref().map(|spec| spec.action.as_str()).unwrap_or_default();
        self.metrics.task_ended(action, record.state.name());
        let is_rollout = record.spec.as_ref().is_some_and(|spec| spec.rollout.is_some());
        let is_skipped = |roster: &std::collections::BTreeMap<_, State>| {
            roster.values().any(|state| *state == State::Skipped)
        };
        if is_rollout && record.roster.as_ref().is_some_and(is_skipped) {
            self.metrics.rollout_stopped();
        }
    }
}

impl Drop for Publisher<'_> {
    fn drop(&mut self) {
        self.metrics.set_stats(None);
        self.overview.send_replace(None);
    }
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

impl Core {
    /// Returns the values for metrics. `now` is ZooKeeper's clock at `at`.
    pub(super) fn stats(&self, now: i64, at: BootInstant) -> TaskStats {
        let mut live = [0; 3];
        let mut slots = self.present_slots();
        let mut oldest: Option<i64> = None;
        for task in self.tasks.values() {
            live[match task.record.state {
                State::Assigned => 2,
                State::Waiting => 1,
                _ => 0,
            }] += 1;
            for (key, part) in &task.parts {
                if part.state == State::Assigned {
                    let node = Task::node_of(key, part).and_then(|node| slots.get_mut(node));
                    node.into_iter().for_each(|slots| *slots = slots.saturating_sub(1));
                }
                // The nodes of a roll-out wait for the earlier batches, and those of a broadcast may be absent.
                let may_start = match part.state {
                    State::Queued => true,
                    State::Waiting => part.not_before.is_none_or(|time| time <= now),
                    _ => false,
                };
                let is_present =
                    key.is_empty() || self.workers.get(key).is_some_and(|worker| worker.is_alive);
                if may_start && is_present && task.spec.rollout.is_none() {
                    let since = part.not_before.or(part.assigned_at).unwrap_or(task.record.submitted_at);
                    oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
                }
            }
        }
        TaskStats {
            live,
            waiting: oldest.map(|oldest| (millis(now.saturating_sub(oldest)), at)),
            free_slots: slots.values().map(|slots| u64::from(*slots)).sum(),
        }
    }

    fn present_slots(&self) -> std::collections::BTreeMap<&str, u32> {
        let present = self.workers.iter().filter(|(_, worker)| worker.is_alive);
        present.map(|(node, worker)| (node.as_str(), worker.info.slots)).collect()
    }

    /// Returns the newest tasks: live ones first, those that are executed before those that wait.
    pub(super) fn overview(&self) -> Overview {
        let mut live: Vec<_> = self.tasks.iter().collect();
        live.sort_unstable_by_key(|(id, task)| (task.record.state != State::Assigned, *id));
        let live = live.into_iter().take(MAX_TASKS).map(|(id, task)| {
            TaskSummary::of_parts(id, &task.record, task.spec.is_broadcast(), task.parts.values())
        });
        let mut tasks: Vec<TaskSummary> = live.collect();
        let mut ended: Vec<_> = self.history.iter().collect();
        ended.sort_unstable_by_key(|(id, ended)| std::cmp::Reverse((ended.at, *id)));
        let room = MAX_TASKS - tasks.len();
        let readable = ended.into_iter().map(|(_, ended)| &ended.summary).filter(|task| task.id.is_some());
        tasks.extend(readable.take(room).cloned());
        Overview { live: self.tasks.len(), tasks }
    }
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;

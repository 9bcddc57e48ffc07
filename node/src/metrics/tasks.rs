//! Metrics of tasks: those that a leader ends, and the executions of a worker. All values are zero in a fleet without
//! tasks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::{lock, metric, seconds};

/// Upper bounds of the histograms, in seconds.
const BOUNDS: [f64; 7] = [0.1, 1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0];
/// Maximum number of actions with time series of their own. All others are counted together.
const MAX_ACTIONS: usize = 32;
/// Label of the actions beyond that number, and of names that are not those of an action.
const OTHER: &str = "other";

type CounterByAction = Family<[(&'static str, String); 2], Counter>;

/// Recorder of tasks.
#[derive(Clone, Debug, Default)]
pub struct TaskMetrics(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    /// All of the following counters and histograms.
    registry: Registry,
    ended: CounterByAction,
    failed: Counter,
    lost: Counter,
    stopped_rollouts: Counter,
    waits: Histogram,
    runs: Histogram,
    executions: CounterByAction,
    executing: Gauge,
    /// Actions that have time series.
    actions: Mutex<BTreeSet<String>>,
    /// `None` while this node is not the leader.
    stats: Mutex<Option<TaskStats>>,
}

/// Values that only a leader knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct TaskStats {
    /// Number of live tasks by state, in the order of a task's life: queued, waiting for another attempt, assigned.
    pub(crate) live: [usize; 3],
    /// Time for which the oldest task had been waiting for a node, and when that was; `None` if none waits.
    pub(crate) waiting: Option<(Duration, BootInstant)>,
    /// Number of tasks that the present workers could execute now, in addition.
    pub(crate) free_slots: u64,
}

impl TaskStats {
    /// Returns the time for which the oldest task has been waiting for a node; zero if none waits.
    pub(crate) fn longest_wait(&self, now: BootInstant) -> Duration {
        self.waiting.map_or(Duration::ZERO, |(waited, at)| waited + now.since(at))
    }
}

impl TaskMetrics {
    pub(crate) fn enabled() -> TaskMetrics {
        let mut registry = Registry::with_prefix("atalaya");
        let all = &mut registry;
        let lost = "Executions whose worker was lost, and which must not be repeated";
        let stopped = "Roll-outs that were stopped because of failed nodes";
        let wait = "Time from the submission of a task to its first assignment";
        let inner = Inner {
            ended: metric(all, "tasks_ended", "Tasks that ended, by action and state"),
            failed: metric(all, "tasks_failed", "Tasks that ended as failed or at their time limit"),
            lost: metric(all, "tasks_lost", lost),
            stopped_rollouts: metric(all, "rollouts_stopped", stopped),
            waits: seconds(all, "task_wait", wait, BOUNDS),
            runs: seconds(all, "task_run", "Duration of an execution, as its worker reports it", BOUNDS),
            executions: metric(all, "task_executions", "Executions of this node, by action and result"),
            executing: metric(all, "task_executions_running", "Executions in progress on this node"),
            actions: Mutex::default(),
            stats: Mutex::default(),
            registry,
        };
        TaskMetrics(Some(Arc::new(inner)))
    }

    /// Calls `record` with the metrics, unless the recorder is disabled.
    fn record<T>(&self, record: impl FnOnce(&Inner) -> T) {
        self.0.as_deref().map(record);
    }

    /// Returns the leader's values; `None` while this node is not the leader.
    pub(crate) fn stats(&self) -> Option<TaskStats> {
        *lock(&self.0.as_ref()?.stats)
    }

    /// Sets the leader's values; `None` at the end of the leadership.
    pub(crate) fn set_stats(&self, stats: Option<TaskStats>) {
        self.record(|inner| *lock(&inner.stats) = stats);
    }

    /// Creates the time series of an accepted task: Prometheus cannot compute the increase from a missing series to 1.
    pub(crate) fn task_accepted(&self, action: &str) {
        let Some(inner) = &self.0 else { return };
        for state in ["done", "failed"] {
            drop(inner.ended.get_or_create(&[("action", inner.label(action)), ("state", state.to_owned())]));
        }
    }

    /// Counts a task that ended. `state` is the name of its state.
    pub(crate) fn task_ended(&self, action: &str, state: &'static str) {
        let Some(inner) = &self.0 else { return };
        inner.ended.get_or_create(&[("action", inner.label(action)), ("state", state.to_owned())]).inc();
        inner.failed.inc_by(u64::from(matches!(state, "failed" | "timed-out")));
    }

    pub(crate) fn execution_lost(&self) {
        self.record(|inner| inner.lost.inc());
    }

    pub(crate) fn rollout_stopped(&self) {
        self.record(|inner| inner.stopped_rollouts.inc());
    }

    /// Records the time from a submission to the first assignment.
    pub(crate) fn waited(&self, wait: Duration) {
        self.record(|inner| inner.waits.observe(wait.as_secs_f64()));
    }

    /// Records the duration of an execution that the leader has recorded.
    pub(crate) fn ran(&self, duration: Duration) {
        self.record(|inner| inner.runs.observe(duration.as_secs_f64()));
    }

    /// Records the start of an execution on this node, which lasts until the result is dropped.
    pub(crate) fn execution_started(&self) -> Executing<'_> {
        let executing = self.0.as_deref().map(|inner| &inner.executing);
        if let Some(gauge) = executing {
            gauge.inc();
        }
        Executing(executing)
    }

    /// Counts an execution of this node. `result` is the name of its result.
    pub(crate) fn executed(&self, action: &str, result: &'static str) {
        let Some(inner) = &self.0 else { return };
        let labels = [("action", inner.label(action)), ("result", result.to_owned())];
        inner.executions.get_or_create(&labels).inc();
    }

    pub(crate) fn registry(&self) -> Option<&Registry> {
        self.0.as_deref().map(|inner| &inner.registry)
    }
}

impl Inner {
    /// Returns the label of an action. Names are from clients: their number is bounded.
    fn label(&self, action: &str) -> String {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_name = !action.is_empty() && action.len() <= 64 && action.bytes().all(is_allowed);
        let mut known = lock(&self.actions);
        if known.contains(action) {
            return action.to_owned();
        }
        if !is_name || known.len() >= MAX_ACTIONS {
            return OTHER.to_owned();
        }
        known.insert(action.to_owned());
        action.to_owned()
    }
}

/// An execution in progress.
#[derive(Debug)]
pub(crate) struct Executing<'a>(Option<&'a Gauge>);

impl Drop for Executing<'_> {
    fn drop(&mut self) {
        if let Some(gauge) = self.0 {
            gauge.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::{assert_contains, text};

    #[test]
    fn time_series_of_actions_are_bounded_and_have_names_of_actions_only() {
        let metrics = TaskMetrics::enabled();
        for number in 0..1_000 {
            metrics.task_ended(&format!("action{number}"), "done");
            metrics.executed(&format!("no\naction\"{number}"), "done");
        }
        metrics.task_ended("action7", "failed");
        let text = text(metrics.registry());
        assert!(text.lines().count() < 100, "{text}");
        let lines = [
            r#"atalaya_tasks_ended_total{action="action7",state="failed"} 1"#,
            r#"atalaya_tasks_ended_total{action="other",state="done"} 968"#,
            r#"atalaya_task_executions_total{action="other",result="done"} 1000"#,
            "atalaya_tasks_failed_total 1",
        ];
        assert_contains(metrics.registry(), &lines);
    }

    #[test]
    fn metrics_without_tasks_are_zero_and_without_a_leader_have_no_live_tasks() {
        let metrics = TaskMetrics::enabled();
        let before = ["atalaya_tasks_lost_total 0", "atalaya_rollouts_stopped_total 0"];
        assert_contains(metrics.registry(), &before);
        assert_eq!(metrics.stats(), None);
        let executing = metrics.execution_started();
        assert_contains(metrics.registry(), &["atalaya_task_executions_running 1"]);
        drop(executing);
        assert_contains(metrics.registry(), &["atalaya_task_executions_running 0"]);
        let disabled = TaskMetrics::default();
        disabled.task_ended("a", "done");
        drop(disabled.execution_started());
        assert!(disabled.registry().is_none());
    }

    #[test]
    fn longest_wait_continues_until_the_task_is_assigned() {
        let at = |second: u64| BootInstant::at(Duration::from_secs(second));
        let stats = TaskStats { waiting: Some((Duration::from_secs(2), at(10))), ..TaskStats::default() };
        assert_eq!(stats.longest_wait(at(15)), Duration::from_secs(7));
        assert_eq!(TaskStats::default().longest_wait(at(15)), Duration::ZERO);
    }
}

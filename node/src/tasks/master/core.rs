//! Decisions of the leader about tasks: which are accepted, assigned, repeated and ended. No I/O; time is an argument.
//!
//! `Core::step` (in `step.rs`) returns changes, each of which is committed in one transaction. [`Core::committed`] applies a change
//! afterwards, so the memory never runs ahead of ZooKeeper.

use std::collections::{BTreeMap, BTreeSet};

use super::part::Loss;
use super::rollout;
use super::task::{Change, Ended, Op, Task, Worker};
use crate::model::task::TaskId;
use crate::model::task::overview::TaskSummary;
use crate::model::task::record::{Cancel, Outcome, Record, State};
use crate::model::task::spec::Spec;

/// Maximum number of ended tasks that are kept.
pub(super) const MAX_HISTORY: usize = 500;
/// Maximum number of stored parts of ended tasks.
const MAX_HISTORY_PARTS: usize = 20_000;
/// Maximum age of an ended task, in milliseconds.
const MAX_AGE: i64 = 7 * 24 * 3_600 * 1_000;
/// Maximum number of assignments of one task, and of ended tasks that are deleted, in one step.
pub(super) const MAX_PER_STEP: usize = 200;
/// Time after which an assignment without a claim is verified, in milliseconds.
const VERIFY_AFTER: i64 = 5_000;

/// Observations since the last step. Each is passed again until its change is committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    /// Submitted tasks with the time of their submission.
    pub(crate) specs: BTreeMap<TaskId, (i64, Result<Spec, String>)>,
    /// Outcomes by task and node; `None` if the data is not an outcome.
    pub(crate) done: BTreeMap<(TaskId, String), Option<Outcome>>,
    pub(crate) cancels: BTreeMap<TaskId, Cancel>,
    /// Assignments that were verified to have ended without an outcome, and the version of their znode, if it exists.
    pub(crate) losses: BTreeMap<(TaskId, String), (Loss, Option<i32>)>,
    /// Time of the newest measurement of nodes, for roll-outs.
    pub(crate) measured: BTreeMap<String, i64>,
}

/// State of all tasks, as it is committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Core {
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) history: BTreeMap<TaskId, Ended>,
    pub(crate) workers: BTreeMap<String, Worker>,
    /// Claims that exist.
    pub(crate) claims: BTreeSet<(TaskId, String)>,
    /// Assignments whose claim was seen.
    pub(super) claimed: BTreeSet<(TaskId, String)>,
    /// Tasks whose last change was refused, and the time at which it is tried again.
    pub(super) blocked: BTreeMap<TaskId, i64>,
}

impl Core {
    /// Adds an ended task that is read from ZooKeeper. `stored` are the nodes whose parts have znodes.
    pub(super) fn restore_ended(&mut self, id: TaskId, record: &Record, stored: BTreeSet<String>) {
        let at = record.ended_at.unwrap_or_default();
        let summary = TaskSummary::of_record(&id, record);
        self.history.insert(id, Ended { at, stored, state: record.state, summary });
    }

    /// Adds a record that cannot be read: it only counts in the history.
    pub(super) fn restore_unreadable(&mut self, id: TaskId, stored: BTreeSet<String>) {
        let summary = TaskSummary::default();
        self.history.insert(id, Ended { at: 0, stored, state: State::Failed, summary });
    }

    /// Returns true if the task is live or in the history.
    pub(crate) fn knows(&self, id: &TaskId) -> bool {
        self.tasks.contains_key(id) || self.history.contains_key(id)
    }

    pub(crate) fn set_claims(&mut self, claims: BTreeSet<(TaskId, String)>) {
        let tasks = &self.tasks;
        self.claimed.retain(|(task, _)| tasks.contains_key(task));
        self.claimed.extend(claims.iter().filter(|(task, _)| tasks.contains_key(task)).cloned());
        self.claims = claims;
    }

    /// Returns the assignments that may have ended without an outcome: the worker is absent, or the claim is gone or
    /// overdue.
    pub(crate) fn suspects(&self, now: i64) -> Vec<(TaskId, String)> {
        let mut suspects = Vec::new();
        for (id, task) in &self.tasks {
            for (key, part) in task.parts.iter().filter(|(_, part)| part.state == State::Assigned) {
                let Some(node) = Task::node_of(key, part) else { continue };
                let entry = (id.clone(), node.to_owned());
                let is_claimed = self.claims.contains(&entry);
                let is_alive = self.workers.get(node).is_some_and(|worker| worker.is_alive);
                let is_late = part.assigned_at.is_none_or(|at| now.saturating_sub(at) > VERIFY_AFTER);
                if !is_claimed && (!is_alive || is_late || self.claimed.contains(&entry)) {
                    suspects.push(entry);
                }
            }
        }
        suspects
    }

    /// Returns the nodes whose newest measurement a roll-out waits for.
    pub(crate) fn nodes_to_check(&self) -> BTreeSet<String> {
        let live = self.tasks.values().filter(|task| task.spec.rollout.is_some());
        live.flat_map(|task| rollout::gating_nodes(task, &self.workers)).collect()
    }

    pub(crate) fn committed(&mut self, change: Change) {
        let Change { task: id, after, ended, forgotten, ops } = change;
        self.blocked.remove(&id);
        if forgotten {
            self.history.remove(&id);
            return;
        }
        for op in &ops {
            if let Op::CreateRun(node, _) | Op::DeleteRun(node, _) | Op::DeleteDone(node) = op {
                self.claimed.remove(&(id.clone(), node.clone()));
            }
        }
        if let Some(task) = after {
            self.tasks.insert(id, task);
        } else if let Some(ended) = ended {
            self.tasks.remove(&id);
            self.history.insert(id, ended);
        }
    }

    /// Records that ZooKeeper refused a change: the task is left alone for a second, and all others continue.
    pub(crate) fn refused(&mut self, task: &TaskId, now: i64) {
        self.blocked.insert(task.clone(), now.saturating_add(1_000));
    }

    /// Returns the changes that delete ended tasks beyond the limits of the history, the oldest first.
    pub(super) fn forget(&self, now: i64) -> Vec<Change> {
        let mut oldest: Vec<(i64, &TaskId, &Ended)> =
            self.history.iter().map(|(id, ended)| (ended.at, id, ended)).collect();
        oldest.sort_unstable_by_key(|(at, id, _)| (*at, *id));
        let mut excess = oldest.len().saturating_sub(MAX_HISTORY);
        let parts: usize = oldest.iter().map(|(_, _, ended)| ended.stored.len()).sum();
        let mut excess_parts = parts.saturating_sub(MAX_HISTORY_PARTS);
        let mut changes = Vec::new();
        for (at, id, ended) in oldest {
            let is_old = now.saturating_sub(at) > MAX_AGE;
            if (excess == 0 && excess_parts == 0 && !is_old) || changes.len() >= MAX_PER_STEP {
                break;
            }
            if self.blocked.get(id).is_some_and(|until| now < *until) {
                continue;
            }
            excess = excess.saturating_sub(1);
            excess_parts = excess_parts.saturating_sub(ended.stored.len());
            let mut ops: Vec<Op> = ended.stored.iter().cloned().map(Op::DeletePart).collect();
            ops.push(Op::DeleteState);
            changes.push(Change { task: id.clone(), ops, after: None, ended: None, forgotten: true });
        }
        changes
    }
}

//! Decisions of the leader about tasks: which are accepted, assigned, repeated and ended. No I/O; time is an argument.
//!
//! [`Core::step`] returns changes, each of which is committed in one transaction. [`Core::committed`] applies a change
//! afterwards, so the memory never runs ahead of ZooKeeper.

use std::collections::{BTreeMap, BTreeSet};

use super::part::{self, Loss};
use super::rollout;
use super::task::{Change, Draft, Ended, Op, SINGLE, Task, Worker};
use crate::model::task::overview::TaskSummary;
use crate::model::task::record::{Cancel, Outcome, Part, Record, Result as TaskResult, State};
use crate::model::task::spec::{DEFAULT_START_BY_ALL, Spec, Target};
use crate::model::task::{MAX_LIVE, TaskId};

/// Maximum number of ended tasks that are kept.
pub(super) const MAX_HISTORY: usize = 500;
/// Maximum number of stored parts of ended tasks.
const MAX_HISTORY_PARTS: usize = 20_000;
/// Maximum age of an ended task, in milliseconds.
const MAX_AGE: i64 = 7 * 24 * 3_600 * 1_000;
/// Maximum number of nodes of one task.
const MAX_ROSTER: usize = 10_000;
/// Maximum number of assignments of one task, and of ended tasks that are deleted, in one step.
const MAX_PER_STEP: usize = 200;
/// Time after the time limit of an execution at which the leader withdraws it, in milliseconds. The worker ends it at the
/// limit itself.
const OVERDUE: i64 = 60_000;
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
    /// Adds a live task that is read from ZooKeeper.
    pub(super) fn restore(&mut self, id: TaskId, task: Task) {
        self.tasks.insert(id, task);
    }

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

    /// Returns true if the task is live.
    pub(crate) fn is_live(&self, id: &TaskId) -> bool {
        self.tasks.contains_key(id)
    }

    /// Returns true if the task is live or in the history.
    pub(crate) fn knows(&self, id: &TaskId) -> bool {
        self.is_live(id) || self.history.contains_key(id)
    }

    /// Replaces the list of claims.
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

    /// Returns the changes that are due at `now`, in milliseconds by ZooKeeper's clock.
    pub(crate) fn step(&self, now: i64, inputs: &Inputs) -> Vec<Change> {
        let mut drafts = Drafts { core: self, now, drafts: BTreeMap::new(), orphans: BTreeMap::new() };
        drafts.accept(inputs);
        drafts.record_outcomes(inputs);
        drafts.record_losses(inputs);
        drafts.cancel(inputs);
        drafts.withdraw_overdue();
        drafts.expire();
        drafts.assign(inputs);
        let mut changes = drafts.into_changes();
        changes.extend(self.forget(now));
        changes
    }

    /// Applies a committed change.
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
    fn forget(&self, now: i64) -> Vec<Change> {
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

/// The changes of one step, while they are collected.
struct Drafts<'a> {
    core: &'a Core,
    now: i64,
    drafts: BTreeMap<TaskId, Draft>,
    /// Writes for tasks that are not live.
    orphans: BTreeMap<TaskId, Vec<Op>>,
}

impl Drafts<'_> {
    fn is_blocked(&self, id: &TaskId) -> bool {
        self.core.blocked.get(id).is_some_and(|until| self.now < *until)
    }

    /// Returns the draft of a live task.
    fn draft(&mut self, id: &TaskId) -> Option<&mut Draft> {
        if self.is_blocked(id) {
            return None;
        }
        if !self.drafts.contains_key(id) {
            let task = self.core.tasks.get(id)?.clone();
            self.drafts.insert(id.clone(), Draft::of(task));
        }
        self.drafts.get_mut(id)
    }

    /// Returns the current version of a task: its draft, or the committed one.
    fn current(&self, id: &TaskId) -> Option<&Task> {
        self.drafts.get(id).map(|draft| &draft.task).or_else(|| self.core.tasks.get(id))
    }

    fn ids(&self) -> Vec<TaskId> {
        let mut ids: BTreeSet<&TaskId> = self.core.tasks.keys().collect();
        ids.extend(self.drafts.keys());
        ids.into_iter().filter(|id| !self.is_blocked(id)).cloned().collect()
    }

    fn accept(&mut self, inputs: &Inputs) {
        let mut live = self.core.tasks.len();
        for (id, (submitted_at, spec)) in &inputs.specs {
            if self.core.knows(id) || self.is_blocked(id) {
                continue;
            }
            let refusal = match spec {
                Err(reason) => Some(reason.clone()),
                Ok(_) if live >= MAX_LIVE => Some(format!("there are {MAX_LIVE} live tasks already")),
                Ok(_) => None,
            };
            let draft = match (spec, refusal) {
                (Ok(spec), None) => {
                    live += 1;
                    self.new_task(spec, *submitted_at)
                }
                (spec, refusal) => {
                    let spec = spec.clone().ok();
                    let mut task = Task::new(spec.clone().unwrap_or_else(unreadable), *submitted_at, []);
                    task.record.spec = spec;
                    let mut draft = Draft::of(task);
                    let reason = refusal.unwrap_or_default();
                    draft.task.record.reason = Some(reason.clone());
                    draft.finish_all(State::Failed, &reason, self.now, |_| true);
                    draft
                }
            };
            self.drafts.insert(id.clone(), Draft { is_new: true, ..draft });
        }
    }

    fn new_task(&self, spec: &Spec, submitted_at: i64) -> Draft {
        let roster: Vec<String> = match &spec.to {
            Target::Any => Vec::new(),
            Target::Nodes(nodes) => nodes.clone(),
            Target::All => {
                let known = self.core.workers.iter();
                let matching = known.filter(|(node, worker)| {
                    worker.info.actions.contains_key(&spec.action)
                        && spec.selector.matches(node, &worker.info)
                });
                matching.map(|(node, _)| node.clone()).take(MAX_ROSTER).collect()
            }
        };
        let is_empty = spec.is_broadcast() && roster.is_empty();
        let mut draft = Draft::of(Task::new(spec.clone(), submitted_at, roster));
        if is_empty {
            draft.task.record.reason =
                Some(format!("no known node offers the action {} and meets the condition", spec.action));
        }
        draft
    }

    fn record_outcomes(&mut self, inputs: &Inputs) {
        let now = self.now;
        for ((id, node), outcome) in &inputs.done {
            if self.is_blocked(id) {
                continue;
            }
            let key = self.current(id).and_then(|task| task.assigned_to(node));
            let (Some(key), Some(draft)) = (key, self.draft(id)) else {
                // The assignment was withdrawn, or the znode is not from a worker.
                self.orphans.entry(id.clone()).or_default().push(Op::DeleteDone(node.clone()));
                continue;
            };
            let outcome = outcome.clone().unwrap_or_else(|| Outcome {
                result: TaskResult::Failed,
                reason: Some("the worker wrote an outcome that cannot be read".to_owned()),
                ..Outcome::default()
            });
            draft.change(&key, |part, spec| part::on_outcome(part, spec, outcome, now));
            draft.ops.push(Op::DeleteDone(node.clone()));
        }
    }

    fn record_losses(&mut self, inputs: &Inputs) {
        let now = self.now;
        for ((id, node), (loss, version)) in &inputs.losses {
            let Some(key) = self.current(id).and_then(|task| task.assigned_to(node)) else { continue };
            let Some(draft) = self.draft(id) else { continue };
            draft.change(&key, |part, spec| part::on_loss(part, spec, *loss, now));
            if let Some(version) = version {
                draft.ops.push(Op::DeleteRun(node.clone(), Some(*version)));
            }
        }
    }

    fn cancel(&mut self, inputs: &Inputs) {
        let now = self.now;
        for (id, cancel) in &inputs.cancels {
            if self.is_blocked(id) {
                continue;
            }
            let Some(draft) = self.draft(id) else {
                // The task has ended. A request for a task that does not exist yet is not kept either.
                self.orphans.entry(id.clone()).or_default().push(Op::DeleteCancel);
                continue;
            };
            let reason = match cancel.reason.as_str() {
                "" => format!("cancelled by {}", cancel.by),
                reason => format!("cancelled by {}: {reason}", cancel.by),
            };
            withdraw(draft, |part| part.state == State::Assigned);
            draft.finish_all(State::Cancelled, &reason, now, |_| true);
            draft.ops.push(Op::DeleteCancel);
            draft.cancel = Some(cancel.clone());
        }
    }

    /// Withdraws assignments whose worker has not ended them long after their time limit.
    fn withdraw_overdue(&mut self) {
        let now = self.now;
        for id in self.ids() {
            let is_overdue = |task: &Task, key: &str, part: &Part| {
                let node = Task::node_of(key, part).and_then(|node| self.core.workers.get(node));
                let of_action = node.and_then(|worker| worker.info.actions.get(&task.spec.action));
                let limit = task.spec.run_for_ms.or_else(|| of_action.map(|action| action.run_for_ms));
                let limit = limit.and_then(|limit| i64::try_from(limit).ok());
                part.state == State::Assigned
                    && limit
                        .zip(part.assigned_at)
                        .is_some_and(|(limit, at)| now.saturating_sub(at) > limit.saturating_add(OVERDUE))
            };
            let Some(task) = self.current(&id) else { continue };
            let overdue: Vec<(String, String)> = task
                .parts
                .iter()
                .filter(|(key, part)| is_overdue(task, key, part))
                .filter_map(|(key, part)| Some((key.clone(), Task::node_of(key, part)?.to_owned())))
                .collect();
            for (key, node) in overdue {
                let Some(draft) = self.draft(&id) else { continue };
                let outcome = Outcome {
                    result: TaskResult::TimedOut,
                    reason: Some("its worker did not end it at the time limit".to_owned()),
                    ..Outcome::default()
                };
                draft.change(&key, |part, spec| part::on_outcome(part, spec, outcome, now));
                draft.ops.push(Op::DeleteRun(node, None));
            }
        }
    }

    /// Ends the parts that were not started in time.
    fn expire(&mut self) {
        let now = self.now;
        for id in self.ids() {
            let Some(task) = self.current(&id) else { continue };
            let Some(limit) = task.spec.start_by() else { continue };
            let age = u64::try_from(now.saturating_sub(task.record.submitted_at)).unwrap_or(0);
            let is_unstarted =
                |part: &Part| matches!(part.state, State::Queued | State::Waiting) && part.attempt == 0;
            // The batches of a roll-out start as late as the earlier ones end.
            if age <= limit || task.spec.rollout.is_some() || !task.parts.values().any(is_unstarted) {
                continue;
            }
            let absent: BTreeSet<String> = match task.spec.is_broadcast() {
                true => task.parts.keys().filter(|node| !self.is_alive(node)).cloned().collect(),
                false => BTreeSet::new(),
            };
            let Some(draft) = self.draft(&id) else { continue };
            let seconds = limit as f64 / 1_000.0;
            for node in absent {
                if draft.task.parts.get(&node).is_some_and(is_unstarted) {
                    let reason = format!("absent: it did not appear within {seconds} s");
                    draft.change(&node, |part, _| part::finish(part, State::Expired, Some(reason), now));
                }
            }
            draft.finish_all(State::Expired, &format!("not started within {seconds} s"), now, is_unstarted);
        }
    }

    fn is_alive(&self, node: &str) -> bool {
        self.core.workers.get(node).is_some_and(|worker| worker.is_alive)
    }

    /// Assigns the waiting parts, by priority and then by age.
    fn assign(&mut self, inputs: &Inputs) {
        let mut free = self.free_slots();
        let mut order: Vec<(u8, TaskId)> = self
            .ids()
            .into_iter()
            .filter_map(|id| Some((u8::MAX - self.current(&id)?.spec.priority, id)))
            .collect();
        order.sort_unstable();
        for (_, id) in order {
            let Some(task) = self.current(&id) else { continue };
            if task.parts.values().all(|part| part.state.is_final() || part.state == State::Assigned) {
                continue;
            }
            if task.spec.is_broadcast() {
                self.assign_to_roster(&id, &mut free, inputs);
            } else {
                self.assign_to_one(&id, &mut free);
            }
        }
    }

    /// Returns the number of free slots of the workers that have one.
    fn free_slots(&self) -> BTreeMap<String, u32> {
        let present = self.core.workers.iter().filter(|(_, worker)| worker.is_alive);
        let mut free: BTreeMap<String, u32> =
            present.map(|(node, worker)| (node.clone(), worker.info.slots)).collect();
        let ids: BTreeSet<&TaskId> = self.core.tasks.keys().chain(self.drafts.keys()).collect();
        for id in ids {
            let Some(task) = self.current(id) else { continue };
            for (key, part) in task.parts.iter().filter(|(_, part)| part.state == State::Assigned) {
                if let Some(slots) = Task::node_of(key, part).and_then(|node| free.get_mut(node)) {
                    *slots = slots.saturating_sub(1);
                }
            }
        }
        free.retain(|_, slots| *slots > 0);
        free
    }

    fn is_due(&self, part: &Part) -> bool {
        match part.state {
            State::Queued => true,
            State::Waiting => part.not_before.is_none_or(|time| time <= self.now),
            _ => false,
        }
    }

    fn assign_to_one(&mut self, id: &TaskId, free: &mut BTreeMap<String, u32>) {
        let now = self.now;
        let Some(task) = self.current(id) else { return };
        let Some(part) = task.parts.get(SINGLE).filter(|part| self.is_due(part)) else { return };
        // An earlier execution may not have ended.
        let first = (id.clone(), String::new());
        if self.core.claims.range(first..).next().is_some_and(|(claimed, _)| claimed == id) {
            return;
        }
        let is_suitable = |node: &String| {
            let Some(worker) = self.core.workers.get(node) else { return false };
            task.spec.only_node().is_none_or(|only| only == node)
                && worker.info.actions.contains_key(&task.spec.action)
                && task.spec.selector.matches(node, &worker.info)
        };
        // Another node than the last one, which may be failing or stopping, if there is one; the one with the most free
        // slots.
        let last = part.node.as_deref();
        let chosen = free.iter().filter(|(node, _)| is_suitable(node));
        let chosen = chosen.max_by_key(|(node, slots)| (last != Some(node.as_str()), **slots));
        let Some(node) = chosen.map(|(node, _)| node.clone()) else {
            self.refuse_unsuitable(id);
            return;
        };
        let Some(draft) = self.draft(id) else { return };
        draft.change(SINGLE, |part, _| part::assign(part, &node, now));
        let attempt = draft.task.parts.get(SINGLE).map_or(1, |part| part.attempt);
        draft.ops.push(Op::CreateRun(node.clone(), draft.task.assignment(attempt)));
        take_slot(free, &node);
    }

    /// Ends a task for one named node that is present and cannot execute it.
    fn refuse_unsuitable(&mut self, id: &TaskId) {
        let now = self.now;
        let Some(task) = self.current(id) else { return };
        let Some(node) = task.spec.only_node().map(str::to_owned) else { return };
        let Some(reason) = self.unsuitable(&node, &task.spec) else { return };
        let Some(draft) = self.draft(id) else { return };
        draft.change(SINGLE, |part, _| {
            part.node = Some(node);
            part::finish(part, State::Failed, Some(reason), now);
        });
    }

    /// Returns the reason why a present node cannot execute a task.
    fn unsuitable(&self, node: &str, spec: &Spec) -> Option<String> {
        let worker = self.core.workers.get(node).filter(|worker| worker.is_alive)?;
        if !worker.info.actions.contains_key(&spec.action) {
            return Some(format!("node {node} does not offer the action {}", spec.action));
        }
        let unmet = spec.selector.first_unmet(node, &worker.info)?;
        Some(format!("node {node} does not meet the condition {unmet}"))
    }

    fn assign_to_roster(&mut self, id: &TaskId, free: &mut BTreeMap<String, u32>, inputs: &Inputs) {
        let now = self.now;
        let Some(task) = self.current(id) else { return };
        let gate = match &task.spec.rollout {
            None => rollout::Gate::Open(usize::MAX, now),
            Some(batches) => rollout::gate(task, batches, now, &self.core.workers, &inputs.measured),
        };
        let (open, since) = match gate {
            rollout::Gate::Open(open, since) => (open, since),
            rollout::Gate::Stop(reason) => {
                let Some(draft) = self.draft(id) else { return };
                draft.task.record.reason = Some(reason.clone());
                draft.finish_all(State::Skipped, &reason, now, |part| part.state != State::Assigned);
                return;
            }
        };
        let is_rollout = task.spec.rollout.is_some();
        let limit = task.spec.start_by().unwrap_or(DEFAULT_START_BY_ALL.as_millis() as u64);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let due: Vec<String> = task
            .parts
            .iter()
            .take(open)
            .filter(|(_, part)| self.is_due(part))
            .map(|(node, _)| node.clone())
            .collect();
        let mut assigned = 0;
        for node in due {
            if assigned >= MAX_PER_STEP {
                break;
            }
            let spec = self.current(id).map(|task| task.spec.clone());
            if let Some(reason) = spec.and_then(|spec| self.unsuitable(&node, &spec)) {
                let Some(draft) = self.draft(id) else { return };
                draft.change(&node, |part, _| part::finish(part, State::Failed, Some(reason), now));
                continue;
            }
            if is_rollout && !self.is_alive(&node) && now.saturating_sub(since) > limit {
                let Some(draft) = self.draft(id) else { return };
                let reason = format!("absent: it did not appear within {} s", limit as f64 / 1_000.0);
                draft.change(&node, |part, _| part::finish(part, State::Expired, Some(reason), now));
                continue;
            }
            let is_claimed = self.core.claims.contains(&(id.clone(), node.clone()));
            if !free.contains_key(&node) || is_claimed {
                continue;
            }
            let Some(draft) = self.draft(id) else { return };
            draft.change(&node, |part, _| part::assign(part, &node, now));
            let attempt = draft.task.parts.get(&node).map_or(1, |part| part.attempt);
            draft.ops.push(Op::CreateRun(node.clone(), draft.task.assignment(attempt)));
            take_slot(free, &node);
            assigned += 1;
        }
    }

    fn into_changes(self) -> Vec<Change> {
        let now = self.now;
        let drafts = self.drafts.into_iter().filter(|(_, draft)| draft.is_changed());
        let mut changes: Vec<Change> = drafts.map(|(id, draft)| draft.into_change(id, now)).collect();
        for (task, ops) in self.orphans {
            match changes.iter_mut().find(|change| change.task == task) {
                Some(change) => change.ops.extend(ops),
                None => {
                    changes.push(Change { task, ops, after: None, ended: None, forgotten: false });
                }
            }
        }
        changes
    }
}

/// Deletes the assignments of the parts that `select` chooses.
fn withdraw(draft: &mut Draft, select: impl Fn(&Part) -> bool) {
    let assigned = draft.task.parts.iter().filter(|(_, part)| select(part));
    let nodes = assigned.filter_map(|(key, part)| Task::node_of(key, part).map(str::to_owned));
    let ops: Vec<Op> = nodes.map(|node| Op::DeleteRun(node, None)).collect();
    draft.ops.extend(ops);
}

fn take_slot(free: &mut BTreeMap<String, u32>, node: &str) {
    if let Some(slots) = free.get_mut(node) {
        *slots -= 1;
        if *slots == 0 {
            free.remove(node);
        }
    }
}

/// Returns a placeholder for a specification that cannot be read.
fn unreadable() -> Spec {
    Spec {
        id: "unreadable".to_owned(),
        action: "unreadable".to_owned(),
        args: BTreeMap::new(),
        to: Target::Any,
        selector: Default::default(),
        priority: 0,
        attempts: 1,
        start_by_ms: None,
        run_for_ms: None,
        promise: Default::default(),
        rollout: None,
        retry_of: None,
        by: String::new(),
        file: None,
    }
}

/// Restores the record of a task that cannot be continued, because its specification is missing.
pub(super) fn is_unusable(record: &Record) -> bool {
    record.spec.is_none() && !record.state.is_final()
}

//! One step of the leader's decisions: new tasks, outcomes, losses, cancellations, time limits.

use std::collections::{BTreeMap, BTreeSet};

use super::core::{Core, Inputs};
use super::part;
use super::task::{Change, Draft, Op, Task};
use crate::model::task::record::{Outcome, Part, Result as TaskResult, State};
use crate::model::task::spec::{Spec, Target};
use crate::model::task::{MAX_LIVE, TaskId};

/// Maximum number of nodes of one task.
const MAX_ROSTER: usize = 10_000;
/// Time after the time limit of an execution at which the leader withdraws it, in milliseconds. The worker ends it at the
/// limit itself.
const OVERDUE: i64 = 60_000;
impl Core {
    /// Returns the changes that are due at `now`, in milliseconds by ZooKeeper's clock.
    pub(crate) fn step(&self, now: i64, inputs: &Inputs) -> Vec<Change> {
        let mut drafts = Drafts::new(self, now);
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
}

/// The changes of one step, while they are collected.
pub(super) struct Drafts<'a> {
    pub(super) core: &'a Core,
    pub(super) now: i64,
    pub(super) drafts: BTreeMap<TaskId, Draft>,
    /// Writes for tasks that are not live.
    orphans: BTreeMap<TaskId, Vec<Op>>,
}

impl<'a> Drafts<'a> {
    pub(super) fn new(core: &'a Core, now: i64) -> Drafts<'a> {
        Drafts { core, now, drafts: BTreeMap::new(), orphans: BTreeMap::new() }
    }

    fn is_blocked(&self, id: &TaskId) -> bool {
        self.core.blocked.get(id).is_some_and(|until| self.now < *until)
    }

    pub(super) fn draft(&mut self, id: &TaskId) -> Option<&mut Draft> {
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
    pub(super) fn current(&self, id: &TaskId) -> Option<&Task> {
        self.drafts.get(id).map(|draft| &draft.task).or_else(|| self.core.tasks.get(id))
    }

    pub(super) fn ids(&self) -> Vec<TaskId> {
        let mut ids: BTreeSet<&TaskId> = self.core.tasks.keys().collect();
        ids.extend(self.drafts.keys());
        ids.into_iter().filter(|id| !self.is_blocked(id)).cloned().collect()
    }

    pub(super) fn accept(&mut self, inputs: &Inputs) {
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

    pub(super) fn record_outcomes(&mut self, inputs: &Inputs) {
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

    pub(super) fn record_losses(&mut self, inputs: &Inputs) {
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

    pub(super) fn cancel(&mut self, inputs: &Inputs) {
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
    pub(super) fn withdraw_overdue(&mut self) {
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
    pub(super) fn expire(&mut self) {
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

    pub(super) fn is_alive(&self, node: &str) -> bool {
        self.core.workers.get(node).is_some_and(|worker| worker.is_alive)
    }

    pub(super) fn into_changes(self) -> Vec<Change> {
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

/// Returns a placeholder for a specification that cannot be read.
fn unreadable() -> Spec {
    Spec { id: "unreadable".to_owned(), action: "unreadable".to_owned(), attempts: 1, ..Spec::default() }
}

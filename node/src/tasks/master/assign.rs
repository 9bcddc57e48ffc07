//! Assignment of the waiting parts of tasks to free workers.

use std::collections::{BTreeMap, BTreeSet};

use super::core::{Inputs, MAX_PER_STEP};
use super::part;
use super::rollout;
use super::step::Drafts;
use super::task::{Op, SINGLE, Task};
use crate::model::task::TaskId;
use crate::model::task::record::{Part, State};
use crate::model::task::spec::{DEFAULT_START_BY_ALL, Spec};

impl Drafts<'_> {
    /// Assigns the waiting parts, by priority and then by age.
    pub(super) fn assign(&mut self, inputs: &Inputs) {
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
}

fn take_slot(free: &mut BTreeMap<String, u32>, node: &str) {
    if let Some(slots) = free.get_mut(node) {
        *slots -= 1;
        if *slots == 0 {
            free.remove(node);
        }
    }
}

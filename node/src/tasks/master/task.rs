//! A live task in the leader's memory, and the changes that the leader commits. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::task::TaskId;
use crate::model::task::overview::TaskSummary;
use crate::model::task::record::{Assignment, Cancel, Part, Record, State, combined};
use crate::model::task::spec::Spec;
use crate::model::task::worker_info::WorkerInfo;

/// Key of the part of a task for one node.
pub(super) const SINGLE: &str = "";

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Worker {
    pub(crate) info: WorkerInfo,
    pub(crate) is_alive: bool,
}

/// A set of assignments: task and node.
pub(super) type Assignments = BTreeSet<(TaskId, String)>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    /// Record, without its parts.
    pub(super) record: Record,
    pub(super) spec: Spec,
    /// Parts: one by the key [`SINGLE`], or one per node of the roster.
    pub(super) parts: BTreeMap<String, Part>,
    /// Nodes whose parts have znodes.
    pub(super) stored: BTreeSet<String>,
}

/// One write of the leader.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    CreateState(Record),
    SetState(Record),
    CreatePart(String, Part),
    SetPart(String, Part),
    DeleteSpec,
    DeleteCancel,
    CreateRun(String, Assignment),
    /// Deletes an assignment that is at the version, or at any version.
    DeleteRun(String, Option<i32>),
    /// Deletes the outcome of this node.
    DeleteDone(String),
    DeletePart(String),
    DeleteState,
    DeleteFile(String),
}

/// Writes that belong to one task and are committed in one transaction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) task: TaskId,
    pub(crate) ops: Vec<Op>,
    /// The task after the commit; `None` if it is not in the leader's memory.
    pub(super) after: Option<Task>,
    /// For a task that has become final, its entry in the history.
    pub(super) ended: Option<Ended>,
    /// True if the task is removed from the history.
    pub(super) forgotten: bool,
}

/// A task whose state is final.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(super) at: i64,
    /// Nodes whose parts have znodes.
    pub(super) stored: BTreeSet<String>,
    pub(super) state: State,
    pub(super) summary: TaskSummary,
}

impl Task {
    /// Returns a new task. `nodes` are the nodes of a task for several nodes.
    pub(super) fn new(spec: Spec, submitted_at: i64, nodes: impl IntoIterator<Item = String>) -> Task {
        let is_broadcast = spec.is_broadcast();
        let parts: BTreeMap<String, Part> = if is_broadcast {
            nodes.into_iter().map(|node| (node, Part::default())).collect()
        } else {
            BTreeMap::from([(SINGLE.to_owned(), Part::default())])
        };
        let record = Record { spec: Some(spec.clone()), submitted_at, ..Record::default() };
        Task { record, spec, parts, stored: BTreeSet::new() }
    }

    pub(super) fn to_record(&self) -> Record {
        let mut record = self.record.clone();
        if self.spec.is_broadcast() {
            record.roster = Some(self.parts.iter().map(|(node, part)| (node.clone(), part.state)).collect());
        } else {
            record.part = self.parts.get(SINGLE).cloned();
        }
        record
    }

    /// Restores a task from its record, the stored parts, and the nodes with an assignment or an outcome, which are newer
    /// than the parts.
    pub(super) fn restore(
        record: Record,
        stored: BTreeMap<String, Part>,
        runs: &BTreeMap<String, Assignment>,
        done: &BTreeSet<String>,
    ) -> Option<Task> {
        let spec = record.spec.clone()?;
        let mut task = Task::new(spec, record.submitted_at, []);
        task.record = Record { part: None, roster: None, ..record.clone() };
        if !task.spec.is_broadcast() {
            task.parts = BTreeMap::from([(SINGLE.to_owned(), record.part.unwrap_or_default())]);
            return Some(task);
        }
        for node in record.roster.unwrap_or_default().into_keys() {
            let mut part = stored.get(&node).cloned().unwrap_or_default();
            if !part.state.is_final() && (runs.contains_key(&node) || done.contains(&node)) {
                part.state = State::Assigned;
                part.node = Some(node.clone());
                part.attempt = runs.get(&node).map_or(part.attempt + 1, |run| run.attempt);
            }
            task.parts.insert(node, part);
        }
        task.stored = stored.into_keys().collect();
        Some(task)
    }

    /// Returns the node of an assigned part.
    pub(super) fn node_of<'a>(key: &'a str, part: &'a Part) -> Option<&'a str> {
        if key == SINGLE { part.node.as_deref() } else { Some(key) }
    }

    /// Returns the key of the part that is assigned to `node`.
    pub(super) fn assigned_to(&self, node: &str) -> Option<String> {
        let is_assigned = |(key, part): &(&String, &Part)| {
            part.state == State::Assigned && Task::node_of(key, part) == Some(node)
        };
        if self.spec.is_broadcast() {
            let part = self.parts.get_key_value(node);
            return part.filter(is_assigned).map(|(key, _)| key.clone());
        }
        self.parts.iter().find(is_assigned).map(|(key, _)| key.clone())
    }

    pub(super) fn assignment(&self, attempt: u32) -> Assignment {
        Assignment {
            attempt,
            action: self.spec.action.clone(),
            args: self.spec.args.clone(),
            run_for_ms: self.spec.run_for_ms,
            promise: self.spec.promise,
            file: self.spec.file.clone(),
        }
    }
}

/// A task that is being changed, with the writes so far.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) task: Task,
    pub(super) ops: Vec<Op>,
    /// Keys of parts that have changed and must be stored.
    pub(super) changed: BTreeSet<String>,
    pub(super) is_new: bool,
    pub(super) cancel: Option<Cancel>,
}

impl Draft {
    pub(super) fn of(task: Task) -> Draft {
        Draft { task, ops: Vec::new(), changed: BTreeSet::new(), is_new: false, cancel: None }
    }

    /// Applies `change` to a part. The part is stored with the draft.
    pub(super) fn change(&mut self, key: &str, change: impl FnOnce(&mut Part, &Spec)) {
        if let Some(part) = self.task.parts.get_mut(key) {
            change(part, &self.task.spec);
            self.changed.insert(key.to_owned());
        }
    }

    /// Ends all parts that `select` chooses and that are not final.
    pub(super) fn finish_all(
        &mut self,
        state: State,
        reason: &str,
        now: i64,
        select: impl Fn(&Part) -> bool,
    ) {
        for (key, part) in &mut self.task.parts {
            if !part.state.is_final() && select(part) {
                super::part::finish(part, state, Some(reason.to_owned()), now);
                self.changed.insert(key.clone());
            }
        }
    }

    /// Returns true if the draft writes anything.
    pub(super) fn is_changed(&self) -> bool {
        self.is_new || !self.ops.is_empty() || !self.changed.is_empty()
    }

    /// Completes the writes of the draft.
    pub(super) fn into_change(mut self, id: TaskId, now: i64) -> Change {
        let is_final = self.task.parts.values().all(|part| part.state.is_final());
        let is_broadcast = self.task.spec.is_broadcast();
        let before = self.task.record.state;
        let Task { record, parts, .. } = &mut self.task;
        let states = parts.values().map(|part| &part.state);
        record.state = if !is_final {
            states.filter(|state| !state.is_final()).max().copied().unwrap_or_default()
        } else if is_broadcast {
            let (state, reason) = combined(states);
            record.reason = record.reason.take().or(reason);
            state
        } else {
            let part = parts.get(SINGLE);
            record.reason = part.and_then(|part| part.reason.clone());
            part.map_or(State::Failed, |part| part.state)
        };
        record.ended_at = is_final.then_some(now).or(record.ended_at);
        let mut ops = Vec::new();
        let must_set = !is_broadcast || is_final || before != self.task.record.state || self.cancel.is_some();
        self.task.record.cancel = self.task.record.cancel.take().or(self.cancel.take());
        if self.is_new {
            ops.push(Op::CreateState(self.task.to_record()));
        } else if must_set {
            ops.push(Op::SetState(self.task.to_record()));
        }
        if is_broadcast {
            for key in &self.changed {
                let Some(part) = self.task.parts.get_mut(key) else { continue };
                // The assignment itself tells that a part is assigned.
                if part.state == State::Assigned && part.outcome.is_none() {
                    continue;
                }
                ops.push(match self.task.stored.insert(key.clone()) {
                    true => Op::CreatePart(key.clone(), part.clone()),
                    false => Op::SetPart(key.clone(), part.clone()),
                });
                // The output is in ZooKeeper. A thousand of them are not kept in memory.
                part.outcome = None;
            }
        }
        ops.append(&mut self.ops);
        if is_final {
            ops.push(Op::DeleteSpec);
            ops.extend(self.task.spec.file.clone().map(Op::DeleteFile));
            let summary = TaskSummary::of_record(&id, &self.task.to_record());
            let (stored, state) = (self.task.stored.clone(), self.task.record.state);
            let ended = Ended { at: now, stored, state, summary };
            return Change { task: id, ops, after: None, ended: Some(ended), forgotten: false };
        }
        Change { task: id, ops, after: Some(self.task), ended: None, forgotten: false }
    }
}

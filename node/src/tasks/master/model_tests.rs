//! Property test of the decisions of [`Core`] with a model of workers and leaders that fail.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::core::{Core, Inputs};
use super::core_tests::{core, id};
use super::part::Loss;
use super::task::{Change, Op, Task, Worker};
use crate::model::task::TaskId;
use crate::model::task::record::{Assignment, Cancel, Outcome, Part, Record, Result as TaskResult, State};
use crate::model::task::spec::tests::spec;
use crate::model::task::spec::{Promise, Spec, Target};

/// A model of ZooKeeper's znodes of tasks, which the changes of leaders and the transactions of workers modify.
#[derive(Clone, Default)]
struct World {
    records: BTreeMap<TaskId, Record>,
    parts: BTreeMap<(TaskId, String), Part>,
    /// Assignments with the version of their znode.
    runs: BTreeMap<(TaskId, String), (Assignment, i32)>,
    claims: BTreeSet<(TaskId, String)>,
    done: BTreeMap<(TaskId, String), Option<Outcome>>,
    /// Number of starts, by task and node.
    starts: BTreeMap<(TaskId, String), u32>,
    final_states: BTreeMap<TaskId, State>,
}

impl World {
    /// Applies a change, or refuses it as ZooKeeper would: then nothing of it takes effect.
    fn commit(&mut self, change: &Change) -> bool {
        let mut after = self.clone();
        let is_applied = change.ops.iter().all(|op| after.apply(&change.task, op));
        if is_applied {
            *self = after;
        }
        is_applied
    }

    fn apply(&mut self, task: &TaskId, op: &Op) -> bool {
        let key = |node: &String| (task.clone(), node.clone());
        match op {
            Op::CreateState(record) | Op::SetState(record) => {
                if record.state.is_final() {
                    let before = self.final_states.insert(task.clone(), record.state);
                    assert!(before.is_none(), "{task} ended twice");
                }
                let before = self.records.insert(task.clone(), record.clone());
                before.is_some() == matches!(op, Op::SetState(_))
            }
            Op::CreatePart(node, part) | Op::SetPart(node, part) => {
                let before = self.parts.insert(key(node), part.clone());
                assert!(
                    before.as_ref().is_none_or(|before| !before.state.is_final()),
                    "{task} on {node} ended twice"
                );
                before.is_some() == matches!(op, Op::SetPart(..))
            }
            Op::CreateRun(node, run) => self.runs.insert(key(node), (run.clone(), 0)).is_none(),
            Op::DeleteRun(node, version) => {
                let found = self.runs.remove(&key(node));
                found.is_some_and(|(_, found)| version.is_none_or(|version| version == found))
            }
            Op::DeleteDone(node) => self.done.remove(&key(node)).is_some(),
            _ => true,
        }
    }

    /// Lets a worker claim and start an assignment.
    fn start(&mut self, entry: &(TaskId, String)) {
        let others = self.claims.iter().filter(|(task, node)| *task == entry.0 && *node != entry.1).count();
        let is_broadcast = self.records[&entry.0].roster.is_some();
        if let Some((_, version)) = self.runs.get_mut(entry).filter(|(_, version)| *version == 0) {
            *version = 1;
            assert!(others == 0 || is_broadcast, "{} is executed twice at the same time", entry.0);
            self.claims.insert(entry.clone());
            *self.starts.entry(entry.clone()).or_default() += 1;
        }
    }

    fn end(&mut self, entry: &(TaskId, String), result: TaskResult) {
        let is_claimed = self.claims.remove(entry);
        if is_claimed && self.runs.get(entry).is_some_and(|(_, version)| *version == 1) {
            self.runs.remove(entry);
            self.done.insert(entry.clone(), Some(Outcome { result, ..Outcome::default() }));
        }
    }

    /// Returns the memory of a new leader.
    fn load(&self, workers: &BTreeMap<String, Worker>) -> Core {
        let mut core = Core { workers: workers.clone(), ..Core::default() };
        for (task, record) in &self.records {
            let parts = self.parts.iter().filter(|((id, _), _)| id == task);
            let parts: BTreeMap<String, Part> =
                parts.map(|((_, node), part)| (node.clone(), part.clone())).collect();
            if record.state.is_final() {
                core.restore_ended(task.clone(), record, parts.into_keys().collect());
                continue;
            }
            let runs = self.runs.iter().filter(|((id, _), _)| id == task);
            let runs = runs.map(|((_, node), (run, _))| (node.clone(), run.clone())).collect();
            let done = self.done.keys().filter(|(id, _)| id == task).map(|(_, node)| node.clone()).collect();
            core.tasks.insert(task.clone(), Task::restore(record.clone(), parts, &runs, &done).unwrap());
        }
        core
    }
}

#[derive(Clone, Debug)]
enum Event {
    Submit(bool, bool),
    Step,
    /// The reply to the next commit is lost, and another leader takes over.
    LostReply,
    NewLeader,
    Start(u8),
    End(u8, u8),
    WorkerDies(u8),
    WorkerReturns(u8),
    Cancel(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => (any::<bool>(), any::<bool>()).prop_map(|(all, once)| Event::Submit(all, once)),
        6 => Just(Event::Step),
        1 => Just(Event::LostReply),
        1 => Just(Event::NewLeader),
        5 => (0_u8..8).prop_map(Event::Start),
        5 => (0_u8..8, 0_u8..4).prop_map(|(index, result)| Event::End(index, result)),
        1 => (0_u8..3).prop_map(Event::WorkerDies),
        2 => (0_u8..3).prop_map(Event::WorkerReturns),
        1 => (0_u8..4).prop_map(Event::Cancel),
    ];
    prop::collection::vec(event, 1..120)
}

/// What one leader sees and does in one step.
fn lead(core: &mut Core, world: &mut World, inputs: &mut Inputs, now: i64, loses_reply: bool) -> bool {
    core.set_claims(world.claims.clone());
    inputs.done = world.done.clone();
    inputs.losses.clear();
    for entry in core.suspects(now) {
        let run = world.runs.get(&entry).map(|(_, version)| *version);
        if world.claims.contains(&entry) || world.done.contains_key(&entry) {
            continue;
        }
        let is_alive = core.workers[&entry.1].is_alive;
        match run {
            Some(0) if is_alive => continue,
            Some(0) => inputs.losses.insert(entry, (Loss::Unclaimed, Some(0))),
            run => inputs.losses.insert(entry, (Loss::Claimed, run)),
        };
    }
    for change in core.step(now, inputs) {
        if !world.commit(&change) {
            core.refused(&change.task, now);
            continue;
        }
        inputs.specs.remove(&change.task);
        if change.ops.contains(&Op::DeleteCancel) {
            inputs.cancels.remove(&change.task);
        }
        if loses_reply {
            return false;
        }
        core.committed(change);
    }
    true
}

proptest! {
    /// Whatever fails: each task ends once, no task for one node is executed twice at the same time, one that promises
    /// at most one execution is started at most once, and everything ends when the failures do.
    #[test]
    fn tasks_end_once_and_are_never_executed_twice_at_the_same_time(events in events()) {
        let nodes = ["a", "b", "c"];
        let mut workers = core(&nodes).workers;
        let mut world = World::default();
        let mut inputs = Inputs::default();
        let mut core = Core { workers: workers.clone(), ..Core::default() };
        let (mut now, mut submitted) = (0, 0);
        let mut once = BTreeSet::new();
        for event in events {
            now += 700;
            match event {
                Event::Submit(all, at_most_once) => {
                    submitted += 1;
                    let to = if all { Target::All } else { Target::Any };
                    let promise = if at_most_once { Promise::AtMostOnce } else { Promise::AtLeastOnce };
                    once.extend(at_most_once.then_some(id(submitted)));
                    inputs.specs.insert(id(submitted), (now, Ok(Spec { to, promise, ..spec("status") })));
                }
                Event::Step => drop(lead(&mut core, &mut world, &mut inputs, now, false)),
                Event::LostReply => {
                    if !lead(&mut core, &mut world, &mut inputs, now, true) {
                        core = world.load(&workers);
                    }
                }
                Event::NewLeader => core = world.load(&workers),
                Event::Start(index) => {
                    let entry = world.runs.keys().nth(usize::from(index)).cloned();
                    if let Some(entry) = entry.filter(|(_, node)| workers[node].is_alive) {
                        world.start(&entry);
                    }
                }
                Event::End(index, result) => {
                    let results =
                        [TaskResult::Done, TaskResult::Failed, TaskResult::TimedOut, TaskResult::Interrupted];
                    if let Some(entry) = world.claims.iter().nth(usize::from(index)).cloned() {
                        world.end(&entry, results[usize::from(result)]);
                    }
                }
                Event::WorkerDies(index) => {
                    let node = nodes[usize::from(index)];
                    workers.get_mut(node).unwrap().is_alive = false;
                    world.claims.retain(|(_, claimed)| claimed != node);
                }
                Event::WorkerReturns(index) => workers.get_mut(nodes[usize::from(index)]).unwrap().is_alive = true,
                Event::Cancel(index) => {
                    if let Some(task) = world.records.keys().nth(usize::from(index)) {
                        inputs.cancels.insert(task.clone(), Cancel::default());
                    }
                }
            }
            core.workers.clone_from(&workers);
        }
        workers.values_mut().for_each(|worker| worker.is_alive = true);
        core.workers = workers;
        for _ in 0..200 {
            now += 10_000;
            lead(&mut core, &mut world, &mut inputs, now, false);
            for entry in world.runs.keys().cloned().collect::<Vec<_>>() {
                world.start(&entry);
            }
            for entry in world.claims.clone() {
                world.end(&entry, TaskResult::Done);
            }
        }
        prop_assert!(core.tasks.is_empty(), "{:?}", core.tasks);
        prop_assert_eq!(world.final_states.len(), submitted as usize);
        prop_assert!(world.runs.is_empty() && world.done.is_empty() && inputs.cancels.is_empty());
        for ((task, node), starts) in &world.starts {
            prop_assert!(!once.contains(task) || *starts == 1, "{} started {} times on {}", task, starts, node);
        }
        for task in &once {
            if world.records[task].roster.is_none() {
                let starts: u32 = world.starts.iter().filter(|((id, _), _)| id == task).map(|(_, n)| n).sum();
                prop_assert!(starts <= 1, "{} started {} times", task, starts);
            }
        }
        prop_assert!(world.records.values().all(|record| record.part.as_ref().is_none_or(|part| part.state.is_final())));
    }
}

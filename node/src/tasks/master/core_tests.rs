//! Tests of the decisions of [`Core`]: single cases, and a model of workers and leaders that fail.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::core::{Core, Inputs, MAX_HISTORY};
use super::part::Loss;
use super::task::{Change, Op, Task, Worker};
use crate::model::task::record::{Assignment, Cancel, Outcome, Part, Record, Result as TaskResult, State};
use crate::model::task::spec::tests::spec;
use crate::model::task::spec::{Promise, Rollout, Spec, Target};
use crate::model::task::worker_info::tests::worker;
use crate::model::task::{MAX_LIVE, TaskId};

fn id(number: u32) -> TaskId {
    number.to_string().parse().unwrap()
}

fn core(nodes: &[&str]) -> Core {
    let workers = nodes.iter().map(|node| {
        let mut info = worker();
        info.measures = false;
        ((*node).to_owned(), Worker { info, is_alive: true })
    });
    Core { workers: workers.collect(), ..Core::default() }
}

fn submit(specs: impl IntoIterator<Item = (u32, Spec)>) -> Inputs {
    let specs = specs.into_iter().map(|(number, spec)| (id(number), (0, Ok(spec))));
    Inputs { specs: specs.collect(), ..Inputs::default() }
}

fn done(number: u32, node: &str, result: TaskResult) -> Inputs {
    let outcome = Outcome { result, reason: Some("reason".into()), ..Outcome::default() };
    Inputs { done: BTreeMap::from([((id(number), node.to_owned()), Some(outcome))]), ..Inputs::default() }
}

/// Commits a step, and returns its changes.
fn step(core: &mut Core, now: i64, inputs: &Inputs) -> Vec<Change> {
    let changes = core.step(now, inputs);
    changes.iter().cloned().for_each(|change| core.committed(change));
    changes
}

fn runs(changes: &[Change]) -> Vec<(String, String)> {
    let ops = changes.iter().flat_map(|change| change.ops.iter().map(|op| (change.task.to_string(), op)));
    ops.filter_map(|(task, op)| match op {
        Op::CreateRun(node, _) => {
            Some((task.trim_start_matches("t-").trim_start_matches('0').to_owned(), node.clone()))
        }
        _ => None,
    })
    .collect()
}

fn record(changes: &[Change], number: u32) -> Record {
    let change = changes.iter().find(|change| change.task == id(number)).expect("a change");
    let record = change.ops.iter().find_map(|op| match op {
        Op::CreateState(record) | Op::SetState(record) => Some(record.clone()),
        _ => None,
    });
    record.expect("a record")
}

#[test]
fn task_is_assigned_and_ends_with_the_outcome_of_its_worker() {
    let mut core = core(&["1"]);
    let changes = step(&mut core, 10, &submit([(7, spec("status"))]));
    assert_eq!(runs(&changes), [("7".to_owned(), "1".to_owned())]);
    assert_eq!(
        step(&mut core, 20, &submit([(7, spec("status"))])),
        [],
        "an accepted task is not accepted twice"
    );
    let changes = step(&mut core, 30, &done(7, "1", TaskResult::Done));
    let record = record(&changes, 7);
    assert_eq!((record.state, record.ended_at), (State::Done, Some(30)));
    assert!(changes[0].ops.contains(&Op::DeleteSpec) && changes[0].ops.contains(&Op::DeleteDone("1".into())));
    let late = step(&mut core, 40, &done(7, "1", TaskResult::Failed));
    assert_eq!(late[0].ops, [Op::DeleteDone("1".into())], "a final state never changes");
}

#[test]
fn tasks_are_assigned_by_priority_then_age_to_free_workers_with_the_action() {
    let mut core = core(&["1", "2"]);
    let urgent = Spec { priority: 9, ..spec("status") };
    let absent = Spec { selector: "board=laptop".parse().unwrap(), ..spec("status") };
    let inputs =
        submit([(1, absent), (2, spec("unknown")), (3, spec("status")), (4, spec("status")), (5, urgent)]);
    let changes = step(&mut core, 10, &inputs);
    let assigned: BTreeSet<String> = runs(&changes).into_iter().map(|(task, _)| task).collect();
    assert_eq!(assigned, BTreeSet::from(["3".into(), "5".into()]));
    let (_, node) = runs(&changes).into_iter().find(|(task, _)| task == "5").unwrap();
    let changes = step(&mut core, 20, &done(5, &node, TaskResult::Done));
    assert_eq!(
        runs(&changes),
        [("4".to_owned(), node)],
        "the free worker gets the next task in the same step"
    );
}

#[test]
fn task_that_is_claimed_is_not_assigned_again() {
    let mut core = core(&["1", "2"]);
    let changes = step(&mut core, 10, &submit([(1, spec("status"))]));
    let node = runs(&changes)[0].1.clone();
    core.set_claims(BTreeSet::from([(id(1), node.clone())]));
    let mut inputs = Inputs::default();
    inputs.losses.insert((id(1), node.clone()), (Loss::Claimed, Some(1)));
    assert_eq!(runs(&step(&mut core, 20, &inputs)), [], "the claim is still listed");
    core.set_claims(BTreeSet::new());
    assert_eq!(runs(&step(&mut core, 30, &Inputs::default())).len(), 1);
}

#[test]
fn only_assignments_whose_worker_or_claim_is_missing_are_suspect() {
    let mut core = core(&["1"]);
    step(&mut core, 10, &submit([(1, spec("status"))]));
    let entry = (id(1), "1".to_owned());
    assert_eq!(core.suspects(20), []);
    assert_eq!(core.suspects(10_000), std::slice::from_ref(&entry), "not claimed for too long");
    core.set_claims(BTreeSet::from([entry.clone()]));
    assert_eq!(core.suspects(10_000), []);
    core.workers.get_mut("1").unwrap().is_alive = false;
    assert_eq!(core.suspects(20), [], "the claim exists");
    core.set_claims(BTreeSet::new());
    assert_eq!(core.suspects(20), vec![entry]);
}

#[test]
fn cancelled_task_is_withdrawn_and_never_assigned_again() {
    let mut core = core(&["1"]);
    step(&mut core, 10, &submit([(1, spec("status")), (2, spec("status"))]));
    let cancel = Cancel { by: "me".into(), reason: "wrong".into() };
    let cancels = [1, 2].map(|number| (id(number), cancel.clone())).into();
    let changes = step(&mut core, 20, &Inputs { cancels, ..Inputs::default() });
    for number in [1, 2] {
        let record = record(&changes, number);
        assert_eq!((record.state, record.cancel), (State::Cancelled, Some(cancel.clone())));
        assert_eq!(record.reason.as_deref(), Some("cancelled by me: wrong"));
    }
    let deleted = changes.iter().flat_map(|change| &change.ops).filter(|op| matches!(op, Op::DeleteRun(..)));
    assert_eq!(deleted.count(), 1, "one of them was assigned");
    let again = Inputs { cancels: BTreeMap::from([(id(1), cancel)]), ..Inputs::default() };
    assert_eq!(step(&mut core, 30, &again)[0].ops, [Op::DeleteCancel], "too late");
}

#[test]
fn task_expires_unless_it_starts_in_time() {
    let mut core = core(&[]);
    let limited = Spec { start_by_ms: Some(5_000), ..spec("status") };
    step(&mut core, 10, &submit([(1, limited), (2, spec("status"))]));
    assert_eq!(step(&mut core, 5_000, &Inputs::default()), []);
    let changes = step(&mut core, 5_001, &Inputs::default());
    assert_eq!(record(&changes, 1).state, State::Expired);
    assert_eq!(changes.len(), 1, "the other one has no limit");
}

#[test]
fn broadcast_names_each_node_with_its_outcome() {
    let mut core = core(&["1", "2", "3", "absent"]);
    core.workers.get_mut("absent").unwrap().is_alive = false;
    let all = Spec { to: Target::All, attempts: 1, ..spec("status") };
    let changes = step(&mut core, 10, &submit([(1, all)]));
    assert_eq!(runs(&changes).len(), 3);
    step(&mut core, 20, &done(1, "1", TaskResult::Done));
    let changes = step(&mut core, 30, &done(1, "2", TaskResult::Failed));
    assert_eq!(runs(&changes), [], "an ended node never executes it again");
    step(&mut core, 40, &done(1, "3", TaskResult::Done));
    let changes = step(&mut core, 60_001, &Inputs::default());
    let record = record(&changes, 1);
    let roster: Vec<(&str, State)> =
        record.roster.as_ref().unwrap().iter().map(|(n, s)| (n.as_str(), *s)).collect();
    let wanted = [("1", State::Done), ("2", State::Failed), ("3", State::Done), ("absent", State::Expired)];
    assert_eq!((record.state, roster), (State::Failed, wanted.to_vec()));
    assert_eq!(record.reason.as_deref(), Some("of 4 nodes: 2 done, 1 failed, 1 expired"));
}

#[test]
fn late_node_of_a_broadcast_executes_it_once() {
    let mut core = core(&["1", "late"]);
    core.workers.get_mut("late").unwrap().is_alive = false;
    step(&mut core, 10, &submit([(1, Spec { to: Target::All, ..spec("status") })]));
    step(&mut core, 20, &done(1, "1", TaskResult::Done));
    core.workers.get_mut("late").unwrap().is_alive = true;
    core.workers.insert("new".into(), Worker { info: worker(), is_alive: true });
    let changes = step(&mut core, 30, &Inputs::default());
    assert_eq!(runs(&changes), [("1".to_owned(), "late".to_owned())], "a new node is not in the roster");
    let changes = step(&mut core, 40, &done(1, "late", TaskResult::Done));
    assert_eq!(record(&changes, 1).state, State::Done);
}

#[test]
fn rollout_starts_the_next_batch_only_after_healthy_nodes_and_the_pause() {
    let names: Vec<String> = (10..20).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut core = core(&names);
    core.workers.get_mut("10").unwrap().info.measures = true;
    let batches = Rollout::parse_batches("1,3,100%").unwrap();
    let rollout = Some(Rollout { batches, pause_ms: 1_000, stop_after: 2 });
    let spec = Spec { to: Target::All, rollout, attempts: 1, ..spec("status") };
    let changes = step(&mut core, 10, &submit([(1, spec)]));
    assert_eq!(runs(&changes), [("1".to_owned(), "10".to_owned())]);
    step(&mut core, 100, &done(1, "10", TaskResult::Done));
    assert_eq!(core.nodes_to_check(), BTreeSet::from(["10".to_owned()]));
    assert_eq!(runs(&step(&mut core, 1_200, &Inputs::default())), [], "no measurement since it ended");
    let measured = BTreeMap::from([("10".to_owned(), 150)]);
    let fresh = Inputs { measured, ..Inputs::default() };
    assert_eq!(runs(&step(&mut core, 1_000, &fresh)), [], "the pause");
    assert_eq!(runs(&step(&mut core, 1_200, &fresh)).len(), 3);
    // Two of the second batch fail: no node of the third is touched.
    step(&mut core, 1_300, &done(1, "11", TaskResult::Failed));
    step(&mut core, 1_300, &done(1, "12", TaskResult::Failed));
    let changes = step(&mut core, 1_400, &done(1, "13", TaskResult::Done));
    let record = record(&changes, 1);
    assert_eq!(record.state, State::Failed);
    assert_eq!(record.reason.as_deref(), Some("roll-out stopped: 2 failed: 11, 12"));
    assert!(
        record
            .roster
            .unwrap()
            .iter()
            .all(|(node, state)| (*state == State::Skipped) == (node.as_str() > "13"))
    );
}

#[test]
fn live_tasks_and_history_are_bounded() {
    let mut core = core(&["1"]);
    let many = (1..=MAX_LIVE as u32 + 1).map(|number| (number, spec("unknown")));
    let changes = step(&mut core, 10, &submit(many));
    let refused = record(&changes, MAX_LIVE as u32 + 1);
    assert_eq!(
        (refused.state, refused.reason.as_deref()),
        (State::Failed, Some("there are 1000 live tasks already"))
    );
    let cancels = core.tasks.keys().map(|id| (id.clone(), Cancel::default())).collect();
    step(&mut core, 20, &Inputs { cancels, ..Inputs::default() });
    while !step(&mut core, 30, &Inputs::default()).is_empty() {}
    assert_eq!(core.history.len(), MAX_HISTORY);
    let week = 7 * 24 * 3_600 * 1_000;
    while !step(&mut core, 31 + week, &Inputs::default()).is_empty() {}
    assert_eq!(core.history.len(), 0);
}

#[test]
fn wrong_specification_ends_at_once_with_the_reason() {
    let mut core = core(&["1"]);
    let specs = BTreeMap::from([(id(1), (5, Err("the specification is malformed".to_owned())))]);
    let changes = step(&mut core, 10, &Inputs { specs, ..Inputs::default() });
    let record = record(&changes, 1);
    assert_eq!((record.state, record.spec), (State::Failed, None));
    assert_eq!(record.reason.as_deref(), Some("the specification is malformed"));
}

#[test]
fn refused_change_does_not_block_other_tasks() {
    let mut core = core(&["1", "2"]);
    core.refused(&id(1), 10);
    let changes = step(&mut core, 20, &submit([(1, spec("status")), (2, spec("status"))]));
    assert_eq!(changes.iter().map(|change| change.task.clone()).collect::<Vec<_>>(), [id(2)]);
    let changes = step(&mut core, 2_000, &submit([(1, spec("status"))]));
    assert_eq!(runs(&changes).len(), 1);
}

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
            core.restore(task.clone(), Task::restore(record.clone(), parts, &runs, &done).unwrap());
        }
        core
    }
}

/// An event in the model.
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

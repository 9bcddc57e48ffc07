//! Tests of the decisions of [`Core`]: single cases.

use std::collections::{BTreeMap, BTreeSet};

use super::core::{Core, Inputs, MAX_HISTORY};
use super::part::Loss;
use super::task::{Change, Op, Worker};
use crate::model::task::record::{Cancel, Outcome, Record, Result as TaskResult, State};
use crate::model::task::spec::tests::spec;
use crate::model::task::spec::{Rollout, Spec, Target};
use crate::model::task::worker_info::tests::worker;
use crate::model::task::{MAX_LIVE, TaskId};

pub(super) fn id(number: u32) -> TaskId {
    number.to_string().parse().unwrap()
}

pub(super) fn core(nodes: &[&str]) -> Core {
    let workers = nodes.iter().map(|node| {
        let mut info = worker();
        info.measures = false;
        ((*node).to_owned(), Worker { info, is_alive: true })
    });
    Core { workers: workers.collect(), ..Core::default() }
}

pub(super) fn submit(specs: impl IntoIterator<Item = (u32, Spec)>) -> Inputs {
    let specs = specs.into_iter().map(|(number, spec)| (id(number), (0, Ok(spec))));
    Inputs { specs: specs.collect(), ..Inputs::default() }
}

fn done(number: u32, node: &str, result: TaskResult) -> Inputs {
    let outcome = Outcome { result, reason: Some("reason".into()), ..Outcome::default() };
    Inputs { done: BTreeMap::from([((id(number), node.to_owned()), Some(outcome))]), ..Inputs::default() }
}

pub(super) fn step(core: &mut Core, now: i64, inputs: &Inputs) -> Vec<Change> {
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

//! Tasks for 50 workers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atalaya::model::task::record::State;
use atalaya::model::task::spec::{BatchSize, Rollout, Spec, Target};
use atalaya::model::task::{TaskId, paths};
use atalaya_testbed::{Process, eventually};

use super::stage::{Servers, Stage, spec};
use crate::common::{DEADLINE, Fleet};

const NODES: usize = 50;
/// Session timeout: 50 processes start on a small machine.
const TIMEOUT: Duration = Duration::from_secs(20);

fn name(number: usize) -> String {
    format!("w{number:02}")
}

/// Returns the nodes that began a task, and how often.
fn begun(stage: &Stage<'_>, task: &TaskId) -> BTreeMap<String, usize> {
    let mut begun = BTreeMap::new();
    for line in stage.witness() {
        if let ["begin", of, _, node] = line.split(' ').collect::<Vec<_>>()[..]
            && of == task.as_str()
        {
            *begun.entry(node.to_owned()).or_default() += 1;
        }
    }
    begun
}

#[test]
fn fifty_nodes_are_all_named_and_a_roll_out_stops_after_two_failures() {
    let fleet = Fleet::memory();
    let servers = Servers { hosts: fleet.hosts.clone(), journal: None };
    let stage = Stage::new(&servers, TIMEOUT);
    let _leader = stage.leader("n1", None);
    let mut workers: BTreeMap<String, Process> = BTreeMap::new();
    for numbers in (0..NODES).collect::<Vec<_>>().chunks(10) {
        let started: Vec<_> = numbers
            .iter()
            .map(|number| (name(*number), stage.start_worker(&name(*number), None, None)))
            .collect();
        for (name, worker) in started {
            worker.wait_for_line("ready for tasks", DEADLINE);
            workers.insert(name, worker);
        }
    }
    // Three are absent, and one joins late.
    let absent: BTreeSet<String> = [11, 22, 33].map(name).into();
    let late = name(44);
    for node in absent.iter().chain([&late]) {
        let mut worker = workers.remove(node).unwrap();
        worker.shut_down(DEADLINE);
    }
    broadcast(&stage, &absent, &late, &mut workers);
    roll_out(&stage);
}

fn broadcast(
    stage: &Stage<'_>,
    absent: &BTreeSet<String>,
    late: &str,
    workers: &mut BTreeMap<String, Process>,
) {
    let task = stage.submit_spec(&Spec {
        attempts: 1,
        start_by_ms: Some(20_000),
        ..spec("broadcast", "fails:nodes:w07:end", Target::All)
    });
    eventually("46 executions", DEADLINE, || (begun(stage, &task).len() == NODES - 4).then_some(()));
    workers.insert(late.to_owned(), stage.worker(late, None));
    let record = eventually("the end of the broadcast", DEADLINE * 2, || {
        stage.find_record(&task).filter(|record| record.state.is_final())
    });
    let roster = record.roster.clone().unwrap();
    assert_eq!(roster.keys().cloned().collect::<Vec<_>>(), (0..NODES).map(name).collect::<Vec<_>>());
    for (node, state) in &roster {
        let wanted = match node.as_str() {
            "w07" => State::Failed,
            node if absent.contains(node) => State::Expired,
            _ => State::Done,
        };
        assert_eq!(*state, wanted, "{node}: {record:?}");
    }
    assert_eq!(record.state, State::Failed);
    let begun = begun(stage, &task);
    assert!(begun.values().all(|times| *times == 1), "{begun:?}");
    assert_eq!(begun.len(), NODES - absent.len());
    let parts = stage.ls(&paths::state(&task));
    assert_eq!(parts.len(), NODES, "each node has a record");
    stage.nothing_is_left();
}

fn roll_out(stage: &Stage<'_>) {
    let present: Vec<String> =
        (0..NODES).map(name).filter(|node| !["w11", "w22", "w33"].contains(&&**node)).collect();
    let rollout = Rollout { batches: vec![BatchSize::Nodes(10)], pause_ms: 0, stop_after: 2 };
    let task = stage.submit_spec(&Spec {
        attempts: 1,
        rollout: Some(rollout),
        ..spec("roll-out", "fails:nodes:w03:w07:end", Target::Nodes(present.clone()))
    });
    let record = eventually("the end of the roll-out", DEADLINE, || {
        stage.find_record(&task).filter(|record| record.state.is_final())
    });
    let first: Vec<&String> = present.iter().take(10).collect();
    let begun = begun(stage, &task);
    assert!(
        begun.keys().all(|node| first.contains(&node)),
        "a node of the next batch was touched: {begun:?}"
    );
    let roster = record.roster.clone().unwrap();
    let count = |state: State| roster.values().filter(|other| **other == state).count();
    assert_eq!(count(State::Failed), 2, "{record:?}");
    assert_eq!(count(State::Skipped) + count(State::Done) + 2, present.len(), "{record:?}");
    for (node, state) in &roster {
        assert!(first.contains(&node) || *state == State::Skipped, "{node}: {state:?}");
    }
    assert!(record.reason.unwrap().contains("roll-out stopped: 2 failed"));
    stage.nothing_is_left();
}

//! Roll-outs: tasks whose nodes are assigned in batches. No I/O.

use std::collections::BTreeMap;

use super::task::{Task, Worker};
use crate::model::task::record::{Part, State};
use crate::model::task::spec::Rollout;
use crate::model::task::worker_info::WorkerHealth;

/// Minimum time for the nodes of a batch to be healthy again, in milliseconds. After it they count as failed.
const MIN_HEALTH_TIME: i64 = 60_000;

/// Decision about the nodes of a roll-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// The first nodes of the roster may be assigned, the last of them since this time.
    Open(usize, i64),
    /// The roll-out is stopped, for this reason.
    Stop(String),
}

/// Returns the nodes that may be assigned at `now`. `measured` has the times of the newest measurements.
pub(super) fn gate(
    task: &Task,
    rollout: &Rollout,
    now: i64,
    workers: &BTreeMap<String, Worker>,
    measured: &BTreeMap<String, i64>,
) -> Gate {
    let parts: Vec<(&String, &Part)> = task.parts.iter().collect();
    let pause = i64::try_from(rollout.pause_ms).unwrap_or(i64::MAX);
    let (mut open, mut since) = (0, task.record.submitted_at);
    let mut failed: Vec<String> = Vec::new();
    for size in rollout.sizes(parts.len()) {
        let batch = &parts[open..open + size];
        open += size;
        failed.extend(batch.iter().filter(|(_, part)| has_failed(part)).map(|(node, _)| (*node).clone()));
        if let Some(stop) = stopped(&failed, rollout) {
            return stop;
        }
        if !batch.iter().all(|(_, part)| part.state.is_final()) {
            return Gate::Open(open, since);
        }
        // The next batch has begun, so this one was healthy.
        let has_begun = |(_, part): &(&String, &Part)| part.attempt > 0 || part.state.is_final();
        let ended = batch.iter().filter_map(|(_, part)| part.ended_at).max().unwrap_or(now);
        since = ended.saturating_add(pause);
        if parts.get(open).is_some_and(has_begun) {
            continue;
        }
        let age = now.saturating_sub(ended);
        let healthy = |node: &str, part: &Part| is_healthy(node, part, workers, measured);
        let unhealthy = batch.iter().filter(|(node, part)| part.state == State::Done && !healthy(node, part));
        let unhealthy: Vec<String> = unhealthy.map(|(node, _)| format!("{node} (not healthy)")).collect();
        if !unhealthy.is_empty() {
            if age < pause.max(MIN_HEALTH_TIME) {
                return Gate::Open(open, since);
            }
            failed.extend(unhealthy);
            if let Some(stop) = stopped(&failed, rollout) {
                return stop;
            }
        }
        if age < pause {
            return Gate::Open(open, since);
        }
    }
    Gate::Open(open, since)
}

fn stopped(failed: &[String], rollout: &Rollout) -> Option<Gate> {
    (failed.len() >= rollout.stop_after as usize)
        .then(|| Gate::Stop(format!("roll-out stopped: {} failed: {}", failed.len(), failed.join(", "))))
}

fn has_failed(part: &Part) -> bool {
    part.state.is_final() && !matches!(part.state, State::Done | State::Skipped | State::Cancelled)
}

/// Returns true if a node is present, its sensors can be read, and it has published a measurement since it executed the
/// task. A worker without sensors only has to be present.
fn is_healthy(
    node: &str,
    part: &Part,
    workers: &BTreeMap<String, Worker>,
    measured: &BTreeMap<String, i64>,
) -> bool {
    let Some(worker) = workers.get(node).filter(|worker| worker.is_alive) else { return false };
    let is_fresh =
        || measured.get(node).zip(part.ended_at).is_some_and(|(measured, ended)| *measured > ended);
    worker.info.health != WorkerHealth::Failing && (!worker.info.measures || is_fresh())
}

/// Returns the nodes that measure and are done: the next batch may wait for their measurements.
pub(super) fn gating_nodes(task: &Task, workers: &BTreeMap<String, Worker>) -> Vec<String> {
    let Some(rollout) = &task.spec.rollout else { return Vec::new() };
    let mut open = 0;
    for size in rollout.sizes(task.parts.len()) {
        let batch = task.parts.iter().skip(open).take(size);
        open += size;
        let is_next = task.parts.values().nth(open).is_some_and(|part| !part.state.is_final());
        if is_next {
            let measures = |node: &str| workers.get(node).is_some_and(|worker| worker.info.measures);
            return batch.filter(|(node, _)| measures(node)).map(|(node, _)| node.clone()).collect();
        }
    }
    Vec::new()
}

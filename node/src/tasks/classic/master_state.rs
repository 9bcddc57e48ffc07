//! The leader's decision: which task to assign to which worker. No I/O.
//!
//! A task is held while a worker's znode contains its id. The text in the task does not decide: a worker that has died, or
//! that was started again, does not hold anything, even if the text of a task names it. Workers of other programs may mark themselves as
//! busy with another text; such a worker holds the tasks whose text names it.

use std::collections::BTreeSet;

use super::layout::{TaskState, WorkerState, assigned_data, mentions};

/// A task or a worker, as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Znode<'a> {
    pub(crate) id: &'a str,
    pub(crate) data: &'a [u8],
    pub(crate) version: i32,
    /// Id of the transaction that created the znode.
    pub(crate) created: i64,
    /// Id of the transaction that last wrote it.
    pub(crate) modified: i64,
    pub(crate) is_ephemeral: bool,
}

/// One assignment, to be written in a transaction that checks both versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) task: String,
    pub(crate) task_version: i32,
    /// New data of the task. The new data of the worker is the id of the task.
    pub(crate) task_data: String,
    pub(crate) worker: String,
    pub(crate) worker_version: i32,
    /// Text of the previous assignment, if there was one whose worker does not hold the task any more.
    pub(crate) previous: Option<String>,
}

/// Returns the assignments for all tasks that no worker holds, oldest first, and for all free workers, the one that has been
/// free for the longest time first.
///
/// Workers that are not ephemeral are ignored: their end is never noticed, so a task could wait for them indefinitely. Tasks
/// whose id would mean something else in the znode of a worker, such as `idle`, are ignored too. Tasks in `deferred` are not
/// assigned again.
pub(crate) fn plan(
    tasks: &[Znode<'_>],
    workers: &[Znode<'_>],
    deferred: &BTreeSet<String>,
) -> Vec<Assignment> {
    let workers: Vec<(&Znode<'_>, WorkerState)> = workers
        .iter()
        .filter(|worker| worker.is_ephemeral)
        .map(|worker| (worker, WorkerState::parse(worker.data)))
        .collect();
    let is_assignable = |(worker, state): &&(&Znode<'_>, WorkerState)| {
        *state == WorkerState::Free && !worker.id.contains('=')
    };
    let mut free: Vec<&Znode<'_>> = workers.iter().filter(is_assignable).map(|(worker, _)| *worker).collect();
    if free.is_empty() {
        return Vec::new();
    }
    free.sort_unstable_by_key(|worker| (worker.modified, worker.id));
    let ids: BTreeSet<&str> = tasks.iter().map(|task| task.id).collect();
    let busy = workers.iter().filter_map(|(worker, state)| match state {
        WorkerState::Free => None,
        WorkerState::Busy(text) => Some((worker.id, text.as_str())),
    });
    let (holding, unclear): (Vec<_>, Vec<_>) = busy.partition(|(_, text)| ids.contains(text));
    let held: BTreeSet<&str> = holding.iter().map(|(_, task)| *task).collect();
    let mut waiting: Vec<(&Znode<'_>, Option<String>)> = tasks
        .iter()
        .filter(|task| !held.contains(task.id))
        .filter(|task| WorkerState::parse(task.id.as_bytes()) == WorkerState::Busy(task.id.to_owned()))
        .filter_map(|task| match TaskState::parse(task.id, task.data) {
            TaskState::Unassigned => Some((task, None)),
            TaskState::Finished(_) => None,
            TaskState::Assigned(text) => {
                let is_held = unclear.iter().any(|(worker, _)| mentions(&text, worker));
                (!is_held && !deferred.contains(task.id)).then_some((task, Some(text)))
            }
        })
        .collect();
    waiting.sort_unstable_by_key(|(task, _)| (task.created, task.id));
    let assign = |((task, previous), worker): ((&Znode<'_>, Option<String>), &Znode<'_>)| {
        Some(Assignment {
            task: task.id.to_owned(),
            task_version: task.version,
            task_data: assigned_data(task.id, worker.id)?,
            worker: worker.id.to_owned(),
            worker_version: worker.version,
            previous,
        })
    };
    waiting.into_iter().zip(free).filter_map(assign).collect()
}

#[cfg(test)]
#[path = "master_state_tests.rs"]
mod tests;

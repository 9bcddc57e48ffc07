//! Commits the changes of the leader. Each transaction checks the own election znode.

use std::collections::VecDeque;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::session::{CreateMode, Write, Written};
use atalaya_recipes::{Error, Leadership};
use tracing::{debug, info, warn};

use super::core::Core;
use super::task::{Assignments, Change, Op};
use crate::fail_points;
use crate::model::json::to_json;
use crate::model::task::{TaskId, paths};
use crate::zk::server_clock::{Millis, ServerClock};

/// Maximum number of writes in a transaction, unless a single change has more.
const MAX_OPS: usize = 400;
/// Maximum size of the data in a transaction, in bytes, unless a single change has more.
const MAX_BYTES: usize = 300 * 1024;

/// Number of writes at the beginning of each transaction: the check of the election znode, and the write for the clock.
const HEAD: usize = 2;

pub(super) struct Committer<'a> {
    pub(super) leadership: &'a Leadership,
}

/// A write with its own data.
enum OwnedWrite {
    Create(String, Vec<u8>),
    Set(String, Vec<u8>),
    Delete(String, Option<i32>),
}

impl Committer<'_> {
    /// Makes the first fenced write, which also shows ZooKeeper's clock.
    pub(super) async fn start(&self, clock: &mut ServerClock) -> Result<(), Error> {
        self.multi(&[], clock).await.map_err(|(_, error)| error)
    }

    /// Deletes assignments without a task.
    pub(super) async fn delete_runs(&self, runs: &Assignments) -> Result<(), Error> {
        for (task, node) in runs {
            debug!(%task, node, "deleting an assignment without a task");
            let write = [OwnedWrite::Delete(paths::run(node, task), None)];
            match self.multi(&write, &mut ServerClock::default()).await {
                Err((_, error)) if !error.is_no_node() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Commits `changes`. Those that ZooKeeper accepts are applied to `core` and returned.
    pub(super) async fn commit(
        &self,
        core: &mut Core,
        changes: Vec<Change>,
        clock: &mut ServerClock,
        now: Millis,
    ) -> Result<Vec<Change>, Error> {
        let mut committed = Vec::new();
        let mut groups: VecDeque<Vec<Change>> = group(changes).into();
        while let Some(changes) = groups.pop_front() {
            let writes: Vec<OwnedWrite> = changes.iter().flat_map(writes).collect();
            let result = fail_points::during("tasks-committing", self.multi(&writes, clock)).await;
            match result {
                Ok(()) => {
                    fail_points::point("tasks-committed");
                    for change in changes {
                        log(&change);
                        core.committed(change.clone());
                        committed.push(change);
                    }
                }
                Err((false, error)) => return Err(error),
                Err((true, error)) => {
                    if let [change] = &changes[..] {
                        let task = &change.task;
                        // Usually a worker or a client was faster: the next step sees what it wrote.
                        match error.is_no_node() || error.is_bad_version() {
                            true => debug!(%task, %error, "a change of a task was refused"),
                            false => warn!(%task, %error, "ZooKeeper refused a change of this task"),
                        }
                        core.refused(task, now);
                    } else {
                        changes.into_iter().rev().for_each(|change| groups.push_front(vec![change]));
                    }
                }
            }
        }
        Ok(committed)
    }

    /// Executes one transaction. In an error, true means that ZooKeeper refused one of `writes`.
    async fn multi(&self, writes: &[OwnedWrite], clock: &mut ServerClock) -> Result<(), (bool, Error)> {
        let mode = CreateMode::Persistent;
        let mut all = vec![
            Write::Check { path: self.leadership.znode(), version: -1 },
            Write::Set { path: paths::STATE, data: b"", version: None },
        ];
        all.extend(writes.iter().map(|write| match write {
            OwnedWrite::Create(path, data) => Write::Create { path, data, mode },
            OwnedWrite::Set(path, data) => Write::Set { path, data, version: None },
            OwnedWrite::Delete(path, version) => Write::Delete { path, version: *version },
        }));
        let sent = BootInstant::now();
        match self.leadership.connection().multi(&all).await {
            Ok(written) => {
                if let Some(Written::Set(stat)) = written.get(1) {
                    clock.record_write(stat.mtime, sent, BootInstant::now());
                }
                Ok(())
            }
            // Another node leads: the election drops this future.
            Err(refusal) if refusal.at == Some(0) && refusal.error.is_no_node() => {
                std::future::pending().await
            }
            Err(refusal) => {
                let is_refused =
                    refusal.at.is_some_and(|at| at >= HEAD) && !refusal.error.is_connection_loss();
                Err((is_refused, refusal.error))
            }
        }
    }
}

/// Divides changes into transactions.
fn group(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut groups: Vec<Vec<Change>> = Vec::new();
    let (mut ops, mut bytes) = (0, 0);
    for change in changes {
        let size: usize = writes(&change).map(|write| write.size()).sum();
        if groups.is_empty() || ops + change.ops.len() > MAX_OPS || bytes + size > MAX_BYTES {
            groups.push(Vec::new());
            (ops, bytes) = (0, 0);
        }
        ops += change.ops.len();
        bytes += size;
        if let Some(group) = groups.last_mut() {
            group.push(change);
        }
    }
    groups
}

impl OwnedWrite {
    fn size(&self) -> usize {
        match self {
            OwnedWrite::Create(path, data) | OwnedWrite::Set(path, data) => path.len() + data.len(),
            OwnedWrite::Delete(path, _) => path.len(),
        }
    }
}

fn writes(change: &Change) -> impl Iterator<Item = OwnedWrite> {
    change.ops.iter().map(|op| write(&change.task, op))
}

fn write(task: &TaskId, op: &Op) -> OwnedWrite {
    match op {
        Op::CreateState(record) => OwnedWrite::Create(paths::state(task), to_json(record)),
        Op::SetState(record) => OwnedWrite::Set(paths::state(task), to_json(record)),
        Op::CreatePart(node, part) => OwnedWrite::Create(paths::part(task, node), to_json(part)),
        Op::SetPart(node, part) => OwnedWrite::Set(paths::part(task, node), to_json(part)),
        Op::DeleteSpec => OwnedWrite::Delete(paths::spec(task), None),
        Op::DeleteCancel => OwnedWrite::Delete(paths::cancel(task), None),
        Op::CreateRun(node, run) => OwnedWrite::Create(paths::run(node, task), to_json(run)),
        Op::DeleteRun(node, version) => OwnedWrite::Delete(paths::run(node, task), *version),
        Op::DeleteDone(node) => OwnedWrite::Delete(paths::done(task, node), None),
        Op::DeletePart(node) => OwnedWrite::Delete(paths::part(task, node), None),
        Op::DeleteState => OwnedWrite::Delete(paths::state(task), None),
        Op::DeleteFile(file) => OwnedWrite::Delete(paths::file(file), None),
    }
}

fn log(change: &Change) {
    let task = &change.task;
    for op in &change.ops {
        match op {
            Op::CreateRun(node, run) => debug!(%task, node, attempt = run.attempt, "assigned"),
            Op::CreateState(record) | Op::SetState(record) if record.state.is_final() => {
                let action = record.spec.as_ref().map(|spec| spec.action.as_str()).unwrap_or_default();
                let reason = record.reason.as_deref().unwrap_or_default();
                info!(%task, action, state = record.state.name(), reason, "task ended");
            }
            _ => {}
        }
    }
}

//! Reads tasks and workers, with few requests and bounded memory, and waits for the end of a task.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atalaya_recipes::node_names::{Naming, sorted_contenders};
use atalaya_recipes::session::BulkRead;
use atalaya_recipes::{Connection, Error, Session, Stat};
use futures_util::TryStreamExt as _;

use super::view::{PartView, Summary, TaskView, WorkerView, Workers};
use super::{ClientError, next_connection, retry};
use crate::model::task::record::{Assignment, Cancel, Part, Progress, Record, State};
use crate::model::task::spec::{Spec, Target};
use crate::model::task::worker_info::WorkerInfo;
use crate::model::task::{TaskId, paths};
use crate::zk::bulk_read::{SizeCache, UNKNOWN_SIZE, plan, read_batches, read_children, read_named_children};

/// Interval at which the progress of a task is read.
const INTERVAL: Duration = Duration::from_secs(1);

/// Returns the names of tasks among the children of a znode.
async fn task_names(connection: &Connection, parent: &str) -> Result<Vec<String>, Error> {
    let mut names = connection.children_or_empty(parent).await?;
    names.retain(|name| TaskId::of_znode(name).is_some());
    Ok(names)
}

/// Returns summaries of the newest tasks, newest first, and the number of tasks that exist. At most `limit` tasks
/// for which `is_wanted` returns true.
pub(crate) async fn list(
    session: &Session,
    limit: usize,
    is_wanted: impl Fn(&Summary) -> bool + Sync,
) -> Result<(Vec<Summary>, usize), ClientError> {
    /// Number of tasks that are read at once.
    const BATCH: usize = 256;
    retry(session, async |connection| {
        connection.sync().await?;
        // A task is in `spec` first, and in `state` until the end: in this order none is missed.
        let specs = task_names(connection, paths::SPEC).await?;
        let states: BTreeSet<String> = task_names(connection, paths::STATE).await?.into_iter().collect();
        let claims = connection.children_or_empty(paths::CLAIM).await?;
        let mut running: BTreeMap<TaskId, usize> = BTreeMap::new();
        for (task, _) in claims.iter().filter_map(|claim| paths::parse_task_and_node(claim)) {
            *running.entry(task).or_default() += 1;
        }
        let mut names: Vec<String> = states.iter().cloned().chain(specs).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        names.dedup();
        let total = names.len();
        let mut found = Vec::new();
        for batch in names.chunks(BATCH) {
            let (accepted, queued): (Vec<String>, Vec<String>) =
                batch.iter().cloned().partition(|name| states.contains(name));
            let mut missing = queued;
            let mut read =
                read_summaries(connection, paths::STATE, accepted.clone(), Summary::of_record).await?;
            let known: BTreeSet<&str> = read.iter().map(|summary| summary.task.as_str()).collect();
            missing.extend(accepted.into_iter().filter(|name| !known.contains(name.as_str())));
            read.extend(read_summaries(connection, paths::SPEC, missing, Summary::of_spec).await?);
            for summary in &mut read {
                summary.running = running.get(&summary.task).copied().unwrap_or(0);
            }
            read.sort_unstable_by(|a, b| b.task.cmp(&a.task));
            found.extend(read.into_iter().filter(&is_wanted));
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok((found, total))
    })
    .await
}

async fn read_summaries(
    connection: &Connection,
    parent: &str,
    names: Vec<String>,
    summary: impl Fn(TaskId, &[u8], i64) -> Summary + Sync,
) -> Result<Vec<Summary>, Error> {
    // The name is not known where the data is parsed, so any id is replaced afterwards.
    let any = TaskId::of_znode("t-0000000000");
    let parse = |data: &[u8], stat: &Stat| any.clone().map(|any| summary(any, data, stat.ctime));
    let read = read_named_children(connection, parent, names, &mut SizeCache::default(), parse).await?;
    let named = read.into_iter().filter_map(|(name, _, summary)| {
        let task = TaskId::of_znode(&name)?;
        Some(Summary { task, ..summary? })
    });
    Ok(named.collect())
}

/// Reads all workers, present and absent.
pub(crate) async fn workers(session: &Session) -> Result<Workers, ClientError> {
    retry(session, async |connection| {
        connection.sync().await?;
        let parse = |data: &[u8], _: &_| WorkerInfo::parse(data);
        let infos = read_children(connection, paths::WORKER, &mut SizeCache::default(), parse).await?;
        let alive: BTreeSet<String> = connection.children_or_empty(paths::ALIVE).await?.into_iter().collect();
        let names = infos.iter().map(|(name, ..)| name.clone()).collect();
        let count = |_: &[u8], stat: &Stat| u32::try_from(stat.num_children).unwrap_or(0);
        let runs =
            read_named_children(connection, paths::RUN, names, &mut SizeCache::default(), count).await?;
        let runs: BTreeMap<String, u32> = runs.into_iter().map(|(name, _, count)| (name, count)).collect();
        let view = |(name, _, info): (String, _, _)| {
            let is_alive = alive.contains(&name);
            let assigned = runs.get(&name).copied().unwrap_or(0);
            (name, WorkerView { info, is_alive, assigned })
        };
        Ok(infos.into_iter().map(view).collect())
    })
    .await
}

/// Returns true if there is a contender for the leadership.
pub(crate) async fn has_leader(session: &Session, election: &str) -> Result<bool, ClientError> {
    let names = retry(session, async |connection| connection.children_or_empty(election).await).await?;
    Ok(!sorted_contenders(Naming::Kazoo, &names).is_empty())
}

/// Reader of single tasks. It remembers the sizes of the parts, so that the next reading takes fewer requests.
#[derive(Default)]
pub(crate) struct Reader {
    parts: SizeCache,
}

impl Reader {
    /// Reads a task. Returns `None` if it does not exist.
    pub(crate) async fn task(
        &mut self,
        session: &Session,
        task: &TaskId,
    ) -> Result<Option<TaskView>, ClientError> {
        retry(session, async |connection| {
            connection.sync().await?;
            self.read(connection, task).await
        })
        .await
    }

    /// Waits until the state of a task is final, and calls `progress` with each reading. Continues over connections and
    /// sessions. Returns `None` if the task does not exist, or was deleted from the history. Stops early, with the last
    /// reading, if `progress` returns false.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the task.
    pub(crate) async fn wait(
        &mut self,
        session: &Session,
        task: &TaskId,
        mut progress: impl AsyncFnMut(&TaskView) -> bool,
    ) -> Result<Option<TaskView>, ClientError> {
        let state = paths::state(task);
        let mut after = 0;
        loop {
            let connection = session.connection_after(after).await;
            let read = async {
                connection.sync().await?;
                // The watch is set before the reading, so that no change is missed.
                let (_, watcher) = connection.stat_and_watch(&state).await?;
                Ok::<_, Error>((self.read(&connection, task).await?, watcher))
            };
            match read.await {
                Ok((None, _)) => return Ok(None),
                Ok((Some(view), watcher)) => {
                    if !progress(&view).await || view.state().is_final() || view.is_unreadable {
                        return Ok(Some(view));
                    }
                    let changed = connection.watch_event(watcher);
                    // Parts and progress have no watches of their own.
                    let _ = tokio::time::timeout(INTERVAL, changed).await;
                }
                Err(error) if error.is_connection_loss() => after = next_connection(&connection, after),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn read(&mut self, connection: &Connection, task: &TaskId) -> Result<Option<TaskView>, Error> {
        let (spec_path, state_path) = (paths::spec(task), paths::state(task));
        let mut state = connection.get_opt(&state_path).await?;
        let spec = connection.get_opt(&spec_path).await?;
        if state.is_none() && spec.is_none() {
            // The task may have become final in between.
            state = connection.get_opt(&state_path).await?;
        }
        let cancel = connection.get_opt(&paths::cancel(task)).await?;
        let stats =
            [&state, &spec, &cancel].into_iter().flatten().map(|(_, stat)| stat.mtime.max(stat.ctime));
        let newest_write = stats.max().unwrap_or(0);
        let Some(first) = state.as_ref().or(spec.as_ref()) else { return Ok(None) };
        let created = first.1.ctime;
        let record = state.as_ref().and_then(|(data, _)| Record::parse(data));
        let of_record = record.as_ref().and_then(|record| record.spec.clone());
        let of_znode = spec.as_ref().map(|(data, _)| Spec::parse(data));
        let missing = || Err("the specification is unreadable".to_owned());
        let cancel = cancel.map(|(data, _)| Cancel::parse(&data));
        let mut view = TaskView {
            task: task.clone(),
            spec: of_record.map(Ok).or(of_znode).unwrap_or_else(missing),
            is_unreadable: state.is_some() && record.is_none(),
            submitted_at: record.as_ref().map_or(created, |record| record.submitted_at),
            cancel: cancel.or_else(|| record.as_ref().and_then(|record| record.cancel.clone())),
            record,
            parts: BTreeMap::new(),
            newest_write,
        };
        self.read_parts(connection, &mut view).await?;
        Ok(Some(view))
    }

    async fn read_parts(&mut self, connection: &Connection, view: &mut TaskView) -> Result<(), Error> {
        let Some(record) = &view.record else { return Ok(()) };
        if let Some(part) = &record.part {
            let node = part.node.clone().or_else(|| match &record.spec.as_ref()?.to {
                Target::Nodes(nodes) => nodes.first().cloned(),
                _ => None,
            });
            // A task that waits for any node has no node yet.
            if let Some(node) = node {
                view.parts.insert(node, PartView { part: part.clone(), ..PartView::default() });
            }
        }
        for (node, state) in record.roster.iter().flatten() {
            let part = Part { state: *state, ..Part::default() };
            view.parts.insert(node.clone(), PartView { part, ..PartView::default() });
        }
        if record.roster.is_some() {
            let parse = |data: &[u8], _: &_| Part::parse(data);
            let parent = paths::state(&view.task);
            for (node, _, part) in read_children(connection, &parent, &mut self.parts, parse).await? {
                let is_unreadable = part.is_none();
                let part = part.unwrap_or_default();
                view.parts.insert(node, PartView { part, is_unreadable, progress: None });
            }
        }
        if view.state().is_final() {
            return Ok(());
        }
        read_assignments(connection, view).await?;
        read_claims(connection, view).await
    }
}

/// Marks the parts with an assignment as assigned.
async fn read_assignments(connection: &Connection, view: &mut TaskView) -> Result<(), Error> {
    let open = view.parts.iter().filter(|(_, part)| !part.part.state.is_final() && !part.is_unreadable);
    let nodes: Vec<String> = open.map(|(node, _)| node.clone()).collect();
    let found_paths: Vec<String> = nodes.iter().map(|node| paths::run(node, &view.task)).collect();
    let batches = plan(found_paths.iter().map(|path| (path.len(), UNKNOWN_SIZE)));
    let batches = batches.into_iter().map(|range| found_paths[range].to_vec()).collect();
    let parse = |read| match read {
        BulkRead::Data(data, stat) => Some((Assignment::parse(&data), stat.ctime)),
        BulkRead::Missing(_) => None,
    };
    let found = read_batches(connection, batches, &parse).try_collect::<Vec<Vec<_>>>().await?;
    for (node, assignment) in nodes.iter().zip(found.into_iter().flatten()) {
        if let (Some(part), Some((assignment, time))) = (view.parts.get_mut(node), assignment) {
            part.part.state = State::Assigned;
            part.part.assigned_at.get_or_insert(time);
            if let Some(assignment) = assignment {
                part.part.attempt = part.part.attempt.max(assignment.attempt);
            }
            view.newest_write = view.newest_write.max(time);
        }
    }
    Ok(())
}

/// Reads the progress of the parts that are executed.
async fn read_claims(connection: &Connection, view: &mut TaskView) -> Result<(), Error> {
    let mut names = connection.children_or_empty(paths::CLAIM).await?;
    let node_of = |name: &str| {
        paths::parse_task_and_node(name)
            .filter(|(task, _)| *task == view.task)
            .map(|(_, node)| node.to_owned())
    };
    names.retain(|name| node_of(name).is_some_and(|node| view.parts.contains_key(&node)));
    let nodes: BTreeMap<String, String> =
        names.iter().filter_map(|name| Some((name.clone(), node_of(name)?))).collect();
    let parse = |data: &[u8], _: &_| Progress::parse(data).text;
    for (name, stat, text) in
        read_named_children(connection, paths::CLAIM, names, &mut SizeCache::default(), parse).await?
    {
        view.newest_write = view.newest_write.max(stat.mtime);
        if let Some(part) = nodes.get(&name).and_then(|node| view.parts.get_mut(node)) {
            part.progress = Some(text);
        }
    }
    Ok(())
}

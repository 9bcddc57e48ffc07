//! Reads all tasks when a leader begins.

use std::collections::{BTreeMap, BTreeSet};

use atalaya_recipes::{Connection, Error, Stat};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tracing::warn;

use super::core::Core;
use super::task::{Assignments, Task};
use crate::model::task::record::{Assignment, Part, Record};
use crate::model::task::{TaskId, paths};

/// Number of reads at the same time. A record, or a hostile znode, has at most 1 MiB.
pub(super) const CONCURRENT_READS: usize = 32;

/// Reads the records, parts and assignments. Also returns the assignments that belong to no live task.
pub(super) async fn load(connection: &Connection) -> Result<(Core, Assignments), Error> {
    let mut runs = read_runs(connection).await?;
    // After the assignments: a worker deletes its assignment in the transaction that creates the outcome.
    let mut done: BTreeMap<TaskId, BTreeSet<String>> = BTreeMap::new();
    for name in connection.children_or_empty(paths::DONE).await? {
        if let Some((id, node)) = paths::parse_task_and_node(&name) {
            done.entry(id).or_default().insert(node.to_owned());
        }
    }
    let names = connection.children_or_empty(paths::STATE).await?;
    let ids: Vec<TaskId> = names.iter().filter_map(|name| TaskId::of_znode(name)).collect();
    let mut core = Core::default();
    let mut reads = stream::iter(ids)
        .map(|id| async move {
            let path = paths::state(&id);
            let data = connection.get_opt(&path).await?;
            Ok::<_, Error>((id, data.map(|(data, stat)| (Record::parse(&data), stat.num_children))))
        })
        .buffer_unordered(CONCURRENT_READS);
    while let Some((id, found)) = reads.try_next().await? {
        let Some((record, children)) = found else { continue };
        let stored =
            if children == 0 { Vec::new() } else { connection.children_or_empty(&paths::state(&id)).await? };
        // Without a specification, a live task cannot be continued.
        let Some(record) = record.filter(|record| record.spec.is_some() || record.state.is_final()) else {
            warn!(task = %id, "the record of this task cannot be read; it is deleted with the history");
            core.restore_unreadable(id, stored.into_iter().collect());
            continue;
        };
        if record.state.is_final() {
            core.restore_ended(id, &record, stored.into_iter().collect());
            continue;
        }
        let parts = read_parts(connection, &id, &stored).await?;
        let own = runs.remove(&id).unwrap_or_default();
        let Some(task) = Task::restore(record, parts, &own, &done.remove(&id).unwrap_or_default()) else {
            continue;
        };
        let orphans: BTreeMap<String, Assignment> =
            own.into_iter().filter(|(node, _)| task.assigned_to(node).is_none()).collect();
        if !orphans.is_empty() {
            runs.insert(id.clone(), orphans);
        }
        core.tasks.insert(id, task);
    }
    let orphans = runs
        .into_iter()
        .flat_map(|(id, nodes)| nodes.into_keys().map(move |node| (id.clone(), node)).collect::<Vec<_>>());
    Ok((core, orphans.collect()))
}

async fn read_runs(connection: &Connection) -> Result<BTreeMap<TaskId, BTreeMap<String, Assignment>>, Error> {
    let nodes = connection.children_or_empty(paths::RUN).await?;
    let lists: Vec<Vec<(TaskId, String)>> = stream::iter(nodes)
        .map(|node| async move {
            let names = connection.children_or_empty(&paths::runs(&node)).await?;
            let ids = names.iter().filter_map(|name| TaskId::of_znode(name));
            Ok::<_, Error>(ids.map(|id| (id, node.clone())).collect())
        })
        .buffer_unordered(CONCURRENT_READS)
        .try_collect()
        .await?;
    let path = |(id, node): &(TaskId, String)| paths::run(node, id);
    let parse = |data: &[u8], _: &_| Assignment::parse(data).unwrap_or_else(unreadable);
    let mut by_task: BTreeMap<TaskId, BTreeMap<String, Assignment>> = BTreeMap::new();
    for ((id, node), run) in read_each(connection, lists.into_iter().flatten(), path, parse).await? {
        by_task.entry(id).or_default().insert(node, run);
    }
    Ok(by_task)
}

/// Returns the assignment in place of one that cannot be read.
fn unreadable() -> Assignment {
    Assignment { attempt: 1, ..Assignment::default() }
}

async fn read_parts(
    connection: &Connection,
    id: &TaskId,
    nodes: &[String],
) -> Result<BTreeMap<String, Part>, Error> {
    // Only its state is needed.
    let parse = |data: &[u8], _: &_| Part { outcome: None, ..Part::parse(data).unwrap_or_default() };
    let parts = read_each(connection, nodes.to_vec(), |node| paths::part(id, node), parse).await?;
    Ok(parts.into_iter().collect())
}

/// Reads the znodes of these keys, several at the same time. Those that do not exist are left out.
pub(super) async fn read_each<K, T>(
    connection: &Connection,
    keys: impl IntoIterator<Item = K>,
    path: impl Fn(&K) -> String,
    parse: impl Fn(&[u8], &Stat) -> T,
) -> Result<Vec<(K, T)>, Error> {
    let (path, parse) = (&path, &parse);
    let found: Vec<Option<(K, T)>> = stream::iter(keys)
        .map(|key| async move {
            let found = connection.get_opt(&path(&key)).await?;
            Ok::<_, Error>(found.map(|(data, stat)| (key, parse(&data, &stat))))
        })
        .buffered(CONCURRENT_READS)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

//! Submits a task exactly once.
//!
//! Each submission checks the version of the znode [`paths::SPEC`] that was read before, in the transaction that creates
//! the task. After a lost reply, the client increments that version, so that the lost request can no longer take effect,
//! and looks for its task by [`Spec::id`]. Only if it finds none, it submits again.
//!
//! Above [`SERIALISE_FROM`] live tasks the transaction increments the version itself: of two clients that read the same
//! number of tasks, only one succeeds, and the other reads again. So the maximum is exact.

use atalaya_recipes::session::{CreateMode, Write, Written};
use atalaya_recipes::{Connection, Error, Session};
use serde::Deserialize;

use super::{ClientError, retry};
use crate::model::json::to_json;
use crate::model::task::spec::{MAX_SIZE, Spec};
use crate::model::task::{MAX_LIVE, PREFIX, TaskId, paths};
use crate::zk::bulk_read::{SizeCache, read_named_children};

/// Number of live tasks above which submissions are serialised.
const SERIALISE_FROM: usize = 900;

enum Attempt {
    Created(TaskId),
    TooMany(usize),
    /// Another client was faster.
    Conflict,
}

/// Submits a task and returns its id. `file` is the content of the file that the task distributes.
///
/// # Errors
/// No znode of the task was created, except after [`ClientError::Unreachable`]: then the task may exist.
///
/// # Cancel safety
/// The task may exist if the future is dropped.
pub(crate) async fn submit(
    session: &Session,
    spec: &Spec,
    file: Option<&[u8]>,
) -> Result<TaskId, ClientError> {
    let data = check(spec).map_err(ClientError::Spec)?;
    let file = spec.file.as_deref().map(paths::file).zip(file);
    let mut may_exist = false;
    let submitted = retry(session, async |connection| {
        loop {
            match attempt(connection, &data, &spec.id, file.as_ref(), &mut may_exist).await? {
                Attempt::Created(task) => return Ok(Ok(task)),
                Attempt::TooMany(live) => return Ok(Err(ClientError::TooMany { live })),
                Attempt::Conflict => {}
            }
        }
    });
    match submitted.await {
        Err(ClientError::Unreachable(_)) if may_exist => {
            Err(ClientError::Unreachable("; the task may have been submitted: see atalaya task list"))
        }
        submitted => submitted?,
    }
}

/// Returns the data of the znode.
fn check(spec: &Spec) -> Result<Vec<u8>, String> {
    spec.check()?;
    let data = to_json(spec);
    if data.len() > MAX_SIZE {
        return Err(format!(
            "the specification has {} bytes, and {MAX_SIZE} are the maximum; use shorter arguments or fewer nodes",
            data.len()
        ));
    }
    Ok(data)
}

async fn attempt(
    connection: &Connection,
    data: &[u8],
    id: &str,
    file: Option<&(String, &[u8])>,
    may_exist: &mut bool,
) -> Result<Attempt, Error> {
    for parent in paths::PARENTS {
        connection.ensure(parent).await?;
    }
    if *may_exist {
        // The lost request checks the version, so it fails after this write.
        connection.set(paths::SPEC, b"", None).await?;
        if let Some(task) = find(connection, id).await? {
            return Ok(Attempt::Created(task));
        }
        *may_exist = false;
    }
    connection.sync().await?;
    let Some(stat) = connection.stat(paths::SPEC).await? else { return Ok(Attempt::Conflict) };
    let live = usize::try_from(stat.num_children).unwrap_or(0);
    if live >= MAX_LIVE {
        return Ok(Attempt::TooMany(live));
    }
    let guard = if live > SERIALISE_FROM {
        Write::Set { path: paths::SPEC, data: b"", version: Some(stat.version) }
    } else {
        Write::Check { path: paths::SPEC, version: stat.version }
    };
    let prefix = format!("{}/{PREFIX}", paths::SPEC);
    *may_exist = true;
    let mut writes = vec![guard, Write::CreateSequential { prefix: &prefix, data }];
    let mode = CreateMode::Persistent;
    writes.extend(file.map(|(path, data)| Write::Create { path, data, mode }));
    let result = connection.multi(&writes).await;
    let error = match result {
        Ok(written) => {
            let name = written.iter().find_map(|written| match written {
                Written::Created(path) => path.rsplit_once('/').map(|(_, name)| name),
                _ => None,
            });
            return match name.and_then(TaskId::of_znode) {
                Some(task) => Ok(Attempt::Created(task)),
                // The sequence number has another form: only a full search finds the task.
                None => Ok(find(connection, id).await?.map_or(Attempt::Conflict, Attempt::Created)),
            };
        }
        Err(failure) => failure.error,
    };
    *may_exist = error.outcome_unknown();
    if error.is_bad_version() || error.is_no_node() { Ok(Attempt::Conflict) } else { Err(error) }
}

/// Returns the task with this id of a submission, among the specifications and the records.
async fn find(connection: &Connection, id: &str) -> Result<Option<TaskId>, Error> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    #[derive(Deserialize)]
    struct RecordId {
        spec: Option<Id>,
    }
    let is_own = |data: &[u8]| serde_json::from_slice::<Id>(data).is_ok_and(|spec| spec.id == id);
    let is_of_own = |data: &[u8]| {
        serde_json::from_slice::<RecordId>(data)
            .is_ok_and(|record| record.spec.is_some_and(|spec| spec.id == id))
    };
    // The leader moves tasks from the specifications to the records, so the records are read last.
    let own = find_below(connection, paths::SPEC, is_own).await?;
    match own {
        Some(task) => Ok(Some(task)),
        None => find_below(connection, paths::STATE, is_of_own).await,
    }
}

async fn find_below(
    connection: &Connection,
    parent: &str,
    is_own: impl Fn(&[u8]) -> bool + Sync,
) -> Result<Option<TaskId>, Error> {
    let mut names = connection.children_or_empty(parent).await?;
    names.retain(|name| TaskId::of_znode(name).is_some());
    let mut sizes = SizeCache::default();
    let found = read_named_children(connection, parent, names, &mut sizes, |data, _| is_own(data)).await?;
    Ok(found.into_iter().find(|(_, _, is_own)| *is_own).and_then(|(name, ..)| TaskId::of_znode(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::spec::tests::spec;

    #[test]
    fn specification_above_the_limit_is_refused_before_it_is_sent() {
        let value = "x".repeat(1_000);
        let args = (0..9).map(|number| (format!("a{number}"), value.clone())).collect();
        let reason = check(&Spec { args, ..spec("status") }).unwrap_err();
        assert!(reason.contains("8192 are the maximum"), "{reason}");
        assert!(check(&Spec { attempts: 0, ..spec("status") }).unwrap_err().contains("attempts"));
        assert!(check(&spec("status")).is_ok());
    }
}

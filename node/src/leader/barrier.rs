//! The barrier of lock-step mode, as the leader uses it outside of a cycle's commit. The transaction of
//! a cycle in [`crate::leader::fenced_store`] releases it and starts the next generation.

use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::{Connection, Leadership, WrongZnodeReporter};
use tracing::{info, warn};

use crate::leader::fenced_multi::{CommitError, WriteOp, fenced_multi};
use crate::leader::members::Members;
use crate::leader::read_fleet::not_written_since;
use crate::model::barrier::PATH;

#[derive(Clone, Debug, Default)]
pub(super) struct Barrier {
    /// Generation of the closed barrier; `None` if the barrier is open, because another program opened it.
    pub(super) generation: Option<i64>,
    /// Measurement znodes that were not written in this generation yet; `None` before the first check.
    missing: Option<Vec<String>>,
}

impl Barrier {
    pub(super) fn closed(generation: i64) -> Barrier {
        Barrier { generation: Some(generation), missing: None }
    }

    /// Returns true if all members have published since the barrier was closed, or if it is open.
    pub(super) async fn all_have_published(&mut self, connection: &Connection, members: &Members) -> bool {
        let Some(generation) = self.generation else { return true };
        if members.is_empty() {
            return false;
        }
        let paths: Vec<String> = match self.missing.take() {
            Some(missing) => missing.into_iter().filter(|path| members.contains_path(path)).collect(),
            None => members.paths(),
        };
        let late = not_written_since(connection, members, &paths, generation).await.unwrap_or(paths);
        // If the cycle fails, all members are checked again: one may have joined in between.
        self.missing = Some(late).filter(|late| !late.is_empty());
        self.missing.is_none()
    }
}

/// Closes the open barrier before the first cycle.
pub(super) async fn close(leadership: &Leadership) -> Result<Barrier, CommitError> {
    let close = Write::Create { path: PATH, data: b"", mode: CreateMode::Persistent };
    fenced_multi(leadership, &[(WriteOp::CloseBarrier, close)]).await?;
    // Before ZooKeeper 3.8.2 the stat of a create in a `multi` is wrong. Another program may have opened it since.
    let generation = leadership.connection().stat(PATH).await?.map(|stat| stat.czxid);
    Ok(Barrier { generation, missing: None })
}

/// Opens a barrier that is left from lock-step mode, so that no node waits at it.
pub(super) async fn open_leftover(leadership: &Leadership, wrong_znodes: &mut WrongZnodeReporter) {
    let opened = match leadership.connection().stat(PATH).await {
        Ok(None) => return,
        Ok(Some(_)) => {
            let open = Write::Delete { path: PATH, version: None };
            fenced_multi(leadership, &[(WriteOp::OpenBarrier, open)]).await
        }
        Err(error) => Err(error.into()),
    };
    match opened {
        Ok(_) => info!("the barrier was closed and is open now: all nodes measure by their own clocks"),
        Err(CommitError::Rejected(_, error)) if error.is_no_node() => {}
        // The new leader opens it.
        Err(CommitError::Fenced) => {}
        Err(CommitError::Rejected(_, error) | CommitError::OutcomeUnknown(error)) => {
            match error.wrong_znode() {
                Some(wrong) => wrong_znodes.update(leadership.connection().session(), [wrong]),
                None => warn!(%error, "cannot open the barrier"),
            }
        }
    }
}

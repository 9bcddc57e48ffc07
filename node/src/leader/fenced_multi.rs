//! Transactions of the leader. Each checks the own election znode, so that no write of a deposed leader takes effect.

use atalaya_recipes::session::{Write, Written};
use atalaya_recipes::{Error, Leadership};

/// Reason why a transaction of the leader had no effect, or may have had none.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// The own election znode does not exist any more: another node is the leader, or will be.
    Fenced,
    /// ZooKeeper rejected one of the writes, so none took effect.
    Rejected(WriteOp, Error),
    /// The outcome is not known, or a request before the transaction failed.
    OutcomeUnknown(Error),
}

impl From<Error> for CommitError {
    fn from(error: Error) -> CommitError {
        CommitError::OutcomeUnknown(error)
    }
}

impl CommitError {
    /// Returns ZooKeeper's error. A fenced leader waits until the election drops its future.
    pub(super) async fn unless_fenced(self) -> Error {
        match self {
            CommitError::Fenced => std::future::pending().await,
            CommitError::Rejected(_, error) | CommitError::OutcomeUnknown(error) => error,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOp {
    CheckElection,
    Fence,
    /// Creation, replacement or deletion of a report in the outbox.
    Report,
    /// Deletion of the report that makes room for a new one.
    DropReport,
    /// Creation or replacement of a rejected report.
    RejectedReport,
    /// Deletion of the barrier, which releases the nodes that wait at it.
    OpenBarrier,
    /// Creation of the barrier.
    CloseBarrier,
    Counter,
}

/// Executes a check of the own election znode and `writes` as one transaction. Returns the results of `writes`.
pub(super) async fn fenced_multi(
    leadership: &Leadership,
    writes: &[(WriteOp, Write<'_>)],
) -> Result<Vec<Written>, CommitError> {
    // ZooKeeper takes -1 as any version, also in a check.
    let check = (WriteOp::CheckElection, Write::Check { path: leadership.znode(), version: -1 });
    let (ops, all): (Vec<WriteOp>, Vec<Write<'_>>) = std::iter::once(&check).chain(writes).copied().unzip();
    match leadership.connection().multi(&all).await {
        Ok(written) => Ok(written.into_iter().skip(1).collect()),
        Err(refusal) => Err(match refusal.at.and_then(|at| ops.get(at)) {
            Some(WriteOp::CheckElection) if refusal.error.is_no_node() => CommitError::Fenced,
            Some(op) if !refusal.error.is_connection_loss() => CommitError::Rejected(*op, refusal.error),
            _ => CommitError::OutcomeUnknown(refusal.error),
        }),
    }
}

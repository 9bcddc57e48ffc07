//! One change of a lease's znode, made under the lock of the lease and retried over consecutive connections until a
//! timeout. Used by [`crate::lease::Lease`].

use super::record::Record;
use super::{Lease, LeaseError};
use crate::retry::Attempts;
use crate::session::{Write, Written};
use crate::{AcquireError, Guard, Lock, Phase, Stat};

#[derive(Debug)]
pub(super) struct Update<'a> {
    lease: &'a Lease,
    pub(super) attempts: Attempts<'a>,
    /// A write whose outcome is unknown may have taken effect, or may still take effect.
    pub(super) may_have_written: bool,
}

impl<'a> Update<'a> {
    pub(super) fn new(lease: &'a Lease, operation: &'static str) -> Update<'a> {
        let attempts = Attempts::new(&lease.session, lease.timeout, operation, &lease.path);
        Update { lease, attempts, may_have_written: false }
    }

    /// Acquires the lock and reads the znode. After that no earlier write can still take effect: each one was tied to
    /// an own znode in the queue of the lock, and those are deleted.
    pub(super) async fn lock(&mut self) -> Result<(Guard, Option<(Record, Stat)>), LeaseError> {
        let Lease { session, path, holder, timeout, .. } = self.lease;
        let lock = Lock::new(session.clone(), path.as_str(), holder.as_str());
        let guard = match lock.acquire_within(self.attempts.remaining()).await {
            Ok(Some(guard)) => guard,
            Ok(None) if session.state().phase == Phase::Connected => {
                return Err(LeaseError::Busy { path: path.clone(), timeout: *timeout });
            }
            Ok(None) => return Err(self.attempts.last_error().into()),
            Err(AcquireError::Refused(error)) => return Err(error.into()),
            Err(AcquireError::Closed | AcquireError::Inconsistent { .. }) => return Err(LeaseError::Closed),
        };
        let found = self.lease.read(guard.connection()).await;
        // Data that cannot be parsed is certainly not ours.
        if found.as_ref().err().is_none_or(LeaseError::is_foreign_data) {
            self.may_have_written = false;
        }
        Ok((guard, found?))
    }

    /// Makes the writes if the lock is still held. Returns the stat of the last one if that was a set.
    pub(super) async fn write(
        &mut self,
        guard: &Guard,
        writes: &[Write<'_>],
    ) -> Result<Option<Stat>, LeaseError> {
        let mut all = vec![Write::Check { path: guard.znode(), version: 0 }];
        all.extend_from_slice(writes);
        match guard.connection().multi(&all).await {
            Ok(written) => Ok(written.into_iter().last().and_then(|last| match last {
                Written::Set(stat) => Some(stat),
                _ => None,
            })),
            Err(refused) => {
                self.may_have_written |= refused.error.outcome_unknown();
                Err(refused.error.into())
            }
        }
    }

    /// Handles a failed attempt: waits for the backoff if another attempt may succeed, otherwise returns the final
    /// error.
    pub(super) async fn failed(&mut self, error: LeaseError) -> Result<(), LeaseError> {
        let waited = match error {
            // Another client wrote without the lock, deleted our znode in its queue, or deleted the parent.
            LeaseError::Failed(error) => self.attempts.failed_or_contended(error).await,
            LeaseError::Busy { .. } | LeaseError::Closed if self.may_have_written => {
                Err(self.attempts.last_error())
            }
            other => return Err(other),
        };
        waited.map_err(|source| match self.may_have_written {
            true => {
                let (operation, path) = (self.attempts.operation, self.lease.path.clone());
                LeaseError::OutcomeUnknown { operation, path, source }
            }
            false => LeaseError::Failed(source),
        })
    }
}

//! One effort to change what stands at a lease: under its lock, over one connection after the other, for as long as the
//! patience lasts. Used by [`crate::lease::Lease`].

use tokio::time::Instant;

use super::{Lease, LeaseError};
use crate::lease::record::Record;
use crate::retry::Attempts;
use crate::session::{Write, Written};
use crate::{AcquireError, Connection, Error, Guard, Lock, Phase, Stat};

/// The effort.
#[derive(Debug)]
pub(super) struct Effort<'a> {
    lease: &'a Lease,
    operation: &'static str,
    attempts: Attempts<'a>,
    until: Option<Instant>,
    /// A write of ours may have taken effect, or may yet.
    at_risk: bool,
}

impl<'a> Effort<'a> {
    pub(super) fn new(lease: &'a Lease, operation: &'static str) -> Effort<'a> {
        let until = Instant::now().checked_add(lease.patience);
        let attempts = Attempts::until(&lease.session, until, operation, &lease.path);
        Effort { lease, operation, attempts, until, at_risk: false }
    }

    pub(super) async fn connection(&mut self) -> Result<Connection, LeaseError> {
        Ok(self.attempts.connection().await?)
    }

    /// What stands there is what others see, for no write of ours is on its way.
    pub(super) fn is_settled(&self) -> bool {
        !self.at_risk
    }

    /// Stands in the lock's line, and reads what is there when it is our turn. Then no earlier write of ours can come any
    /// more: each was tied to a znode of ours in that line, and those are gone.
    pub(super) async fn lock(&mut self) -> Result<(Guard, Option<(Record, Stat)>), LeaseError> {
        let Lease { session, path, holder, patience, .. } = self.lease;
        let lock = Lock::new(session.clone(), path.as_str(), holder.as_str());
        let left = self.until.map_or(*patience, |until| until.saturating_duration_since(Instant::now()));
        let guard = match lock.acquire_within(left).await {
            Ok(Some(guard)) => guard,
            Ok(None) if session.state().phase == Phase::Connected => {
                return Err(LeaseError::Busy { path: path.clone(), patience: *patience });
            }
            Ok(None) => return Err(self.attempts.over().into()),
            Err(AcquireError::Refused(error)) => return Err(error.into()),
            Err(AcquireError::Closed | AcquireError::Inconsistent { .. }) => return Err(LeaseError::Closed),
        };
        let found = self.lease.read(guard.connection()).await;
        // Something that cannot be read, but it is certain that it is not ours.
        if matches!(
            found,
            Ok(_)
                | Err(LeaseError::NotALease { .. }
                    | LeaseError::OtherVersion { .. }
                    | LeaseError::WrongZnode(_))
        ) {
            self.at_risk = false;
        }
        Ok((guard, found?))
    }

    /// Makes the writes if the lock is still ours then; and returns the stat of the last one, if that was a set.
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
            Err(refusal) => {
                self.at_risk |= refusal.error.outcome_unknown();
                Err(refusal.error.into())
            }
        }
    }

    /// It failed: waits a little if it may work the next time, else returns the error to end with.
    pub(super) async fn failed(&mut self, failure: LeaseError) -> Result<(), LeaseError> {
        let waited = match failure {
            // Somebody writes without the lock, or took our znode out of its line, or tidies up.
            LeaseError::Failed(error)
                if error.is_no_node() || error.is_bad_version() || error.is_node_exists() =>
            {
                self.attempts.contended(error).await
            }
            LeaseError::Failed(error) => self.attempts.failed(error).await,
            LeaseError::Busy { .. } | LeaseError::Closed if self.at_risk => Err(self.attempts.over()),
            other => return Err(other),
        };
        waited.map_err(|error| self.end(error))
    }

    fn end(&self, source: Error) -> LeaseError {
        let Effort { lease, operation, at_risk, .. } = self;
        match at_risk {
            true => LeaseError::OutcomeUnknown { operation, path: lease.path.clone(), source },
            false => LeaseError::Failed(source),
        }
    }
}

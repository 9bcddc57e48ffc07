//! Lease that this process holds.

use std::time::{Duration, SystemTime};

use super::record::{LocalExpiry, Record};
use super::update::Update;
use super::wall_clock::since_epoch;
use super::{Lease, LeaseError, Written};
use crate::session::Write;

/// Maximum delay until a change of the wall clock is noticed.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Lease that was acquired. It needs no connection, and dropping it does not release it. Acquiring the lease again
/// creates another `HeldLease`: discard this one then.
#[derive(Debug)]
pub struct HeldLease {
    pub(super) lease: Lease,
    pub(super) written: Written,
    /// Latest end that was written with an unknown outcome.
    pub(super) attempted_end: Option<Duration>,
}

impl HeldLease {
    /// Returns the path of the lease or of the slot.
    pub fn path(&self) -> &str {
        &self.lease.path
    }

    /// Returns true if the lease is held at this moment, by both clocks. Check it before every externally visible
    /// action. A deletion of the znode by another client is not noticed.
    pub fn holds(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Returns the remaining time, by the clock that shows less. Zero after the end.
    pub fn remaining(&self) -> Duration {
        self.written.expiry.remaining(self.lease.clock.now())
    }

    /// Returns the latest possible end, by the wall clock.
    pub fn end(&self) -> SystemTime {
        since_epoch(self.written.expiry.end)
    }

    /// Waits until the lease has expired. Returns at most one second late, also after a sleep of the machine or a
    /// change of the wall clock. Cancel safe. Needs a Tokio runtime with time.
    pub async fn expired(&self) {
        loop {
            match self.remaining() {
                Duration::ZERO => return,
                remaining => tokio::time::sleep(remaining.min(CLOCK_CHECK_INTERVAL)).await,
            }
        }
    }

    /// Returns the fencing token: a number that increases with every acquisition and renewal while the ensemble keeps
    /// its data. It is the `mzxid` of `{path}/lease_holder`. Pass it to systems that can reject lower tokens.
    pub fn fencing_token(&self) -> i64 {
        self.written.fencing_token
    }

    /// Renews the lease for its whole duration, starting now. Returns false if the lease had expired and another holder
    /// has acquired it.
    ///
    /// After an error, or if this future is cancelled, the earlier of the old and the new end applies, until a later
    /// call finds out that the new end is stored.
    ///
    /// # Errors
    /// See the [module](super).
    pub async fn renew(&mut self) -> Result<bool, LeaseError> {
        let HeldLease { lease, written, attempted_end } = self;
        let before_write = |new: LocalExpiry| {
            written.expiry = written.expiry.min(new);
            *attempted_end = (*attempted_end).max(Some(new.end));
        };
        match lease.write(before_write).await? {
            Ok(renewed) => {
                *written = renewed;
                *attempted_end = None;
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    /// Releases the lease before its end. Deletes the znode unless another holder, or another `HeldLease` of the same
    /// holder, has acquired the lease since.
    ///
    /// # Errors
    /// See the [module](super). After an error, or if this future is cancelled, the lease may stay in ZooKeeper until
    /// its end.
    pub async fn release(self) -> Result<(), LeaseError> {
        let HeldLease { lease, written: Written { fencing_token, .. }, attempted_end } = self;
        let is_own = |found: &Record, mzxid: i64| {
            // A later write of the same holder is this one's only if it may be a renewal whose reply was lost.
            let may_be_renewal =
                mzxid > fencing_token && Some(Duration::from_secs(found.end)) <= attempted_end;
            found.holder == lease.holder && (mzxid == fencing_token || may_be_renewal)
        };
        let mut update = Update::new(&lease, "release");
        loop {
            let deleted = async {
                let (guard, found) = update.lock().await?;
                if let Some((found, stat)) = found
                    && is_own(&found, stat.mzxid)
                {
                    let delete = Write::Delete { path: &lease.znode(), version: Some(stat.version) };
                    update.write(&guard, &[delete]).await?;
                }
                guard.release().await;
                Ok(())
            };
            match deleted.await {
                Ok(()) => return Ok(()),
                Err(error) => update.failed(error).await?,
            }
        }
    }
}

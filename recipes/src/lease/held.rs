//! A lease that is held.

use std::time::{Duration, SystemTime};

use super::record::LocalExpiry;
use super::wall_clock::time;
use super::{Lease, LeaseError, Written};

/// A change of the wall clock is noticed by then.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A lease that was obtained. It needs no connection, and dropping it gives nothing back. Obtaining the lease anew makes
/// another `HeldLease` of it: forget this one then.
#[derive(Debug)]
pub struct HeldLease {
    lease: Lease,
    belief: LocalExpiry,
    fence: i64,
    /// The latest end of writes of which it is not known whether they took effect.
    tried: Option<Duration>,
}

impl HeldLease {
    pub(super) fn new(lease: Lease, written: Written) -> HeldLease {
        HeldLease { lease, belief: written.belief, fence: written.fence, tried: None }
    }

    /// The lease, or the place.
    pub fn path(&self) -> &str {
        &self.lease.path
    }

    /// Whether it is held at this very moment, by both clocks. Look before every act that the outside can see. Somebody
    /// who deletes the znode is not noticed.
    pub fn holds(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// How long it is still held, by whichever clock says less; zero when it is not.
    pub fn remaining(&self) -> Duration {
        self.belief.remaining(self.lease.clock.now())
    }

    /// Until when it is held at the most, by the wall clock.
    pub fn end(&self) -> SystemTime {
        time(self.belief.end())
    }

    /// Returns when it is over: within a second also after a sleep of the machine, or a change of the wall clock.
    /// Cancellation safe. Needs a tokio runtime with time.
    pub async fn expired(&self) {
        loop {
            match self.remaining() {
                Duration::ZERO => return,
                left => tokio::time::sleep(left.min(LOOK_AGAIN)).await,
            }
        }
    }

    /// A fencing token: a number that is higher for whoever obtains or renews later, for as long as the ensemble's data
    /// lives. It is the `mzxid` of `{path}/lease_holder`. Hand it to whoever can refuse a lower one.
    pub fn fencing_token(&self) -> i64 {
        self.fence
    }

    /// Renews it, for the lease's length from now on. False if somebody else has it by now, so that it was over.
    ///
    /// Whatever this ends with, and also when it is cancelled, no more is believed than stands there: the old end or the
    /// new one, whichever is earlier, until it is known to be the new one.
    ///
    /// # Errors
    /// As the [module](super) says.
    pub async fn renew(&mut self) -> Result<bool, LeaseError> {
        let HeldLease { lease, belief, fence, tried } = self;
        let about_to = |new: LocalExpiry| {
            *belief = belief.and(new);
            *tried = (*tried).max(Some(new.end()));
        };
        match lease.write(about_to).await? {
            Ok(written) => {
                *belief = written.belief;
                *fence = written.fence;
                *tried = None;
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    /// Gives it back before its end. Afterwards nothing of it stands there; what somebody else has obtained by then, or
    /// another `HeldLease` of the same holder, is left alone.
    ///
    /// # Errors
    /// As the [module](super) says: it may stand there until its end then. So it may if this is cancelled.
    pub async fn release(self) -> Result<(), LeaseError> {
        let HeldLease { lease, fence, tried, .. } = self;
        let is_ours = |holder: &str, end: Duration, written: i64| {
            // A later write of this holder's is ours only if it may be one that was lost.
            holder == lease.holder && (written == fence || (written > fence && Some(end) <= tried))
        };
        lease.delete(|found, written| is_ours(&found.holder, Duration::from_secs(found.end), written)).await
    }
}

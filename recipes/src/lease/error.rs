//! Outcome of acquiring a lease.

use std::time::{Duration, SystemTime};

use crate::lease::HeldLease;
use crate::{Error, WrongZnode};

/// Reason why a lease could not be acquired, read or released.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The call may have taken effect. Acquiring the lease again shows whether it has.
    #[error("{operation} {path}: the outcome is unknown: {source}")]
    OutcomeUnknown {
        /// Name of the call.
        operation: &'static str,
        /// Path of the lease.
        path: String,
        /// Failure that left the outcome unknown.
        source: Error,
    },
    /// The znode's data is not a lease. It was not modified.
    #[error("{path} contains {found:?}, which is not a lease")]
    NotALease {
        /// Path of the znode.
        path: String,
        /// Beginning of the data.
        found: String,
    },
    /// The znode's data has an unsupported format version. It was not modified.
    #[error("{path} contains a lease of version {version}; only version 1 is supported")]
    UnsupportedVersion {
        /// Path of the znode.
        path: String,
        /// Version of the data.
        version: String,
    },
    /// The znode has the wrong type: it would not outlive a session. It was not modified.
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    WrongZnode(WrongZnode),
    /// Other clients held the lock of the lease for the whole time. Nothing was changed.
    #[error("the lock of the lease at {path} was not acquired within {timeout:?}")]
    Busy {
        /// Path of the lease.
        path: String,
        /// Time limit that has passed.
        timeout: Duration,
    },
    /// The lease is not valid. No request was sent.
    #[error("invalid lease at {path}: {reason}")]
    Invalid {
        /// Path of the lease.
        path: String,
        /// Violated rule.
        reason: &'static str,
    },
    /// The session was closed.
    #[error("the ZooKeeper session is closed")]
    Closed,
    /// A request failed, and nothing was changed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl LeaseError {
    /// Returns true if the znode contains data that this crate has not written.
    pub(super) fn is_foreign_data(&self) -> bool {
        use LeaseError::{NotALease, UnsupportedVersion, WrongZnode};
        matches!(self, NotALease { .. } | UnsupportedVersion { .. } | WrongZnode(_))
    }
}

/// Lease as it is stored in ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// Path of the lease or of the slot.
    pub path: String,
    /// Name of the holder.
    pub holder: String,
    /// End of the lease by the wall clock.
    pub end: SystemTime,
    /// Fencing token; see [`HeldLease::fencing_token`].
    pub fencing_token: i64,
}

/// Outcome of [`Lease::acquire`](crate::Lease::acquire).
#[derive(Debug)]
#[must_use]
pub enum Acquire {
    /// The lease was acquired or renewed.
    Acquired(HeldLease),
    /// Another holder has the lease.
    HeldByOther(LeaseInfo),
}

impl Acquire {
    /// Returns the lease if it was acquired.
    pub fn acquired(self) -> Option<HeldLease> {
        match self {
            Acquire::Acquired(held) => Some(held),
            Acquire::HeldByOther(_) => None,
        }
    }
}

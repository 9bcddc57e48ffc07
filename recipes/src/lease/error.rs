//! What comes of asking for a lease.

use std::time::{Duration, SystemTime};

use crate::lease::HeldLease;
use crate::{Error, WrongZnode};

/// Why a lease was not obtained, looked at or given back.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// It took effect or it did not; nobody can tell. Obtaining it again tells.
    #[error("{operation} {path}: it is unknown whether that took effect: {source}")]
    OutcomeUnknown {
        /// What was asked for.
        operation: &'static str,
        /// The lease.
        path: String,
        /// The failure that left the question.
        source: Error,
    },
    /// Something stands there that is no lease. It was left alone.
    #[error("{path} holds {found:?}, which is no lease")]
    NotALease {
        /// The znode.
        path: String,
        /// How it begins.
        found: String,
    },
    /// What stands there was written in another version of the format. It was left alone.
    #[error("{path} holds a lease of version {version}, and only version 1 is known")]
    OtherVersion {
        /// The znode.
        path: String,
        /// The version.
        version: String,
    },
    /// The znode of the lease has the wrong type: it would not outlive a session. It was left alone.
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    WrongZnode(WrongZnode),
    /// Others were at it all the time: its lock was not to be had. Nothing was changed.
    #[error("the lock of the lease at {path} was not to be had within {patience:?}")]
    Busy {
        /// The lease.
        path: String,
        /// How long was tried.
        patience: Duration,
    },
    /// There is no such lease. Nothing was asked.
    #[error("there can be no lease at {path} {why}")]
    Unfit {
        /// The lease.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The session was closed.
    #[error("the ZooKeeper session is closed")]
    Closed,
    /// It failed, and nothing was changed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Somebody who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// The lease, or the place.
    pub path: String,
    /// The holder's name.
    pub holder: String,
    /// Until when, by the wall clock.
    pub end: SystemTime,
    /// The fencing token, see [`HeldLease::fencing_token`].
    pub fencing_token: i64,
}

/// What came of obtaining.
#[derive(Debug)]
#[must_use]
pub enum Acquire {
    /// It is held, until its end.
    Acquired(HeldLease),
    /// Somebody else has it.
    HeldByOther(LeaseInfo),
}

impl Acquire {
    /// What is held, if it is.
    pub fn acquired(self) -> Option<HeldLease> {
        match self {
            Acquire::Acquired(held) => Some(held),
            Acquire::HeldByOther(_) => None,
        }
    }
}

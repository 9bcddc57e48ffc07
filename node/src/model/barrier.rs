//! The barrier znode of lock-step sampling, and the sampling mode of a node.
//!
//! The barrier znode exists while the barrier is closed. Each closing is a *generation*, identified by the znode's
//! `czxid`. The leader ends a generation and starts the next one in a single transaction, so the barrier is never
//! open between two cycles. If the leader dies, the barrier stays closed and all nodes wait until its successor has
//! finished the cycle. Kazoo's `Barrier` sees the same: it waits until the znode is deleted.

use std::time::Duration;

/// Path of the barrier znode, relative to the chroot.
pub const PATH: &str = "/barrier";

/// Last known state of the barrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Barrier {
    /// Not read yet.
    #[default]
    Unknown,
    /// The znode does not exist: no leader runs in lock-step mode.
    Open,
    /// Closed, with its generation.
    Closed(i64),
    /// A deletion was seen; the next state has not been read yet.
    Released,
}

/// Decides what triggers the next sample: a timer or the barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingMode {
    /// Sampling interval. In lock-step mode, the longest expected duration of a cycle.
    pub period: Duration,
    /// Last known state of the barrier in lock-step mode; `None` in free-running mode.
    pub barrier: Option<Barrier>,
}

/// Target of the log lines about lock-step sampling.
pub const LOG_TARGET: &str = "atalaya::lock_step";

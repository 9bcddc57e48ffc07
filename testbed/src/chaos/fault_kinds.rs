//! Kinds of faults that a schedule may contain, so that each can be run by itself. Pure.

use std::fmt;

use clap::ValueEnum;

/// A kind of fault. Its name on the command line is that of the variant in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum FaultKind {
    /// Nodes that are killed or stopped.
    Processes,
    /// ZooKeeper servers that are killed.
    Servers,
    /// The receiver of reports: it fails, hangs, or is killed.
    Receiver,
    /// Standard error that is closed, stalled or on a full device.
    Stderr,
    /// Znodes of the wrong type on paths that the fleet uses.
    Znodes,
    /// Znodes that are read-only for a limited time.
    Acl,
    /// Poisoned entries in the outbox.
    Outbox,
    /// Poisoned measurements of other clients.
    Measurements,
}

impl FaultKind {
    pub const ALL: [FaultKind; 8] = [
        FaultKind::Processes,
        FaultKind::Servers,
        FaultKind::Receiver,
        FaultKind::Stderr,
        FaultKind::Znodes,
        FaultKind::Acl,
        FaultKind::Outbox,
        FaultKind::Measurements,
    ];

    /// Kinds from which every schedule is drawn since the first version of the runner.
    pub const BASIC: [FaultKind; 3] = [FaultKind::Processes, FaultKind::Servers, FaultKind::Receiver];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

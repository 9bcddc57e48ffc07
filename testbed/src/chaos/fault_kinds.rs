//! Kinds of faults that a schedule may contain, so that each can be run by itself. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Names of the kinds on the command line, in the order of [`FaultKind::ALL`].
const NAMES: [&str; 8] =
    ["processes", "servers", "receiver", "stderr", "znodes", "acl", "outbox", "measurements"];

impl FaultKind {
    /// All kinds.
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

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not a fault kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a fault kind; the kinds are processes, servers, receiver, stderr, znodes, acl, outbox, measurements"
)]
pub struct UnknownFaultKind(String);

impl FromStr for FaultKind {
    type Err = UnknownFaultKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = FaultKind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownFaultKind(name.to_owned()))
    }
}

/// A set of fault kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultKinds(BTreeSet<FaultKind>);

impl Default for FaultKinds {
    fn default() -> Self {
        FaultKind::ALL.into_iter().collect()
    }
}

impl FromIterator<FaultKind> for FaultKinds {
    fn from_iter<T: IntoIterator<Item = FaultKind>>(kinds: T) -> Self {
        FaultKinds(kinds.into_iter().collect())
    }
}

impl FaultKinds {
    /// Returns true if the set contains the kind.
    pub fn has(&self, kind: FaultKind) -> bool {
        self.0.contains(&kind)
    }

    /// Returns true if the set contains all kinds.
    pub fn is_all(&self) -> bool {
        self.0.len() == FaultKind::ALL.len()
    }
}

impl fmt::Display for FaultKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|kind| kind.name()).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_kind_names_read_back() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("stdout".parse::<FaultKind>().is_err());
        let kinds: FaultKinds = [FaultKind::Acl, FaultKind::Stderr].into_iter().collect();
        assert_eq!(kinds.to_string(), "stderr,acl");
        assert!(FaultKinds::default().is_all());
    }
}

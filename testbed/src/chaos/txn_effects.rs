//! Effects of a transaction on the znodes of a fleet.

use serde_json::Value;

use crate::journal::{Change, Transaction};

pub(super) const FENCE: &str = "/atalaya/term";
pub(super) const REPORTS: &str = "/atalaya/reports/";
pub(super) const REJECTED: &str = "/atalaya/aside/";
pub(super) const NODE_INFO: &str = "/atalaya/nodes/";
pub(super) const MEASUREMENTS: &str = "/mediciones/";
pub(super) const ELECTION: &str = "/election/";
pub(super) const BARRIER: &str = "/barrier";
pub(super) const COUNTER: &str = "/counter";

/// The fence: `{epoch, cycle}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    pub(super) epoch: i64,
    pub(super) cycle: u64,
}

impl Fence {
    pub(super) fn parse(data: &[u8]) -> Option<Fence> {
        let value: Value = serde_json::from_slice(data).ok()?;
        Some(Fence { epoch: value["epoch"].as_i64()?, cycle: value["cycle"].as_u64()? })
    }
}

/// Effects of one transaction on the znodes that only the leader writes.
#[derive(Debug, Default)]
pub(super) struct TxnEffects<'a> {
    pub(super) fence: Option<Option<Fence>>,
    pub(super) created: Vec<(u64, &'a [u8])>,
    pub(super) deleted: Vec<u64>,
    pub(super) rejected: Vec<&'a str>,
    pub(super) closes: bool,
    pub(super) opens: bool,
    pub(super) counter: Option<&'a [u8]>,
    pub(super) measurements: Vec<(&'a str, &'a [u8])>,
    pub(super) checked: Vec<&'a str>,
}

impl TxnEffects<'_> {
    /// Returns true if the transaction only rewrote the fence with its old data: such a write changes nothing.
    pub(super) fn rewrite(&self, before: Option<Fence>) -> bool {
        before.is_some()
            && self.fence == Some(before)
            && self.created.is_empty()
            && !self.opens
            && !self.closes
    }

    pub(super) fn words(&self) -> String {
        let mut words = Vec::new();
        if let Some(fence) = self.fence {
            words.push(format!("{fence:?} written"));
        }
        words.extend(self.created.iter().map(|(cycle, _)| format!("cycle {cycle} put into the outbox")));
        words.extend(self.deleted.iter().map(|cycle| format!("cycle {cycle} taken from the outbox")));
        words.extend(self.rejected.iter().map(|path| format!("{path} written")));
        words.extend(self.opens.then(|| "barrier opened".to_owned()));
        words.extend(self.closes.then(|| "barrier closed".to_owned()));
        words.join(", ")
    }

    /// Returns true if the transaction did something that only a leader does.
    pub(super) fn are_a_leaders(&self, before: Option<Fence>) -> bool {
        (self.fence.is_some() && !self.rewrite(before))
            || !self.created.is_empty()
            || !self.deleted.is_empty()
            || !self.rejected.is_empty()
            || self.closes
            || self.opens
    }
}

/// Highest cycle that a leader writes (docs/protocol.md).
const MAX_CYCLE: u64 = 1 << 52;

/// Returns the cycle of a report in the outbox, if its name is one that a leader can give it.
pub(super) fn cycle_of(path: &str) -> Option<u64> {
    let name = path.strip_prefix(REPORTS)?;
    name.parse().ok().filter(|cycle: &u64| *cycle <= MAX_CYCLE && cycle.to_string() == name)
}

impl<'a> TxnEffects<'a> {
    pub(super) fn of(transaction: &'a Transaction) -> TxnEffects<'a> {
        let mut effects = TxnEffects::default();
        for change in &transaction.changes {
            match change {
                Change::Create { path, data, .. } | Change::Set { path, data } => {
                    let is_new = matches!(change, Change::Create { .. });
                    if path == FENCE {
                        effects.fence = Some(Fence::parse(data));
                    } else if path == BARRIER {
                        effects.closes |= is_new;
                    } else if path == COUNTER {
                        effects.counter = Some(data);
                    } else if let Some(node) = path.strip_prefix(MEASUREMENTS) {
                        effects.measurements.push((node, data));
                    } else if let Some(cycle) = cycle_of(path) {
                        effects.created.push((cycle, data));
                    } else if path.starts_with(REJECTED) {
                        effects.rejected.push(path);
                    }
                }
                Change::Delete { path } => {
                    if path == FENCE {
                        effects.fence = Some(None);
                    } else if path == BARRIER {
                        effects.opens = true;
                    } else if let Some(cycle) = cycle_of(path) {
                        effects.deleted.push(cycle);
                    }
                }
                Change::Check { path } => effects.checked.push(path),
                Change::Opened | Change::Closed => {}
            }
        }
        effects
    }
}

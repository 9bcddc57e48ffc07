//! State of ZooKeeper after some transactions.

use std::collections::{BTreeMap, BTreeSet};

use super::txn_effects::{ELECTION, FENCE, Fence, MEASUREMENTS, cycle_of};
use crate::journal::{Change, Transaction};

#[derive(Debug)]
struct Znode {
    data: Vec<u8>,
    /// Session that owns the znode if it is ephemeral.
    owner: Option<i64>,
    creator: i64,
    /// Transaction of the last write.
    written: i64,
}

/// Returns the ten digits at the end of a name, which ZooKeeper appends to sequential znodes.
fn digits(name: &str) -> Option<&str> {
    let digits = name.get(name.len().checked_sub(10)?..)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}

/// Returns the sequence number of a contender, as text.
fn sequence(path: &str) -> Option<&str> {
    digits(path).filter(|digits| path[..path.len() - digits.len()].ends_with("__lock__"))
}

/// The znodes below a chroot.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Znode>);

impl Tree {
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Returns the session that an ephemeral znode belongs to, `Some(None)` for a persistent one.
    pub(super) fn owner(&self, path: &str) -> Option<Option<i64>> {
        self.0.get(path).map(|znode| znode.owner)
    }

    /// Returns the lowest ephemeral contender, its session and its node.
    pub(super) fn leader(&self) -> Option<(String, i64, String)> {
        let (path, znode, owner) = self
            .contenders()
            .filter_map(|(path, znode)| Some((path, znode, znode.owner?)))
            .min_by(|left, right| sequence(left.0).cmp(&sequence(right.0)))?;
        Some((path.clone(), owner, String::from_utf8_lossy(&znode.data).into_owned()))
    }

    /// Returns the persistent contenders whose sequence number is lower than that of `contender`.
    pub(super) fn persistent_before(&self, contender: &str) -> Vec<&str> {
        let before = self.contenders().filter(|(_, znode)| znode.owner.is_none());
        before.map(|(path, _)| path.as_str()).filter(|path| sequence(path) < sequence(contender)).collect()
    }

    /// Returns the session of the first contender below `parent`, in any format with a number at the end of its name.
    pub(super) fn first_contender(&self, parent: &str) -> Option<i64> {
        let contenders = self.0.iter().filter_map(|(path, znode)| {
            let name = path.strip_prefix(parent)?.strip_prefix('/')?;
            Some((digits(name).filter(|_| !name.contains('/'))?, znode.owner?))
        });
        contenders.min().map(|(_, owner)| owner)
    }

    /// Returns the paths with `depth` names below `parent`.
    pub(super) fn below<'a>(&'a self, parent: &'a str, depth: usize) -> impl Iterator<Item = &'a str> {
        self.0.keys().filter_map(move |path| {
            let rest = path.strip_prefix(parent)?.strip_prefix('/')?;
            (rest.split('/').count() == depth).then_some(path.as_str())
        })
    }

    pub(super) fn has_ephemeral(&self) -> bool {
        self.0.values().any(|znode| znode.owner.is_some())
    }

    fn contenders(&self) -> impl Iterator<Item = (&String, &Znode)> {
        let in_line = self.0.range(ELECTION.to_owned()..).take_while(|(path, _)| path.starts_with(ELECTION));
        in_line.filter(|(path, _)| sequence(path).is_some())
    }

    /// Applies a transaction. Returns the znodes that it removed.
    pub(super) fn apply(&mut self, transaction: &Transaction) -> Vec<String> {
        let mut removed = Vec::new();
        for change in &transaction.changes {
            match change {
                Change::Create { path, data, ephemeral } => {
                    let (creator, written) = (transaction.session, transaction.zxid);
                    let owner = ephemeral.then_some(creator);
                    self.0.insert(path.clone(), Znode { data: data.clone(), owner, creator, written });
                }
                Change::Set { path, data } => {
                    if let Some(znode) = self.0.get_mut(path) {
                        znode.data.clone_from(data);
                        znode.written = transaction.zxid;
                    }
                }
                Change::Delete { path } => {
                    self.0.remove(path);
                    removed.push(path.clone());
                }
                Change::Closed => {
                    self.0.retain(|path, znode| {
                        let goes = znode.owner == Some(transaction.session);
                        removed.extend(goes.then(|| path.clone()));
                        !goes
                    });
                }
                Change::Check { .. } | Change::Opened => {}
            }
        }
        removed
    }
}

/// Summary of ZooKeeper's state after some transactions.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// Id of the first contender.
    pub(super) leader: Option<String>,
    pub(super) cycle: u64,
    pub(super) epoch: i64,
    /// Cycles in the outbox.
    pub(super) waiting: BTreeSet<u64>,
    /// Cycles in the outbox that other clients put there.
    pub(super) poisoned: BTreeSet<u64>,
    /// Last transaction in which each node published.
    pub(super) measuring: BTreeMap<String, i64>,
    pub(super) zxid: i64,
}

/// Summarises the state after `transactions`; the sessions in `foreign` belong to other clients.
pub(super) fn snapshot(transactions: &[Transaction], foreign: &BTreeSet<i64>) -> Snapshot {
    let mut tree = Tree::default();
    transactions.iter().for_each(|transaction| drop(tree.apply(transaction)));
    let fence = tree.0.get(FENCE).and_then(|znode| Fence::parse(&znode.data));
    let measuring = tree.0.iter().filter_map(|(path, znode)| {
        znode.owner.filter(|owner| !foreign.contains(owner))?;
        Some((path.strip_prefix(MEASUREMENTS)?.to_owned(), znode.written))
    });
    let outbox = || tree.0.iter().filter_map(|(path, znode)| Some((cycle_of(path)?, znode.creator)));
    let of_others = |(_, creator): &(u64, i64)| foreign.contains(creator);
    Snapshot {
        leader: tree.leader().map(|(_, _, node)| node),
        cycle: fence.map_or(0, |fence| fence.cycle),
        epoch: fence.map_or(0, |fence| fence.epoch),
        waiting: outbox().filter(|entry| !of_others(entry)).map(|(cycle, _)| cycle).collect(),
        poisoned: outbox().filter(of_others).map(|(cycle, _)| cycle).collect(),
        measuring: measuring.collect(),
        zxid: transactions.last().map_or(0, |last| last.zxid),
    }
}

//! What stands in ZooKeeper after some transactions.

use std::collections::{BTreeMap, BTreeSet};

use super::deeds::{ELECTION, MEASUREMENTS, TERM, Term, cycle_of};
use crate::journal::{Change, Transaction};

#[derive(Debug)]
struct Znode {
    data: Vec<u8>,
    /// The session that it goes with.
    owner: Option<i64>,
}

/// The znodes of a fleet.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Znode>);

impl Tree {
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// The lowest znode in the line, whose it is, and who that is.
    pub(super) fn leader(&self) -> Option<(String, i64, String)> {
        let in_line = self.0.range(ELECTION.to_owned()..).take_while(|(path, _)| path.starts_with(ELECTION));
        let place = |path: &str| {
            let (name, digits) = path.split_at_checked(path.len().checked_sub(10)?)?;
            let is_one = name.ends_with("__lock__") && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_one.then(|| digits.to_owned())
        };
        let (path, znode) = in_line
            .filter_map(|(path, znode)| Some((place(path)?, path, znode)))
            .min_by(|left, right| left.0.cmp(&right.0))
            .map(|(_, path, znode)| (path, znode))?;
        Some((path.clone(), znode.owner?, String::from_utf8_lossy(&znode.data).into_owned()))
    }

    /// Takes a transaction in; gives the znodes that it removed.
    pub(super) fn apply(&mut self, transaction: &Transaction) -> Vec<String> {
        let mut removed = Vec::new();
        for change in &transaction.changes {
            match change {
                Change::Create { path, data, ephemeral } => {
                    let owner = ephemeral.then_some(transaction.session);
                    self.0.insert(path.clone(), Znode { data: data.clone(), owner });
                }
                Change::Set { path, data } => {
                    if let Some(znode) = self.0.get_mut(path) {
                        znode.data.clone_from(data);
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

/// What stands in ZooKeeper after some transactions.
#[derive(Debug, Default)]
pub(super) struct Glance {
    /// The id of who is first in line.
    pub(super) leader: Option<String>,
    /// The newest cycle.
    pub(super) cycle: u64,
    /// The cycles in the outbox.
    pub(super) waiting: BTreeSet<u64>,
    /// Who measures.
    pub(super) measuring: BTreeSet<String>,
}

/// Looks at what stands there after `transactions`.
pub(super) fn glance(transactions: &[Transaction]) -> Glance {
    let mut tree = Tree::default();
    transactions.iter().for_each(|transaction| drop(tree.apply(transaction)));
    let term = tree.0.get(TERM).and_then(|znode| Term::parse(&znode.data));
    let measuring = tree.0.keys().filter_map(|path| path.strip_prefix(MEASUREMENTS)).map(str::to_owned);
    Glance {
        leader: tree.leader().map(|(_, _, node)| node),
        cycle: term.map_or(0, |term| term.cycle),
        waiting: tree.0.keys().filter_map(|path| cycle_of(path)).collect(),
        measuring: measuring.collect(),
    }
}

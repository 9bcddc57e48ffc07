//! The tree of znodes: a pure value without I/O and without a clock; transaction number and time are arguments. Used by
//! [`state_machine`](super::state_machine).
//!
//! Reads are here, writes in [`write`], a single znode in [`node`], limits in [`quota`]. Checks are made in the same
//! order as in Apache ZooKeeper, so that a request with two errors is refused for the same one.

#[cfg(any(test, fuzzing))]
mod check;
mod node;
mod quota;
mod write;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::acl::{self, Acl, Id, perms};
use super::error::Code;
pub(crate) use node::Node;
pub(crate) use write::{Change, Effect, Outcome};

/// Transaction of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transaction {
    pub(crate) zxid: i64,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
}

/// Session and identities on whose behalf a request is executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) session: i64,
    pub(crate) ids: &'a [Id],
}

/// All znodes.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: HashMap<Arc<str>, Node>,
    /// Ephemerals by session; a session without ephemerals has no entry.
    ephemerals: HashMap<i64, BTreeSet<Arc<str>>>,
    /// Containers and znodes with a TTL, which may have to be deleted when they are empty.
    expiring: BTreeSet<Arc<str>>,
    /// Shared ACL of nearly every znode.
    open: Arc<[Acl]>,
    quotas: quota::Quotas,
    /// True if an ACL may contain identities of the scheme `sasl`.
    allow_sasl: bool,
    /// Znodes whose count of children exceeded its limit in the current transaction.
    overflowed: Vec<Arc<str>>,
}

/// ZooKeeper's own paths, which clients may not delete.
const SPECIAL: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

impl Tree {
    /// Sets whether an ACL may contain identities of the scheme `sasl`.
    pub(crate) fn allow_sasl(&mut self, allow: bool) {
        self.allow_sasl = allow;
    }

    /// Creates a tree with the root and ZooKeeper's own znodes.
    pub(crate) fn new() -> Self {
        let open = acl::open();
        let mut tree = Self {
            nodes: HashMap::new(),
            ephemerals: HashMap::new(),
            expiring: BTreeSet::new(),
            open: open.clone(),
            quotas: quota::Quotas::default(),
            allow_sasl: false,
            overflowed: Vec::new(),
        };
        let mut add = |path: &str, children: &[&str]| {
            let mut node = Node::new(
                Some(bytes::Bytes::new()),
                open.clone(),
                Transaction { zxid: 0, time: 0 },
                node::Lifetime::Persistent,
            );
            node.children = children.iter().map(|name| (*name).into()).collect();
            if path == "/zookeeper/config" {
                node.acl = Arc::new([Acl { perms: perms::READ, id: Id::new("world", "anyone") }]);
                node.aversion = -1;
            }
            tree.nodes.insert(path.into(), node);
        };
        add("/", &["zookeeper"]);
        add("/zookeeper", &["config", "quota"]);
        add("/zookeeper/config", &[]);
        add("/zookeeper/quota", &[]);
        tree
    }

    /// Returns a znode without a permission check. The empty path is the root, as in Apache ZooKeeper's table.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(if path.is_empty() { "/" } else { path })
    }

    /// Returns a znode if the caller has permission to read its data, its children or their number.
    pub(crate) fn read(&self, path: &str, caller: Caller<'_>) -> Result<&Node, Code> {
        let node = self.get(path).ok_or(Code::NoNode)?;
        acl::check(&node.acl, perms::READ, caller.ids)?;
        Ok(node)
    }

    /// Returns a znode's ACL, without its secrets if the caller may not administer it.
    pub(crate) fn acl(&self, path: &str, caller: Caller<'_>) -> Result<(Vec<Acl>, &Node), Code> {
        let node = self.get(path).ok_or(Code::NoNode)?;
        acl::check(&node.acl, perms::READ | perms::ADMIN, caller.ids)?;
        let acl = match acl::check(&node.acl, perms::ADMIN, caller.ids) {
            Ok(()) => node.acl.to_vec(),
            Err(_) => acl::masked(&node.acl),
        };
        Ok((acl, node))
    }

    /// Returns the number of znodes below this one, at any depth. Below the empty path is the root, as in Apache
    /// ZooKeeper.
    pub(crate) fn descendants(&self, path: &str) -> usize {
        if path.is_empty() {
            return self.nodes.len();
        }
        if path == "/" {
            return self.nodes.len() - 1;
        }
        let mut count = 0;
        let mut unvisited = vec![path.to_owned()];
        while let Some(path) = unvisited.pop() {
            let Some(node) = self.get(&path) else { continue };
            count += node.children.len();
            unvisited.extend(node.children.iter().map(|name| format!("{path}/{name}")));
        }
        count
    }

    /// Returns a session's ephemerals, sorted.
    pub(crate) fn ephemerals(&self, session: i64) -> impl Iterator<Item = &Arc<str>> {
        self.ephemerals.get(&session).into_iter().flatten()
    }

    /// Returns the sessions that have ephemerals, sorted.
    pub(crate) fn ephemeral_owners(&self) -> Vec<i64> {
        let mut owners: Vec<i64> = self.ephemerals.keys().copied().collect();
        owners.sort_unstable();
        owners
    }

    /// Returns the number of ephemerals of all sessions.
    pub(crate) fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// Returns the number of znodes, including the root.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the total size of paths and data in bytes.
    pub(crate) fn approximate_size(&self) -> usize {
        self.nodes
            .iter()
            .map(|(path, node)| path.len() + node.data.as_ref().map_or(0, bytes::Bytes::len))
            .sum()
    }

    /// Returns containers that had children and have none, and childless znodes with an expired TTL.
    pub(crate) fn expired(&self, time: i64) -> Vec<Arc<str>> {
        let is_expired = |path: &&Arc<str>| self.get(path).is_some_and(|node| node.is_expired(time));
        self.expiring.iter().filter(is_expired).cloned().collect()
    }

    /// Returns true if [`expired`](Self::expired) may ever return a znode.
    pub(crate) fn has_expiring(&self) -> bool {
        !self.expiring.is_empty()
    }
}

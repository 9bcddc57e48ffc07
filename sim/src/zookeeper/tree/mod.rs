//! The znodes: a pure value without I/O and without a clock; transaction number and time are passed in. Used by
//! [`core`](super::core).
//!
//! Reads are here, writes in [`write`], what a znode is in [`node`], how much there may be in [`quota`]. Checks come in the order in which Apache ZooKeeper
//! makes them, so that a request with two things wrong is refused for the same one.

#[cfg(any(test, feature = "fuzz"))]
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

/// Which transaction a change is part of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    pub(crate) zxid: i64,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
}

/// On whose behalf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) session: i64,
    pub(crate) ids: &'a [Id],
}

/// All znodes.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: HashMap<Arc<str>, Node>,
    /// Which ephemerals a session has; no entry for none.
    ephemerals: HashMap<i64, BTreeSet<Arc<str>>>,
    /// Containers and znodes with a TTL, which may have to go when they are empty.
    swept: BTreeSet<Arc<str>>,
    /// The list that nearly every znode has, once.
    open: Arc<[Acl]>,
    quotas: quota::Quotas,
    /// Whether an ACL may name identities of the scheme `sasl`.
    allow_sasl: bool,
    /// Znodes whose count of children went beyond its limit in the present transaction.
    overflowed: Vec<Arc<str>>,
}

/// Paths that ZooKeeper keeps for itself; nobody may delete them.
const SPECIAL: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

impl Tree {
    /// Sets whether an ACL may name identities of the scheme `sasl`.
    pub(crate) fn allow_sasl(&mut self, allow: bool) {
        self.allow_sasl = allow;
    }

    /// The root, and below it what every ZooKeeper has.
    pub(crate) fn new() -> Self {
        let open = acl::open();
        let mut tree = Self {
            nodes: HashMap::new(),
            ephemerals: HashMap::new(),
            swept: BTreeSet::new(),
            open: open.clone(),
            quotas: quota::Quotas::default(),
            allow_sasl: false,
            overflowed: Vec::new(),
        };
        let mut add = |path: &str, children: &[&str]| {
            let mut node = Node::new(
                Some(bytes::Bytes::new()),
                open.clone(),
                When { zxid: 0, time: 0 },
                node::Owner::Nobody,
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

    /// A znode, whoever asks. The empty path is the root, as it is in Apache ZooKeeper's table.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(if path.is_empty() { "/" } else { path })
    }

    /// A znode, for somebody who wants to read its data, its children or how many they are.
    pub(crate) fn read(&self, path: &str, caller: Caller<'_>) -> Result<&Node, Code> {
        let node = self.get(path).ok_or(Code::NoNode)?;
        acl::check(&node.acl, perms::READ, caller.ids)?;
        Ok(node)
    }

    /// A znode's list, without its secrets for those who may not administer it.
    pub(crate) fn acl(&self, path: &str, caller: Caller<'_>) -> Result<(Vec<Acl>, &Node), Code> {
        let node = self.get(path).ok_or(Code::NoNode)?;
        acl::check(&node.acl, perms::READ | perms::ADMIN, caller.ids)?;
        let shown = match acl::check(&node.acl, perms::ADMIN, caller.ids) {
            Ok(()) => node.acl.to_vec(),
            Err(_) => acl::masked(&node.acl),
        };
        Ok((shown, node))
    }

    /// Returns how many znodes are below this one, at any depth. Below the empty path is the root, as in Apache
    /// ZooKeeper.
    pub(crate) fn descendants(&self, path: &str) -> usize {
        if path.is_empty() {
            return self.nodes.len();
        }
        if path == "/" {
            return self.nodes.len() - 1;
        }
        let mut found = 0;
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            let Some(node) = self.get(&path) else { continue };
            found += node.children.len();
            open.extend(node.children.iter().map(|name| format!("{path}/{name}")));
        }
        found
    }

    /// A session's ephemerals, sorted.
    pub(crate) fn ephemerals(&self, session: i64) -> impl Iterator<Item = &Arc<str>> {
        self.ephemerals.get(&session).into_iter().flatten()
    }

    /// The sessions that have ephemerals, sorted.
    pub(crate) fn ephemeral_owners(&self) -> Vec<i64> {
        let mut owners: Vec<i64> = self.ephemerals.keys().copied().collect();
        owners.sort_unstable();
        owners
    }

    /// Ephemerals of all sessions.
    pub(crate) fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// All znodes, the root too.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of paths and data.
    pub(crate) fn approximate_size(&self) -> usize {
        self.nodes
            .iter()
            .map(|(path, node)| path.len() + node.data.as_ref().map_or(0, bytes::Bytes::len))
            .sum()
    }

    /// Containers that had children and have none, and childless znodes whose TTL is over.
    pub(crate) fn overdue(&self, time: i64) -> Vec<Arc<str>> {
        let is_overdue = |path: &&Arc<str>| self.get(path).is_some_and(|node| node.is_overdue(time));
        self.swept.iter().filter(is_overdue).cloned().collect()
    }

    /// Whether there is anything that [`overdue`](Self::overdue) may ever name.
    pub(crate) fn has_swept(&self) -> bool {
        !self.swept.is_empty()
    }
}

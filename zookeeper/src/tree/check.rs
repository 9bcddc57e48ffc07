//! Invariants of the tables, for tests and for fuzzing.

use std::collections::BTreeSet;

use super::Tree;
use super::node::{Lifetime, MAX_CREATED};
use crate::path;

impl Tree {
    /// Sets versions and counts of all znodes to just below their maximum.
    pub(crate) fn near_limits(&mut self) {
        for node in self.nodes.values_mut() {
            node.version = i32::MAX - 1;
            node.aversion = i32::MAX - 1;
            node.created = MAX_CREATED - 2;
        }
    }

    /// Checks that every znode is a child of its parent, and that the other tables agree with the znodes.
    ///
    /// # Panics
    ///
    /// Panics if they disagree, or if an ephemeral belongs to a session that does not exist.
    pub(crate) fn check(&self, exists: impl Fn(i64) -> bool) {
        let (mut ephemerals, mut expiring, mut children) = (0, BTreeSet::new(), 0);
        for (path, node) in &self.nodes {
            assert!(path::is_valid(path), "{path:?} is a path");
            if &**path != "/" {
                let parent = path::parent(path).and_then(|parent| self.nodes.get(parent));
                assert!(
                    parent.is_some_and(|node| node.children.contains(path::name(path))),
                    "{path} has a parent"
                );
            }
            children += node.children.len();
            match node.lifetime {
                Lifetime::Persistent => {}
                Lifetime::Ephemeral(session) => {
                    ephemerals += 1;
                    assert!(exists(session), "the session of {path} exists");
                    assert!(node.children.is_empty(), "{path} is ephemeral");
                    assert!(self.ephemerals.get(&session).is_some_and(|paths| paths.contains(path)));
                }
                Lifetime::Container | Lifetime::Ttl(_) => drop(expiring.insert(path.clone())),
            }
        }
        // Every znode but the root is a child, and there is a znode for every child.
        assert_eq!(children + 1, self.nodes.len());
        assert_eq!(ephemerals, self.ephemeral_count());
        assert!(self.ephemerals.values().all(|paths| !paths.is_empty()));
        assert_eq!(expiring, self.expiring);
        self.check_quotas();
    }
}

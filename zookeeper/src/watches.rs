//! Watches: one-shot, persistent and recursive, each bound to the connection that set it. Pure. Used by
//! [`state_machine`](super::state_machine).
//!
//! One connection may have several watches on one path and receives one event per change. In 3.8.0 a later watch of a
//! connection replaces an earlier one of another kind on the same path (ZOOKEEPER-4466); this implementation keeps
//! both, as 3.9 does.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::path;
use super::protocol::{EventKind, WatcherKind};
use super::sessions::ConnectionId;

/// Set of kinds of watches of a connection on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchSet(u8);

impl WatchSet {
    /// One-shot watch of the znode's data, its creation and its deletion.
    pub(crate) const DATA: Self = Self(1);
    /// One-shot watch of the names of its children, and its deletion.
    pub(crate) const CHILD: Self = Self(2);
    /// Both of these, until removed.
    pub(crate) const PERSISTENT: Self = Self(4);
    /// Creation, deletion and data of the znode and all its descendants, until removed.
    pub(crate) const RECURSIVE: Self = Self(8);

    const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns the watches that `RemoveWatches` of this kind removes.
    const fn of_kind(kind: WatcherKind) -> Self {
        match kind {
            WatcherKind::Children => Self::CHILD,
            WatcherKind::Data => Self::DATA,
            WatcherKind::Persistent => Self::PERSISTENT,
            WatcherKind::PersistentRecursive => Self::RECURSIVE,
            WatcherKind::Any => Self(15),
        }
    }
}

/// All watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    by_path: HashMap<Arc<str>, BTreeMap<ConnectionId, WatchSet>>,
    by_connection: HashMap<ConnectionId, HashSet<Arc<str>>>,
    /// Number of recursive watches: if it is 0, a path's ancestors need not be searched.
    recursive: usize,
}

impl Watches {
    /// Adds a watch of a connection on a path.
    pub(crate) fn add(&mut self, connection: ConnectionId, path: &str, kind: WatchSet) {
        let path = match self.by_path.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => path.into(),
        };
        let watches = self.by_path.entry(path.clone()).or_default().entry(connection).or_insert(WatchSet(0));
        if kind.intersects(WatchSet::RECURSIVE) && !watches.intersects(WatchSet::RECURSIVE) {
            self.recursive += 1;
        }
        *watches = watches.union(kind);
        self.by_connection.entry(connection).or_default().insert(path);
    }

    /// Returns true if the connection has a watch of this kind on the path.
    pub(crate) fn has(&self, connection: ConnectionId, path: &str, kind: WatcherKind) -> bool {
        let watches = self.by_path.get(path).and_then(|watchers| watchers.get(&connection));
        watches.is_some_and(|watches| watches.intersects(WatchSet::of_kind(kind)))
    }

    /// Removes the watches of this kind of a connection on a path. Returns true if there were any.
    pub(crate) fn remove(&mut self, connection: ConnectionId, path: &str, kind: WatcherKind) -> bool {
        let had = self.has(connection, path, kind);
        if had {
            self.remove_kinds(connection, path, WatchSet::of_kind(kind));
        }
        had
    }

    /// Removes the watches of a closed connection.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) {
        for path in self.by_connection.remove(&connection).unwrap_or_default() {
            if let Some(watchers) = self.by_path.get_mut(&path) {
                if watchers.remove(&connection).is_some_and(|watches| watches.intersects(WatchSet::RECURSIVE))
                {
                    self.recursive -= 1;
                }
                if watchers.is_empty() {
                    self.by_path.remove(&path);
                }
            }
        }
    }

    /// Returns the connections to notify of an event, each once. Removes the one-shot watches among them.
    pub(crate) fn fire(&mut self, kind: EventKind, path: &str) -> Vec<ConnectionId> {
        let (notified, one_shot) = match kind {
            EventKind::Created | EventKind::DataChanged => {
                (WatchSet::DATA.union(WatchSet::PERSISTENT).union(WatchSet::RECURSIVE), WatchSet::DATA)
            }
            EventKind::Deleted => (WatchSet(15), WatchSet::DATA.union(WatchSet::CHILD)),
            EventKind::ChildrenChanged => (WatchSet::CHILD.union(WatchSet::PERSISTENT), WatchSet::CHILD),
        };
        let mut connections: Vec<ConnectionId> = Vec::new();
        let mut used: Vec<ConnectionId> = Vec::new();
        if let Some(watchers) = self.by_path.get(path) {
            for (connection, watches) in watchers.iter().filter(|(_, watches)| watches.intersects(notified)) {
                connections.push(*connection);
                if watches.intersects(one_shot) {
                    used.push(*connection);
                }
            }
        }
        if self.recursive > 0 && kind != EventKind::ChildrenChanged {
            for watchers in path::ancestors(path).filter_map(|ancestor| self.by_path.get(ancestor)) {
                connections.extend(
                    watchers
                        .iter()
                        .filter(|(_, watches)| watches.intersects(WatchSet::RECURSIVE))
                        .map(|(id, _)| *id),
                );
            }
            connections.sort_unstable();
            connections.dedup();
        }
        for connection in used {
            self.remove_kinds(connection, path, one_shot);
        }
        connections
    }

    /// Returns the number of watches, of connections that have some, and of watched paths.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (self.by_path.values().map(BTreeMap::len).sum(), self.by_connection.len(), self.by_path.len())
    }

    /// Returns each watched path with its connection, without children's one-shot watches, as counted by `wchs` and
    /// similar words.
    pub(crate) fn of_data(&self) -> impl Iterator<Item = (&str, ConnectionId)> {
        let is_of_data = |watches: WatchSet| watches.without(WatchSet::CHILD) != WatchSet(0);
        let watchers = self.by_path.iter().flat_map(|(path, watchers)| {
            watchers.iter().map(move |(connection, watches)| (&**path, *connection, *watches))
        });
        watchers
            .filter(move |(_, _, watches)| is_of_data(*watches))
            .map(|(path, connection, _)| (path, connection))
    }

    fn remove_kinds(&mut self, connection: ConnectionId, path: &str, kinds: WatchSet) {
        let Some(watchers) = self.by_path.get_mut(path) else { return };
        let Some(watches) = watchers.get_mut(&connection) else { return };
        if watches.intersects(WatchSet::RECURSIVE) && kinds.intersects(WatchSet::RECURSIVE) {
            self.recursive -= 1;
        }
        *watches = watches.without(kinds);
        if *watches != WatchSet(0) {
            return;
        }
        watchers.remove(&connection);
        if watchers.is_empty() {
            self.by_path.remove(path);
        }
        if let Some(paths) = self.by_connection.get_mut(&connection) {
            paths.remove(path);
            if paths.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Watches {
    /// Checks that the tables agree.
    ///
    /// # Panics
    ///
    /// Panics if they disagree, or if a closed connection watches a path.
    pub(crate) fn check(&self, exists: impl Fn(ConnectionId) -> bool) {
        let (mut count, mut recursive) = (0, 0);
        for (path, watchers) in &self.by_path {
            assert!(!watchers.is_empty(), "{path} has a watcher");
            for (connection, watches) in watchers {
                assert!(exists(*connection), "the watcher of {path} is connected");
                assert!(self.by_connection.get(connection).is_some_and(|paths| paths.contains(path)));
                assert!(*watches != WatchSet(0));
                count += 1;
                recursive += usize::from(watches.intersects(WatchSet::RECURSIVE));
            }
        }
        assert_eq!(count, self.by_connection.values().map(HashSet::len).sum::<usize>());
        assert!(self.by_connection.values().all(|paths| !paths.is_empty()));
        assert_eq!(recursive, self.recursive);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_shot_watches_fire_once() {
        let mut watches = Watches::default();
        watches.add(1, "/a", WatchSet::DATA);
        watches.add(2, "/a", WatchSet::CHILD);
        assert_eq!(watches.fire(EventKind::DataChanged, "/a"), [1]);
        assert!(watches.fire(EventKind::DataChanged, "/a").is_empty());
        assert_eq!(watches.fire(EventKind::ChildrenChanged, "/a"), [2]);
        assert!(watches.fire(EventKind::ChildrenChanged, "/a").is_empty());
        assert_eq!(watches.counts(), (0, 0, 0));
    }

    #[test]
    fn connection_with_several_watches_is_notified_of_a_deletion_once() {
        let mut watches = Watches::default();
        for kind in [WatchSet::DATA, WatchSet::CHILD, WatchSet::PERSISTENT, WatchSet::RECURSIVE] {
            watches.add(1, "/a/b", kind);
        }
        watches.add(1, "/a", WatchSet::RECURSIVE);
        assert_eq!(watches.fire(EventKind::Deleted, "/a/b"), [1]);
        assert!(watches.has(1, "/a/b", WatcherKind::Persistent));
        assert!(!watches.has(1, "/a/b", WatcherKind::Data));
        assert!(!watches.has(1, "/a/b", WatcherKind::Children));
    }

    #[test]
    fn recursive_watches_fire_for_descendants_but_not_for_child_lists() {
        let mut watches = Watches::default();
        watches.add(1, "/a", WatchSet::RECURSIVE);
        watches.add(2, "/", WatchSet::RECURSIVE);
        assert_eq!(watches.fire(EventKind::Created, "/a/b/c"), [1, 2]);
        assert_eq!(watches.fire(EventKind::Created, "/ab"), [2]);
        assert!(watches.fire(EventKind::ChildrenChanged, "/a").is_empty());
        assert!(watches.remove(2, "/", WatcherKind::Any));
        assert!(!watches.remove(2, "/", WatcherKind::Any));
        assert_eq!(watches.fire(EventKind::Deleted, "/a/b/c"), [1]);
    }

    proptest! {
        /// For any sequence of operations, a closed connection leaves nothing, and after all are closed the tables are
        /// empty.
        #[test]
        fn nothing_is_left_behind(steps in prop::collection::vec((0..5_u8, 0..4_u64, 0..4_usize, 0..4_u8), 0..60)) {
            let mut watches = Watches::default();
            let paths = ["/", "/a", "/a/b", "/c"];
            for (step, connection, path, kind) in steps {
                let path = paths[path];
                match step {
                    0 | 1 => watches.add(connection, path, WatchSet(1 << kind)),
                    2 => {
                        let kinds = [EventKind::Created, EventKind::Deleted, EventKind::DataChanged, EventKind::ChildrenChanged];
                        watches.fire(kinds[usize::from(kind)], path);
                    }
                    3 => {
                        let kinds = [WatcherKind::Any, WatcherKind::Data, WatcherKind::PersistentRecursive, WatcherKind::Children];
                        watches.remove(connection, path, kinds[usize::from(kind)]);
                    }
                    _ => watches.disconnect(connection),
                }
                watches.check(|_| true);
            }
            (0..4).for_each(|connection| watches.disconnect(connection));
            prop_assert_eq!(watches.counts(), (0, 0, 0));
            prop_assert_eq!(watches.recursive, 0);
        }
    }
}

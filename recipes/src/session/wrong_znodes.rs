//! Registry of the znodes of the wrong type that the recipes of one session see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::{BulkRead, Session, lock};
use crate::wrong_znode::{WrongZnode, shown};

/// Maximum number of wrong znodes that a session, or one recipe, keeps; more are not reported.
const MAX_KEPT: usize = 64;
/// Maximum number of warnings that a session remembers, so that none is logged twice.
const MAX_WARNED: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Number of recipes that see each znode.
    seen: Mutex<BTreeMap<WrongZnode, usize>>,
    /// Znodes for which a warning was logged.
    warned: Mutex<BTreeSet<WrongZnode>>,
    pub(super) published: watch::Sender<BTreeSet<WrongZnode>>,
}

impl Registry {
    /// Adds a znode. Returns false if there are too many.
    fn add(&self, wrong: &WrongZnode) -> bool {
        {
            let mut warned = lock(&self.warned);
            if warned.len() >= MAX_WARNED || !warned.insert(wrong.clone()) {
                debug!("{wrong}");
            } else {
                warn!("znode of the wrong type: {wrong}; {}", wrong.remedy());
            }
        }
        let mut seen = lock(&self.seen);
        if seen.len() >= MAX_KEPT && !seen.contains_key(wrong) {
            return false;
        }
        *seen.entry(wrong.clone()).or_insert(0) += 1;
        self.publish(&seen);
        true
    }

    fn remove(&self, wrong: &WrongZnode) {
        let mut seen = lock(&self.seen);
        if let Some(count) = seen.get_mut(wrong) {
            *count -= 1;
            if *count == 0 {
                seen.remove(wrong);
            }
        }
        self.publish(&seen);
    }

    /// Notes that the znode was deleted, or has the right type now. If it comes back, a warning is logged again.
    fn resolve(&self, wrong: &WrongZnode) {
        if lock(&self.warned).remove(wrong) {
            info!(path = shown(&wrong.path), "the znode of the wrong type is gone");
        }
    }

    fn publish(&self, seen: &BTreeMap<WrongZnode, usize>) {
        if !self.published.borrow().iter().eq(seen.keys()) {
            self.published.send_replace(seen.keys().cloned().collect());
        }
    }
}

/// Returns those of the znodes at `paths`, as [`super::Connection::get_many`] has read them, that are not ephemeral.
pub(crate) fn not_ephemeral(paths: &[String], reads: &[BulkRead]) -> impl Iterator<Item = WrongZnode> {
    paths.iter().zip(reads).filter_map(|(path, read)| WrongZnode::not_ephemeral(path, read.stat()?))
}

/// Reports the wrong znodes that one recipe sees in [`Session::wrong_znodes`]. They are withdrawn when this is dropped.
#[derive(Debug, Default)]
pub struct WrongZnodeReporter {
    registry: Option<Arc<Registry>>,
    /// Reported znodes, each with true if the registry had room for it.
    seen: BTreeMap<WrongZnode, bool>,
}

impl WrongZnodeReporter {
    /// Replaces the set of reported znodes by `current`: reports new ones, and withdraws those that are not in it.
    pub fn update(&mut self, session: &Session, current: impl IntoIterator<Item = WrongZnode>) {
        let current: BTreeSet<WrongZnode> = current.into_iter().take(MAX_KEPT).collect();
        self.withdraw_except(&current);
        let registry = self.registry.get_or_insert_with(|| session.shared.wrong_znodes.clone());
        for wrong in current {
            self.seen.entry(wrong).or_insert_with_key(|wrong| registry.add(wrong));
        }
    }

    /// Withdraws all reported znodes: they do not exist any more.
    pub fn clear(&mut self) {
        self.withdraw_except(&BTreeSet::new());
    }

    fn withdraw_except(&mut self, current: &BTreeSet<WrongZnode>) {
        let Some(registry) = &self.registry else { return };
        self.seen.retain(|wrong, kept| {
            let stays = current.contains(wrong);
            if !stays {
                if *kept {
                    registry.remove(wrong);
                }
                registry.resolve(wrong);
            }
            stays
        });
    }
}

impl Drop for WrongZnodeReporter {
    fn drop(&mut self) {
        let Some(registry) = &self.registry else { return };
        for (wrong, _) in self.seen.iter().filter(|(_, kept)| **kept) {
            registry.remove(wrong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wrong_znode::ZnodeProblem;

    fn wrong(path: &str) -> WrongZnode {
        WrongZnode::new(path, ZnodeProblem::NotEphemeral)
    }

    fn reporter(registry: &Arc<Registry>) -> WrongZnodeReporter {
        WrongZnodeReporter { registry: Some(registry.clone()), seen: BTreeMap::new() }
    }

    impl WrongZnodeReporter {
        fn add(&mut self, wrong: WrongZnode) {
            let registry = self.registry.clone().unwrap_or_default();
            self.seen.entry(wrong).or_insert_with_key(|wrong| registry.add(wrong));
        }
    }

    #[test]
    fn wrong_znode_is_reported_for_as_long_as_any_recipe_sees_it() {
        let registry = Arc::new(Registry::default());
        let published = registry.published.subscribe();
        let (mut one, mut other) = (reporter(&registry), reporter(&registry));
        one.add(wrong("/a"));
        other.add(wrong("/a"));
        other.add(wrong("/b"));
        drop(one);
        assert_eq!(published.borrow().iter().map(|wrong| &*wrong.path).collect::<Vec<_>>(), ["/a", "/b"]);
        other.clear();
        assert!(published.borrow().is_empty());
    }

    #[test]
    fn number_of_reported_znodes_is_bounded() {
        let registry = Arc::new(Registry::default());
        let published = registry.published.subscribe();
        let mut many = reporter(&registry);
        (0..1_000).for_each(|n| many.add(wrong(&format!("/{n}"))));
        assert_eq!(published.borrow().len(), MAX_KEPT);
        assert!(lock(&registry.warned).len() <= MAX_WARNED);
        drop(many);
        assert!(published.borrow().is_empty() && lock(&registry.seen).is_empty());
    }
}

//! Znodes of the wrong type on the paths that recipes use: a persistent contender in an election, a barrier with children,
//! a counter that holds text. No recipe can remove them safely, because their data may belong to others; so a recipe
//! reports them, once in the log and for as long as they are there in [`Session::wrong_znodes`].
//!
//! Persistent znodes, container znodes and those with a time to live look the same to a client: their owner is 0.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::{Session, Stat, session};

/// Maximum number of wrong znodes that a session, or one recipe, keeps; more are not reported.
const KEPT: usize = 64;
/// Maximum number of warnings that a session remembers, so that none is logged twice.
const WARNED: usize = 256;
/// Maximum number of characters of a path in a message.
const SHOWN: usize = 200;
/// Owner of a container znode, which servers may show instead of 0.
const CONTAINER: i64 = i64::MIN;

/// Returns whether a znode with this `ephemeral_owner` is removed at the end of a session.
pub fn is_ephemeral(owner: i64) -> bool {
    owner != 0 && owner != CONTAINER
}

/// Reason why a znode does not fit the recipe that uses its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ZnodeProblem {
    /// An ephemeral znode is expected, but this one is persistent, a container, or has a time to live: a lost session does
    /// not remove it.
    NotEphemeral,
    /// A persistent znode is expected, but this one is removed with the session that created it.
    Ephemeral,
    /// The recipe deletes the znode, but it has children.
    HasChildren,
    /// A number is expected, but the data is not one.
    NotANumber,
}

impl ZnodeProblem {
    /// Returns the name used in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            ZnodeProblem::NotEphemeral => "not_ephemeral",
            ZnodeProblem::Ephemeral => "ephemeral",
            ZnodeProblem::HasChildren => "has_children",
            ZnodeProblem::NotANumber => "not_a_number",
        }
    }
}

/// A znode of the wrong type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrongZnode {
    /// Path of the znode.
    pub path: String,
    /// Reason why it does not fit.
    pub problem: ZnodeProblem,
}

impl WrongZnode {
    /// Creates the description of the znode at `path`.
    pub fn new(path: impl Into<String>, problem: ZnodeProblem) -> WrongZnode {
        WrongZnode { path: path.into(), problem }
    }

    /// Checks the znode at `path`, which should be ephemeral.
    pub fn not_ephemeral(path: &str, stat: &Stat) -> Option<WrongZnode> {
        (!is_ephemeral(stat.ephemeral_owner)).then(|| WrongZnode::new(path, ZnodeProblem::NotEphemeral))
    }

    /// Checks the znode at `path`, which should not be ephemeral.
    pub fn not_persistent(path: &str, stat: &Stat) -> Option<WrongZnode> {
        is_ephemeral(stat.ephemeral_owner).then(|| WrongZnode::new(path, ZnodeProblem::Ephemeral))
    }

    /// Checks the znode at `path`, which should have no children.
    pub fn not_childless(path: &str, stat: &Stat) -> Option<WrongZnode> {
        (stat.num_children > 0).then(|| WrongZnode::new(path, ZnodeProblem::HasChildren))
    }

    /// Returns the remedy: a command for the operator.
    pub fn remedy(&self) -> String {
        let path = quoted(&self.path);
        match self.problem {
            ZnodeProblem::NotEphemeral => {
                format!("if no program needs it, delete it: zkCli.sh deleteall {path}")
            }
            ZnodeProblem::Ephemeral => {
                format!("delete it, so that it is created as a persistent znode: zkCli.sh delete {path}")
            }
            ZnodeProblem::HasChildren => {
                format!(
                    "if no program needs its children, delete them; list them with: atalaya inspect {path}"
                )
            }
            ZnodeProblem::NotANumber => format!("set it to a whole number: zkCli.sh set {path} 0"),
        }
    }
}

impl fmt::Display for WrongZnode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        match self.problem {
            ZnodeProblem::NotEphemeral => {
                write!(f, "{path} is not ephemeral: it remains when the session that created it ends")
            }
            ZnodeProblem::Ephemeral => {
                write!(f, "{path} is ephemeral: it disappears with the session that created it")
            }
            ZnodeProblem::HasChildren => write!(f, "{path} has children, so it cannot be deleted"),
            ZnodeProblem::NotANumber => write!(f, "{path} does not hold a whole number of 64 bits"),
        }
    }
}

/// Shortens a path and replaces its control characters.
pub(crate) fn shown(path: &str) -> String {
    let clean = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut text: String = path.chars().take(SHOWN).map(clean).collect();
    if path.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}

/// Quotes a path for a shell, if needed.
fn quoted(path: &str) -> String {
    let path = shown(path);
    if path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte)) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// The wrong znodes of one session.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Number of recipes that see each znode.
    seen: Mutex<BTreeMap<WrongZnode, usize>>,
    /// Znodes for which a warning was logged.
    warned: Mutex<BTreeSet<WrongZnode>>,
    newest: watch::Sender<BTreeSet<WrongZnode>>,
}

impl Registry {
    pub(crate) fn subscribe(&self) -> watch::Receiver<BTreeSet<WrongZnode>> {
        self.newest.subscribe()
    }

    /// Adds a znode. Returns false if there are too many.
    fn add(&self, wrong: &WrongZnode) -> bool {
        {
            let mut warned = session::lock(&self.warned);
            if warned.len() >= WARNED || !warned.insert(wrong.clone()) {
                debug!("{wrong}");
            } else {
                warn!("znode of the wrong type: {wrong}; {}", wrong.remedy());
            }
        }
        let mut seen = session::lock(&self.seen);
        if seen.len() >= KEPT && !seen.contains_key(wrong) {
            return false;
        }
        *seen.entry(wrong.clone()).or_insert(0) += 1;
        self.tell(&seen);
        true
    }

    fn remove(&self, wrong: &WrongZnode) {
        let mut seen = session::lock(&self.seen);
        if let Some(count) = seen.get_mut(wrong) {
            *count -= 1;
            if *count == 0 {
                seen.remove(wrong);
            }
        }
        self.tell(&seen);
    }

    /// Notes that the znode is gone, or of the right type: if it comes back, that is logged again.
    fn resolve(&self, wrong: &WrongZnode) {
        if session::lock(&self.warned).remove(wrong) {
            info!(path = shown(&wrong.path), "the znode of the wrong type is gone");
        }
    }

    fn tell(&self, seen: &BTreeMap<WrongZnode, usize>) {
        self.newest.send_if_modified(|newest| {
            let changed = newest.len() != seen.len() || !seen.keys().all(|wrong| newest.contains(wrong));
            if changed {
                *newest = seen.keys().cloned().collect();
            }
            changed
        });
    }
}

/// The wrong znodes that one recipe sees. They are no longer reported when this is dropped.
#[derive(Debug, Default)]
pub struct WrongZnodeReporter {
    registry: Option<Arc<Registry>>,
    /// Znodes, each with a flag: the registry keeps it.
    seen: BTreeMap<WrongZnode, bool>,
}

impl WrongZnodeReporter {
    /// Replaces the earlier wrong_znodes by `now`: reports new ones and withdraws missing ones.
    pub fn update(&mut self, session: &Session, now: impl IntoIterator<Item = WrongZnode>) {
        let now: BTreeSet<WrongZnode> = now.into_iter().take(KEPT).collect();
        if now.is_empty() && self.seen.is_empty() {
            return;
        }
        let registry = self.registry.get_or_insert_with(|| session.wrong_registry());
        self.seen.retain(|wrong, kept| {
            let stays = now.contains(wrong);
            if !stays {
                if *kept {
                    registry.remove(wrong);
                }
                registry.resolve(wrong);
            }
            stays
        });
        for wrong in now {
            self.seen.entry(wrong).or_insert_with_key(|wrong| registry.add(wrong));
        }
    }

    /// Withdraws everything: the znodes are gone.
    pub fn clear(&mut self) {
        let Some(registry) = &self.registry else { return };
        for (wrong, kept) in std::mem::take(&mut self.seen) {
            if kept {
                registry.remove(&wrong);
            }
            registry.resolve(&wrong);
        }
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
    use proptest::prelude::*;

    use super::*;

    fn wrong(path: &str) -> WrongZnode {
        WrongZnode::new(path, ZnodeProblem::NotEphemeral)
    }

    fn wrong_znodes(registry: &Arc<Registry>) -> WrongZnodeReporter {
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
        let newest = registry.subscribe();
        let (mut one, mut other) = (wrong_znodes(&registry), wrong_znodes(&registry));
        one.add(wrong("/a"));
        other.add(wrong("/a"));
        other.add(wrong("/b"));
        drop(one);
        assert_eq!(newest.borrow().iter().map(|wrong| &*wrong.path).collect::<Vec<_>>(), ["/a", "/b"]);
        other.clear();
        assert!(newest.borrow().is_empty());
    }

    #[test]
    fn number_of_reported_znodes_is_bounded() {
        let registry = Arc::new(Registry::default());
        let newest = registry.subscribe();
        let mut many = wrong_znodes(&registry);
        (0..1_000).for_each(|n| many.add(wrong(&format!("/{n}"))));
        assert_eq!(newest.borrow().len(), KEPT);
        assert!(session::lock(&registry.warned).len() <= WARNED);
        drop(many);
        assert!(newest.borrow().is_empty() && session::lock(&registry.seen).is_empty());
    }

    #[test]
    fn remedy_quotes_a_path_for_the_shell() {
        assert!(wrong("/election/a__lock__01").remedy().ends_with("deleteall /election/a__lock__01"));
        assert!(wrong("/a b'; reboot").remedy().ends_with(r"deleteall '/a b'\''; reboot'"));
    }

    proptest! {
        #[test]
        fn messages_about_any_path_are_short_and_without_control_characters(path in "\\PC{0,300}|[\\x00-\\x9f]{0,300}") {
            for problem in [ZnodeProblem::NotEphemeral, ZnodeProblem::Ephemeral, ZnodeProblem::HasChildren, ZnodeProblem::NotANumber] {
                let wrong = WrongZnode::new(path.clone(), problem);
                for text in [wrong.to_string(), wrong.remedy()] {
                    prop_assert!(text.chars().count() < 5 * SHOWN && !text.chars().any(char::is_control), "{:?}", text);
                }
            }
        }
    }
}

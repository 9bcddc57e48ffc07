//! Znodes of the wrong type on the paths that recipes use: a persistent contender in an election, a barrier with
//! children, a counter that holds text. No recipe can remove them safely, because their data may belong to other
//! programs. Recipes log each of them once, and list them in [`Session::wrong_znodes`](crate::Session::wrong_znodes)
//! while they exist.
//!
//! Persistent znodes, container znodes and those with a time to live look the same to a client: their owner is 0.

use std::fmt;

use crate::{Stat, text};

const MAX_SHOWN: usize = 200;
/// Owner of a container znode, which servers may show instead of 0.
const CONTAINER: i64 = i64::MIN;

/// Returns true if a znode with this `ephemeral_owner` is deleted at the end of a session.
pub fn is_ephemeral(owner: i64) -> bool {
    owner != 0 && owner != CONTAINER
}

/// Reason why a znode does not fit the recipe that uses its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ZnodeProblem {
    /// An ephemeral znode is expected, but this one is persistent, a container, or has a time to live: a lost session
    /// does not remove it.
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
        self.texts().0
    }

    /// Returns the name, the description that follows the path, and the remedy, in which `{}` is the path.
    const fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            ZnodeProblem::NotEphemeral => (
                "not_ephemeral",
                "is not ephemeral: it remains when the session that created it ends",
                "if no program needs it, delete it: zkCli.sh deleteall {}",
            ),
            ZnodeProblem::Ephemeral => (
                "ephemeral",
                "is ephemeral: it disappears with the session that created it",
                "delete it, so that it is created as a persistent znode: zkCli.sh delete {}",
            ),
            ZnodeProblem::HasChildren => (
                "has_children",
                "has children, so it cannot be deleted",
                "if no program needs its children, delete them; list them with: atalaya inspect {}",
            ),
            ZnodeProblem::NotANumber => (
                "not_a_number",
                "does not hold a whole number of 64 bits",
                "set it to a whole number: zkCli.sh set {} 0",
            ),
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
        self.problem.texts().2.replacen("{}", &quoted(&self.path), 1)
    }
}

impl fmt::Display for WrongZnode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", shown(&self.path), self.problem.texts().1)
    }
}

/// Shortens and sanitises a path.
pub(crate) fn shown(path: &str) -> String {
    let mut text = text::truncate(path, MAX_SHOWN);
    if path.chars().nth(MAX_SHOWN).is_some() {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(path: &str) -> WrongZnode {
        WrongZnode::new(path, ZnodeProblem::NotEphemeral)
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
                    prop_assert!(text.chars().count() < 5 * MAX_SHOWN && !text.chars().any(char::is_control), "{:?}", text);
                }
            }
        }
    }
}

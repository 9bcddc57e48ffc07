//! Who stands in line at an election or a lock, and in which order. Pure; used by [`crate::candidacy`].
//!
//! The name of a contender's znode is all there is to go by. Kazoo 2.11 (`recipe/lock.py`) writes
//! `{32 hex digits}__lock__{10 digits}`, counts as contenders only names that end so, and compares the ten digits as
//! text. Curator (`LockInternals`, `LeaderLatch`) has other names and sorts every child by what follows its marker; a
//! path serves one of them, so naming is a setting.

use uuid::Uuid;

/// How contenders name their znodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Naming {
    /// Kazoo's `Lock` and `Election`: `{32 hex}__lock__{10 digits}`.
    #[default]
    Kazoo,
}

const KAZOO_MARKER: &str = "__lock__";
const SEQUENCE_DIGITS: usize = 10;

impl Naming {
    /// What the name of a contender's znode begins with; ZooKeeper appends the sequence number.
    pub fn prefix(self, token: &Token) -> String {
        match self {
            Naming::Kazoo => format!("{}{KAZOO_MARKER}", token.0),
        }
    }

    /// The sequence number in a contender's name as text, or `None` if `name` is no contender's.
    pub fn sequence(self, name: &str) -> Option<&str> {
        match self {
            Naming::Kazoo => {
                let at = name.len().checked_sub(SEQUENCE_DIGITS)?;
                let (head, digits) = (name.get(..at)?, name.get(at..)?);
                (head.ends_with(KAZOO_MARKER) && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
            }
        }
    }
}

/// What makes a contender's znodes its own, across connections and sessions: a random number in their names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token(String);

impl Token {
    /// A new one.
    pub fn random() -> Token {
        Token(Uuid::new_v4().simple().to_string())
    }

    /// One that is given: for simulations that must be repeatable.
    pub fn from_number(number: u128) -> Token {
        Token(Uuid::from_u128(number).simple().to_string())
    }

    /// Whether the znode called `name` is this contender's.
    pub fn owns(&self, name: &str) -> bool {
        name.starts_with(&self.0)
    }
}

/// The contenders among `children`, first in line first.
pub fn in_line(naming: Naming, children: &[String]) -> Vec<&str> {
    let mut line: Vec<(&str, &str)> =
        children.iter().filter_map(|name| Some((naming.sequence(name)?, name.as_str()))).collect();
    line.sort_unstable();
    line.into_iter().map(|(_, name)| name).collect()
}

/// Where in the line `own` stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not at all.
    Absent,
    /// At its head.
    First,
    /// Behind `predecessor`, with `ahead` contenders before it in all.
    Behind {
        /// The name just before.
        predecessor: String,
        /// How many are ahead, the predecessor included.
        ahead: usize,
    },
}

/// Finds `own` among `children`.
pub fn place(naming: Naming, children: &[String], own: &str) -> Place {
    let line = in_line(naming, children);
    match line.iter().position(|name| *name == own) {
        None => Place::Absent,
        Some(0) => Place::First,
        Some(ahead) => Place::Behind { predecessor: line[ahead - 1].to_owned(), ahead },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_contender_is_what_kazoo_takes_for_one() {
        let naming = Naming::Kazoo;
        assert_eq!(naming.sequence("0a1b__lock__0000000012"), Some("0000000012"));
        for other in [
            "0a1b__lock__12",
            "0a1b__lock__00000000123",
            "0a1b__lock__-000000001",
            "0a1b__rlock__0000000012",
            "_c_1-latch-0000000012",
            "0000000012",
            "ñ__lock__000000001é",
            "",
        ] {
            assert_eq!(naming.sequence(other), None, "{other}");
        }
    }

    #[test]
    fn the_line_is_ordered_by_number_not_by_name() {
        let children = names(&["b__lock__0000000002", "a__lock__0000000010", "junk", "c__lock__0000000001"]);
        assert_eq!(
            in_line(Naming::Kazoo, &children),
            ["c__lock__0000000001", "b__lock__0000000002", "a__lock__0000000010"]
        );
        assert_eq!(place(Naming::Kazoo, &children, "c__lock__0000000001"), Place::First);
        assert_eq!(
            place(Naming::Kazoo, &children, "a__lock__0000000010"),
            Place::Behind { predecessor: "b__lock__0000000002".into(), ahead: 2 }
        );
        assert_eq!(place(Naming::Kazoo, &children, "d__lock__0000000000"), Place::Absent);
    }

    proptest! {
        /// Exactly one is first, everyone else is behind another, and following predecessors leads to the first.
        #[test]
        fn one_first_and_no_ties(numbers in prop::collection::hash_set(0u32..2_000_000_000, 1..40), junk in prop::collection::vec(".{0,20}", 0..5)) {
            let naming = Naming::Kazoo;
            let own: Vec<String> = numbers.iter().enumerate()
                .map(|(i, n)| format!("{}{n:010}", naming.prefix(&Token::from_number(i as u128)))).collect();
            let mut children = own.clone();
            children.extend(junk);
            let mut firsts = 0;
            for name in &own {
                match place(naming, &children, name) {
                    Place::First => firsts += 1,
                    Place::Behind { predecessor, ahead } => {
                        prop_assert!(naming.sequence(&predecessor) < naming.sequence(name));
                        let before = own.iter().filter(|other| naming.sequence(other) < naming.sequence(name)).count();
                        prop_assert_eq!(ahead, before);
                    }
                    Place::Absent => prop_assert!(false, "own znode not found"),
                }
            }
            prop_assert_eq!(firsts, 1);
        }
    }
}

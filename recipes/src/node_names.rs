//! Who stands in line at an election or a lock, in which order, and who waits for whom. Pure; used by
//! [`crate::contender_state`].
//!
//! The name of a contender's znode is all there is to go by. Kazoo 2.11 (`recipe/lock.py`) writes
//! `{32 hex digits}__lock__{10 digits}`, counts as contenders only names that end so, and compares the ten digits as
//! text; its `ReadLock` writes `__rlock__`. Curator (`LeaderLatch`, `LockInternals`) writes
//! `_c_{uuid}-latch-{10 digits}` or `_c_{uuid}-lock-{10 digits}` and sorts *every* child by what follows the last
//! marker, or by its whole name if it has none. A path serves one of them, so naming is a setting.
//!
//! After 2,147,483,647 children of one parent ZooKeeper (measured: 3.8.0) gives the same last number to all that
//! follow, or negative numbers to some created at the same time. Such numbers do not tell the order of arrival, so
//! a contender with one waits for every other contender: two never hold at once, but two that wait may wait for
//! each other. The remedy is to delete the parent while no contender holds. Contenders of Kazoo and Curator with
//! such a number hold at once, whatever others do.

use uuid::Uuid;

/// How contenders name their znodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Naming {
    /// Kazoo's `Lock` and `Election`: `{32 hex}__lock__{10 digits}`.
    #[default]
    Kazoo,
    /// Curator's `LeaderLatch`: `_c_{uuid}-latch-{10 digits}`.
    CuratorLatch,
    /// Curator's `LeaderSelector` and `InterProcessMutex`: `_c_{uuid}-lock-{10 digits}`.
    CuratorLock,
}

/// What a contender stands in line for: it says how its own znode is named, and for whom it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Being the only one: an election, or a lock.
    Exclusive(Naming),
    /// Kazoo's `ReadLock`: named `__rlock__`, waits for every `__lock__` ahead.
    Reader,
    /// Kazoo's `WriteLock`: named `__lock__`, waits for every `__lock__` and `__rlock__` ahead.
    Writer,
}

impl Default for Role {
    fn default() -> Role {
        Role::Exclusive(Naming::default())
    }
}

impl From<Naming> for Role {
    fn from(naming: Naming) -> Role {
        Role::Exclusive(naming)
    }
}

const KAZOO_MARKER: &str = "__lock__";
const KAZOO_READ_MARKER: &str = "__rlock__";
const LATCH_MARKER: &str = "latch-";
const LOCK_MARKER: &str = "lock-";
/// What Curator puts before the uuid in a name (`ProtectedUtils`).
const CURATOR_PROTECTION: &str = "_c_";
const SEQUENCE_DIGITS: usize = 10;
/// The number of each child that is created after the numbers have run out.
const LAST_SEQUENCE: &str = "2147483647";

impl Naming {
    /// What the name of a contender's znode begins with; ZooKeeper appends the sequence number.
    pub fn prefix(self, token: &ContenderId) -> String {
        Role::from(self).prefix(token)
    }

    /// By what of its name a contender is sorted, or `None` if `name` is no contender's.
    pub fn sequence(self, name: &str) -> Option<&str> {
        Role::from(self).sequence(name)
    }
}

impl Role {
    /// What the name of a contender's znode begins with; ZooKeeper appends the sequence number.
    pub fn prefix(self, token: &ContenderId) -> String {
        let ContenderId(uuid) = token;
        match self {
            Role::Exclusive(Naming::Kazoo) | Role::Writer => format!("{}{KAZOO_MARKER}", uuid.simple()),
            Role::Reader => format!("{}{KAZOO_READ_MARKER}", uuid.simple()),
            Role::Exclusive(Naming::CuratorLatch) => {
                format!("{CURATOR_PROTECTION}{}-{LATCH_MARKER}", uuid.hyphenated())
            }
            Role::Exclusive(Naming::CuratorLock) => {
                format!("{CURATOR_PROTECTION}{}-{LOCK_MARKER}", uuid.hyphenated())
            }
        }
    }

    /// By what of its name a contender is sorted, or `None` if `name` is not in this line.
    pub fn sequence(self, name: &str) -> Option<&str> {
        match self {
            Role::Exclusive(Naming::Kazoo) => kazoo_sequence(KAZOO_MARKER, name),
            Role::Reader | Role::Writer => {
                kazoo_sequence(KAZOO_MARKER, name).or_else(|| kazoo_sequence(KAZOO_READ_MARKER, name))
            }
            Role::Exclusive(Naming::CuratorLatch) => Some(curator_sequence(LATCH_MARKER, name)),
            Role::Exclusive(Naming::CuratorLock) => Some(curator_sequence(LOCK_MARKER, name)),
        }
    }

    /// Whether a contender in this role waits for one called `name` that is ahead of it.
    pub fn waits_for(self, name: &str) -> bool {
        match self {
            Role::Reader => kazoo_sequence(KAZOO_MARKER, name).is_some(),
            Role::Exclusive(_) | Role::Writer => self.sequence(name).is_some(),
        }
    }

    /// Whether the parent of the line is to be a container znode, which ZooKeeper removes some time after its last child
    /// has gone: as Curator makes them.
    pub fn in_container(self) -> bool {
        matches!(self, Role::Exclusive(Naming::CuratorLatch | Naming::CuratorLock))
    }
}

fn kazoo_sequence<'a>(marker: &str, name: &'a str) -> Option<&'a str> {
    let at = name.len().checked_sub(SEQUENCE_DIGITS)?;
    let (head, digits) = (name.get(..at)?, name.get(at..)?);
    (head.ends_with(marker) && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

fn curator_sequence<'a>(marker: &str, name: &'a str) -> &'a str {
    name.rfind(marker).map_or(name, |at| &name[at + marker.len()..])
}

fn is_number(sequence: &str) -> bool {
    let digits = sequence.strip_prefix('-').unwrap_or(sequence);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Returns whether a sequence number does not tell when its contender came.
fn is_exhausted(sequence: &str) -> bool {
    sequence == LAST_SEQUENCE || (sequence.starts_with('-') && is_number(sequence))
}

/// What makes a contender's znodes its own, across connections and sessions: a random number in their names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContenderId(Uuid);

impl ContenderId {
    /// A new one.
    pub fn random() -> ContenderId {
        ContenderId(Uuid::new_v4())
    }

    /// One that is given: for simulations that must be repeatable.
    pub fn from_number(number: u128) -> ContenderId {
        ContenderId(Uuid::from_u128(number))
    }

    /// Whether the znode called `name` is this contender's.
    pub fn owns(&self, name: &str) -> bool {
        let mut text = Uuid::encode_buffer();
        match name.strip_prefix(CURATOR_PROTECTION) {
            Some(rest) => rest.starts_with(&*self.0.hyphenated().encode_lower(&mut text)),
            None => name.starts_with(&*self.0.simple().encode_lower(&mut text)),
        }
    }

    /// Its 32 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.0.simple().to_string()
    }
}

/// The contenders among `children`, first in line first.
pub fn sorted_contenders(role: impl Into<Role>, children: &[String]) -> Vec<&str> {
    let role = role.into();
    let mut line: Vec<(&str, &str)> =
        children.iter().filter_map(|name| Some((role.sequence(name)?, name.as_str()))).collect();
    line.sort_unstable();
    line.into_iter().map(|(_, name)| name).collect()
}

/// Where in the line `own` stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Not at all.
    Absent,
    /// At its head, or with nobody ahead that it has to wait for.
    First,
    /// Behind `predecessor`, with `ahead` contenders before it in all.
    Behind {
        /// The name just before, of those that it waits for.
        predecessor: String,
        /// How many of those are ahead, the predecessor included.
        ahead: usize,
    },
}

/// Finds `own` among `children`.
pub fn position(role: impl Into<Role>, children: &[String], own: &str) -> Position {
    let role = role.into();
    let Some(own_rank) = role.sequence(own).map(|sequence| (sequence, own)) else { return Position::Absent };
    let exhausted = is_exhausted(own_rank.0);
    let (mut ahead, mut found, mut predecessor) = (0, false, None);
    for name in children.iter().map(String::as_str) {
        found |= name == own;
        let Some(rank) = role.sequence(name).map(|sequence| (sequence, name)) else { continue };
        let may_be_earlier = exhausted && name != own && is_number(rank.0);
        if (rank < own_rank || may_be_earlier) && role.waits_for(name) {
            ahead += 1;
            predecessor = predecessor.max(Some(rank));
        }
    }
    match predecessor {
        _ if !found => Position::Absent,
        None => Position::First,
        Some((_, predecessor)) => Position::Behind { predecessor: predecessor.to_owned(), ahead },
    }
}

/// Whether whoever joins the line now has somebody to wait for.
pub fn is_taken(role: impl Into<Role>, children: &[String]) -> bool {
    let role = role.into();
    children.iter().any(|name| role.waits_for(name))
}

#[cfg(test)]
#[path = "node_names_tests.rs"]
mod tests;

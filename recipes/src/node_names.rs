//! Names of contenders' znodes, their order, and which contender waits for which. No I/O.
//!
//! The name of its znode is the only information that other clients have about a contender:
//!
//! * Kazoo 2.11 (`recipe/lock.py`) writes `{32 hex digits}__lock__{10 digits}`. Its contenders are only the names that
//!   end in this way, and it compares the ten digits as text. Its `ReadLock` writes `__rlock__`.
//! * Curator (`LeaderLatch`, `LockInternals`) writes `_c_{uuid}-latch-{10 digits}` or `_c_{uuid}-lock-{10 digits}`. It
//!   sorts *every* child by the text after the last marker, or by the whole name if the name contains no marker.
//!
//! All clients of a path must use the same naming, so [`Naming`] is a setting.
//!
//! # Exhausted sequence numbers
//! After 2,147,483,647 children of one parent, ZooKeeper (measured: 3.8.0) gives the same last number to all further
//! children, or negative numbers to some that are created at the same time. Such numbers do not tell the order of
//! arrival, so a contender that has one waits for every other contender: two never hold at the same time, but two that
//! wait may wait for each other. The remedy is to delete the parent while no contender holds. Contenders of Kazoo and
//! Curator that have such a number hold at the same time, whatever other clients do.

use uuid::Uuid;

/// Naming scheme of the znodes of an election or a lock.
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

/// Purpose of a contender. Determines the name of its znode and which contenders it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Exclusive holder: an election or a lock.
    Exclusive(Naming),
    /// Kazoo's `ReadLock`: named `__rlock__`, waits for every earlier `__lock__`.
    Reader,
    /// Kazoo's `WriteLock`: named `__lock__`, waits for every earlier `__lock__` and `__rlock__`.
    Writer,
}

impl From<Naming> for Role {
    fn from(naming: Naming) -> Role {
        Role::Exclusive(naming)
    }
}

const KAZOO_MARKER: &str = "__lock__";
const KAZOO_READ_MARKER: &str = "__rlock__";
/// Prefix that Curator's `ProtectedUtils` puts before the UUID.
const CURATOR_PROTECTION: &str = "_c_";
const SEQUENCE_DIGITS: usize = 10;
/// Sequence number of every child that is created after the numbers are exhausted.
const LAST_SEQUENCE: &str = "2147483647";

impl Role {
    /// Returns the text before the sequence number in the name of a contender's znode.
    const fn marker(self) -> &'static str {
        match self {
            Role::Exclusive(Naming::Kazoo) | Role::Writer => KAZOO_MARKER,
            Role::Reader => KAZOO_READ_MARKER,
            Role::Exclusive(Naming::CuratorLatch) => "latch-",
            Role::Exclusive(Naming::CuratorLock) => "lock-",
        }
    }

    /// Returns the beginning of the name of a contender's znode. ZooKeeper appends the sequence number.
    pub fn prefix(self, ContenderId(uuid): &ContenderId) -> String {
        let marker = self.marker();
        match self.uses_container() {
            true => format!("{CURATOR_PROTECTION}{}-{marker}", uuid.hyphenated()),
            false => format!("{}{marker}", uuid.simple()),
        }
    }

    /// Returns the part of `name` by which contenders are sorted, or `None` if `name` does not belong to a contender.
    pub fn sequence(self, name: &str) -> Option<&str> {
        match self {
            Role::Exclusive(Naming::Kazoo) => kazoo_sequence(KAZOO_MARKER, name),
            Role::Reader | Role::Writer => {
                kazoo_sequence(KAZOO_MARKER, name).or_else(|| kazoo_sequence(KAZOO_READ_MARKER, name))
            }
            Role::Exclusive(_) => {
                Some(name.rsplit_once(self.marker()).map_or(name, |(_, sequence)| sequence))
            }
        }
    }

    /// Returns true if a contender in this role waits for an earlier contender called `name`.
    pub fn waits_for(self, name: &str) -> bool {
        match self {
            Role::Reader => kazoo_sequence(KAZOO_MARKER, name).is_some(),
            Role::Exclusive(_) | Role::Writer => self.sequence(name).is_some(),
        }
    }

    /// Returns true if the parent is a container znode, as Curator creates it. ZooKeeper deletes a container some time
    /// after its last child.
    pub fn uses_container(self) -> bool {
        matches!(self, Role::Exclusive(Naming::CuratorLatch | Naming::CuratorLock))
    }
}

fn kazoo_sequence<'a>(marker: &str, name: &'a str) -> Option<&'a str> {
    let at = name.len().checked_sub(SEQUENCE_DIGITS)?;
    let (head, digits) = (name.get(..at)?, name.get(at..)?);
    (head.ends_with(marker) && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

fn is_number(sequence: &str) -> bool {
    let digits = sequence.strip_prefix('-').unwrap_or(sequence);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Random number in the names of a contender's znodes. It identifies them across connections and sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContenderId(Uuid);

impl ContenderId {
    /// Generates an id.
    pub fn random() -> ContenderId {
        ContenderId(Uuid::new_v4())
    }

    /// Creates an id from a number, for repeatable simulations.
    pub fn from_number(number: u128) -> ContenderId {
        ContenderId(Uuid::from_u128(number))
    }

    /// Returns true if the znode called `name` belongs to this contender.
    pub fn owns(&self, name: &str) -> bool {
        let mut text = Uuid::encode_buffer();
        match name.strip_prefix(CURATOR_PROTECTION) {
            Some(rest) => rest.starts_with(&*self.0.hyphenated().encode_lower(&mut text)),
            None => name.starts_with(&*self.0.simple().encode_lower(&mut text)),
        }
    }

    /// Returns the id as 32 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.0.simple().to_string()
    }
}

/// Returns the contenders among `children`, in queue order.
pub fn sorted_contenders(role: impl Into<Role>, children: &[String]) -> Vec<&str> {
    let role = role.into();
    let mut contenders: Vec<(&str, &str)> =
        children.iter().filter_map(|name| Some((role.sequence(name)?, name.as_str()))).collect();
    contenders.sort_unstable();
    contenders.into_iter().map(|(_, name)| name).collect()
}

/// Position of a contender in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Not in the queue.
    Absent,
    /// First, or only behind contenders that it does not wait for.
    First,
    /// Behind contenders that it waits for.
    Behind {
        /// Last of the contenders that it waits for.
        predecessor: String,
        /// Number of contenders that it waits for, including the predecessor.
        ahead: usize,
    },
}

/// Returns the position of `own` among `children`.
pub fn position(role: impl Into<Role>, children: &[String], own: &str) -> Position {
    let role = role.into();
    let Some(own_rank) = role.sequence(own).map(|sequence| (sequence, own)) else { return Position::Absent };
    let exhausted = own_rank.0 == LAST_SEQUENCE || (own_rank.0.starts_with('-') && is_number(own_rank.0));
    let (mut ahead, mut found, mut predecessor) = (0, false, None);
    for name in children.iter().map(String::as_str) {
        found |= name == own;
        let Some(rank) = role.sequence(name).map(|sequence| (sequence, name)) else { continue };
        // See the module documentation: such a number does not tell which of the two came first.
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

#[cfg(test)]
#[path = "node_names_tests.rs"]
mod tests;

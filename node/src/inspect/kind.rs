//! Recognises recipes by the names of their znodes.

use atalaya_recipes::WrongZnode;
use atalaya_recipes::node_names::{Naming, Position, Role, position, sorted_contenders};
use serde::Serialize;

use crate::inspect::Znode;

/// Recipe of a znode. The names of the variants are part of the JSON output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Lock or election of Kazoo, including read and write locks.
    #[serde(rename = "kazoo-line")]
    KazooContenders,
    /// LeaderLatch of Curator.
    CuratorLatch,
    /// LeaderSelector or InterProcessMutex of Curator.
    CuratorLock,
    Party,
    /// Queue of Kazoo, or the entries of a LockingQueue.
    Queue,
    LockingQueue,
    DoubleBarrier,
    Semaphore,
    /// A number without children, probably a counter.
    Number,
    /// None of the recipes.
    Znode,
}

impl Kind {
    pub(crate) fn detect(data: &[u8], children: &[String]) -> Kind {
        let any = |is: fn(&str) -> bool| children.iter().any(|name| is(name));
        let is_number = std::str::from_utf8(data).is_ok_and(|text| text.trim().parse::<f64>().is_ok());
        if any(|name| Role::Writer.sequence(name).is_some()) {
            Kind::KazooContenders
        } else if any(|name| name.starts_with("_c_") && name.contains("-latch-")) {
            Kind::CuratorLatch
        } else if any(|name| name.starts_with("_c_") && name.contains("-lock-")) {
            Kind::CuratorLock
        } else if any(|name| name.ends_with("__party__")) {
            Kind::Party
        } else if any(|name| name.starts_with("entry-")) {
            Kind::Queue
        } else if any(|name| name == "entries") && any(|name| name == "taken") {
            Kind::LockingQueue
        } else if any(is_participant) {
            // Kazoo stores the number of leases of a semaphore in its znode.
            if is_number { Kind::Semaphore } else { Kind::DoubleBarrier }
        } else if children.is_empty() && is_number {
            Kind::Number
        } else {
            Kind::Znode
        }
    }

    pub(crate) fn description(self) -> &'static str {
        match self {
            Kind::KazooContenders => "lock or election",
            Kind::CuratorLatch => "Curator LeaderLatch",
            Kind::CuratorLock => "Curator LeaderSelector or InterProcessMutex",
            Kind::Party => "party",
            Kind::Queue => "queue",
            Kind::LockingQueue => "locking queue",
            Kind::DoubleBarrier => "double barrier",
            Kind::Semaphore => "semaphore",
            Kind::Number => "number, such as a counter",
            Kind::Znode => "znode",
        }
    }

    /// Returns the children that have a position, in order: contenders, or entries of a queue.
    pub(super) fn ordered(self, children: &[String]) -> Vec<&str> {
        if let Some(role) = self.role("") {
            return sorted_contenders(role, children);
        }
        let is_entry = |name: &&str| self == Kind::Queue && name.starts_with("entry-");
        let mut entries: Vec<&str> = children.iter().map(String::as_str).filter(is_entry).collect();
        // The name contains the priority and then the sequence number, both with leading zeros.
        entries.sort_unstable();
        entries
    }

    /// Checks that `child` of the znode at `path` has the type that the recipe needs.
    pub(super) fn wrong_type(self, path: &str, child: &Znode) -> Option<WrongZnode> {
        let name = child.name.as_str();
        let is_in_taken = path.ends_with("/taken");
        let must_be_ephemeral = match self {
            Kind::KazooContenders => Role::Writer.sequence(name).is_some(),
            Kind::CuratorLatch | Kind::CuratorLock => name.starts_with("_c_"),
            Kind::Party => name.ends_with("__party__"),
            Kind::DoubleBarrier | Kind::Semaphore => is_participant(name),
            // Below `taken`, a locking queue has one znode per entry that a consumer holds.
            Kind::Queue => is_in_taken,
            Kind::LockingQueue | Kind::Number | Kind::Znode => false,
        };
        let path = format!("{}/{name}", path.trim_end_matches('/'));
        if must_be_ephemeral {
            return WrongZnode::not_ephemeral(&path, &child.stat);
        }
        let is_entry = self == Kind::Queue && name.starts_with("entry-");
        is_entry.then(|| WrongZnode::not_childless(&path, &child.stat)).flatten()
    }

    /// Returns true if the child called `name` holds the lock or is the leader.
    pub(super) fn is_holder(self, children: &[String], name: &str) -> bool {
        self.role(name).is_some_and(|role| position(role, children, name) == Position::First)
    }

    /// Returns the role of the contender called `name`; `None` if this recipe has no contenders.
    fn role(self, name: &str) -> Option<Role> {
        match self {
            Kind::KazooContenders if name.contains("__rlock__") => Some(Role::Reader),
            Kind::KazooContenders => Some(Role::Writer),
            Kind::CuratorLatch => Some(Naming::CuratorLatch.into()),
            Kind::CuratorLock => Some(Naming::CuratorLock.into()),
            _ => None,
        }
    }
}

/// Returns true for the name of a participant in a double barrier or semaphore of Kazoo: 32 hexadecimal digits.
fn is_participant(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

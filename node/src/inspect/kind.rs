//! What a znode is taken for, by the names below it: each recipe has its own.

use atalaya_recipes::WrongZnode;
use atalaya_recipes::node_names::{Naming, Position, Role, position, sorted_contenders};
use serde::Serialize;

use crate::inspect::Znode;

/// What a znode is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A lock or an election, as Kazoo has them; readers and writers, too.
    KazooLine,
    /// Curator's LeaderLatch.
    CuratorLatch,
    /// Curator's LeaderSelector or InterProcessMutex.
    CuratorLock,
    /// Kazoo's Party.
    Party,
    /// Kazoo's Queue, or the entries of a LockingQueue.
    Queue,
    /// Kazoo's LockingQueue.
    LockingQueue,
    /// Kazoo's DoubleBarrier.
    DoubleBarrier,
    /// Kazoo's Semaphore.
    Semaphore,
    /// A number without children: a counter, most likely.
    Number,
    /// Anything else.
    Znode,
}

impl Kind {
    /// Of a znode with this data and children of these names.
    pub fn of(data: &[u8], children: &[String]) -> Kind {
        let any = |is: fn(&str) -> bool| children.iter().any(|name| is(name));
        let number = std::str::from_utf8(data).is_ok_and(|text| text.trim().parse::<f64>().is_ok());
        if any(|name| Role::Writer.sequence(name).is_some()) {
            Kind::KazooLine
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
        } else if any(is_token) {
            if number { Kind::Semaphore } else { Kind::DoubleBarrier }
        } else if children.is_empty() && number {
            Kind::Number
        } else {
            Kind::Znode
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Kind::KazooLine => "a lock or an election",
            Kind::CuratorLatch => "a LeaderLatch of Curator's",
            Kind::CuratorLock => "a LeaderSelector or a mutex of Curator's",
            Kind::Party => "a party",
            Kind::Queue => "a queue",
            Kind::LockingQueue => "a locking queue",
            Kind::DoubleBarrier => "a double barrier",
            Kind::Semaphore => "a semaphore",
            Kind::Number => "a number, such as a counter",
            Kind::Znode => "a znode",
        }
    }

    /// Those of `children` that stand in line, in its order.
    pub(super) fn in_line(self, children: &[String]) -> Vec<&str> {
        match self {
            Kind::KazooLine => sorted_contenders(Role::Writer, children),
            Kind::CuratorLatch => sorted_contenders(Naming::CuratorLatch, children),
            Kind::CuratorLock => sorted_contenders(Naming::CuratorLock, children),
            Kind::Queue => {
                let mut entries: Vec<&str> =
                    children.iter().map(String::as_str).filter(|name| name.starts_with("entry-")).collect();
                // The priority comes first in the name, then the number.
                entries.sort_unstable();
                entries
            }
            _ => Vec::new(),
        }
    }

    /// Checks whether `child` of the znode at `path` has the type that the recipe needs.
    pub(super) fn wrong(self, path: &str, child: &Znode) -> Option<WrongZnode> {
        let name = child.name.as_str();
        let is_hold = path.ends_with("/taken");
        let goes_with_its_session = match self {
            Kind::KazooLine => Role::Writer.sequence(name).is_some(),
            Kind::CuratorLatch | Kind::CuratorLock => name.starts_with("_c_"),
            Kind::Party => name.ends_with("__party__"),
            Kind::DoubleBarrier | Kind::Semaphore => is_token(name),
            Kind::Queue => is_hold,
            Kind::LockingQueue | Kind::Number | Kind::Znode => false,
        };
        let path = format!("{}/{name}", path.trim_end_matches('/'));
        if goes_with_its_session {
            return WrongZnode::not_ephemeral(&path, &child.stat);
        }
        let is_entry = self == Kind::Queue && name.starts_with("entry-");
        is_entry.then(|| WrongZnode::not_childless(&path, &child.stat)).flatten()
    }

    /// Whether the one of `children` called `name` waits for nobody.
    pub(super) fn holds(self, children: &[String], name: &str) -> bool {
        let role = match self {
            Kind::KazooLine if name.contains("__rlock__") => Role::Reader,
            Kind::KazooLine => Role::Writer,
            Kind::CuratorLatch => Naming::CuratorLatch.into(),
            Kind::CuratorLock => Naming::CuratorLock.into(),
            _ => return false,
        };
        position(role, children, name) == Position::First
    }
}

/// 32 hexadecimal digits, as Kazoo names who takes part.
fn is_token(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

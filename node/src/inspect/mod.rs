//! Description of a znode and its children in terms of recipes: holder and contenders of a lock or election, members,
//! counters. No I/O; `atalaya inspect` reads and prints.

mod kind;
mod render;

use std::time::{Duration, SystemTime};

use atalaya_recipes::Stat;
use serde::Serialize;

use crate::model::text::is_unsafe;

pub(crate) use kind::Kind;
pub(crate) use render::{table, tree};

/// Maximum length of the data in the output, in characters.
const MAX_DATA: usize = 60;

/// A znode as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Znode {
    /// Name without the path of the parent.
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
    pub(crate) stat: Stat,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Entry {
    /// Position among the contenders or in the queue, from 1; `None` if the znode has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<usize>,
    /// True if the contender holds the lock or is the leader; `None` if it is not a contender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) holds: Option<bool>,
    pub(crate) name: String,
    /// Session that owns the znode; `None` if it is persistent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    /// Seconds from the creation, by ZooKeeper's clock, until now, by this machine's clock; `None` for znodes of
    /// ZooKeeper itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age: Option<f64>,
    /// Number of writes since the creation.
    pub(crate) version: i32,
    pub(crate) data: String,
    pub(crate) children: i32,
    /// Reason why the type does not fit the recipe, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<&'static str>,
    /// Reason and the command that removes the problem, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Entry {
    /// Returns the description of a znode without a position.
    pub(crate) fn new(znode: &Znode, now: SystemTime) -> Entry {
        let Stat { ephemeral_owner, ctime, version, num_children, .. } = znode.stat;
        let created = u64::try_from(ctime).ok().filter(|created| *created > 0).map(Duration::from_millis);
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Entry {
            place: None,
            holds: None,
            name: znode.name.clone(),
            session: (ephemeral_owner != 0).then(|| format!("{ephemeral_owner:#x}")),
            // Saturating, because this machine's clock may be behind ZooKeeper's.
            age: created.map(|created| now.saturating_sub(created).as_secs_f64()),
            version,
            data: printable(&znode.data),
            children: num_children,
            problem: None,
            remedy: None,
        }
    }
}

/// Description of a znode and its children.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Inspection {
    pub(crate) kind: Kind,
    /// The znode; its name is the whole path.
    pub(crate) znode: Entry,
    /// The children: first those with a position, in order, then the others by name.
    pub(crate) entries: Vec<Entry>,
}

impl Inspection {
    pub(crate) fn new(znode: &Znode, children: &[Znode], now: SystemTime) -> Inspection {
        let names: Vec<String> = children.iter().map(|child| child.name.clone()).collect();
        let kind = Kind::detect(&znode.data, &names);
        let ordered = kind.ordered(&names);
        let describe = |child: &Znode| {
            let mut entry = Entry::new(child, now);
            entry.place = ordered.iter().position(|name| *name == child.name).map(|index| index + 1);
            entry.holds = entry.place.map(|_| kind.is_holder(&names, &child.name));
            if let Some(wrong) = kind.wrong_type(&znode.name, child) {
                entry.problem = Some(wrong.problem.name());
                entry.remedy = Some(format!("{wrong}; {}", wrong.remedy()));
            }
            entry
        };
        let mut entries: Vec<Entry> = children.iter().map(describe).collect();
        entries.sort_by_cached_key(|entry| (entry.place.unwrap_or(usize::MAX), entry.name.clone()));
        Inspection { kind, znode: Entry::new(znode, now), entries }
    }
}

/// Returns data as one line of text: control characters are escaped, and long data is truncated.
fn printable(data: &[u8]) -> String {
    // A character has up to four bytes.
    let text = String::from_utf8_lossy(&data[..data.len().min(4 * MAX_DATA)]);
    let escape = |c: char| if is_unsafe(c) { c.escape_default().to_string() } else { c.to_string() };
    let mut shown: String = text.chars().take(MAX_DATA).map(escape).collect();
    if text.chars().count() > MAX_DATA || data.len() > 4 * MAX_DATA {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;

//! What stands below a znode, said in the words of recipes: who holds a lock or leads and who waits, which members there
//! are, what a counter shows. Pure; `atalaya inspect` reads and prints.

mod kind;
mod text;

use std::time::{Duration, SystemTime};

use atalaya_recipes::Stat;
use serde::Serialize;

use crate::model::text::is_unsafe;

pub use kind::Kind;
pub(crate) use text::age;
pub use text::{table, tree};

/// As much of a znode's data as is shown, in characters.
const SHOWN: usize = 60;

/// A znode as it was read.
#[derive(Clone, Debug)]
pub struct Znode {
    /// Its name, without its parents'.
    pub name: String,
    /// Its data.
    pub data: Vec<u8>,
    /// Its stat.
    pub stat: Stat,
}

/// A znode, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Its place in line, from 1; none if it is in no line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<usize>,
    /// Whether it holds what the line is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    /// Its name.
    pub name: String,
    /// The session that it goes with; none if it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Seconds since it was made, from ZooKeeper's clock to this machine's; none for what was always there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<f64>,
    /// How often its data was written since.
    pub version: i32,
    /// Its data as text.
    pub data: String,
    /// How many children it has.
    pub children: i32,
    /// Reason why its type does not fit the recipe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'static str>,
    /// Remedy, a command for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Entry {
    /// One that is in no line.
    pub fn of(znode: &Znode, now: SystemTime) -> Entry {
        let Stat { ephemeral_owner, ctime, version, num_children, .. } = znode.stat;
        let made = u64::try_from(ctime).ok().filter(|made| *made > 0).map(Duration::from_millis);
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Entry {
            place: None,
            holds: None,
            name: znode.name.clone(),
            session: (ephemeral_owner != 0).then(|| format!("{ephemeral_owner:#x}")),
            // A clock that is slow is no reason for a negative age.
            age: made.map(|made| now.saturating_sub(made).as_secs_f64()),
            version,
            data: shown(&znode.data),
            children: num_children,
            problem: None,
            remedy: None,
        }
    }
}

/// What was found at a path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// What it is taken for.
    pub kind: Kind,
    /// The znode itself; its name is the whole path.
    pub znode: Entry,
    /// What stands below it: those in line in their order, then the others by name.
    pub entries: Vec<Entry>,
}

impl Inspection {
    /// Of a znode and its `children`, at `now`.
    pub fn of(own: &Znode, children: &[Znode], now: SystemTime) -> Inspection {
        let names: Vec<String> = children.iter().map(|child| child.name.clone()).collect();
        let kind = Kind::of(&own.data, &names);
        let line = kind.in_line(&names);
        let mut entries: Vec<Entry> = children.iter().map(|child| Entry::of(child, now)).collect();
        for entry in &mut entries {
            entry.place = line.iter().position(|name| *name == entry.name).map(|at| at + 1);
            entry.holds = entry.place.map(|_| kind.holds(&names, &entry.name));
        }
        for (entry, child) in entries.iter_mut().zip(children) {
            if let Some(wrong) = kind.wrong(&own.name, child) {
                entry.problem = Some(wrong.problem.name());
                entry.remedy = Some(format!("{wrong}; {}", wrong.remedy()));
            }
        }
        entries.sort_by(|a, b| {
            let key = |entry: &Entry| entry.place.unwrap_or(usize::MAX);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        Inspection { kind, znode: Entry::of(own, now), entries }
    }
}

/// Data as text on one line: what is not printable is escaped, what is long is cut.
fn shown(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(&data[..data.len().min(4 * SHOWN)]);
    let mut shown: String = text.chars().take(SHOWN).map(printable).collect();
    if text.chars().count() > SHOWN || data.len() > 4 * SHOWN {
        shown.push('…');
    }
    shown
}

fn printable(character: char) -> String {
    if is_unsafe(character) { character.escape_default().to_string() } else { character.to_string() }
}

#[cfg(test)]
mod tests;

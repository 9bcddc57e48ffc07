//! Output of an inspection for people: a table or a tree.

use std::fmt::Write as _;

use crate::inspect::{Entry, Inspection, Kind};
use crate::model::text::{format_age, sanitize_lines};

/// Returns the znode, and a table with a line per child.
pub(crate) fn table(inspection: &Inspection) -> String {
    let Inspection { kind, znode, entries } = inspection;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}: {}{}", znode.name, kind.description(), counts(*kind, entries));
    let _ = writeln!(text, "{}", details(znode));
    if entries.is_empty() {
        return sanitize_lines(&text).into_owned();
    }
    let width = entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0).clamp(5, 70);
    let _ = writeln!(text, "\n{:>6}  {:width$}  {:>8}  {:18}  data", "", "znode", "age", "session");
    for entry in entries {
        let Entry { name, data, children, .. } = entry;
        let position = match (entry.place, entry.holds) {
            (_, Some(true)) => "holds".to_owned(),
            (Some(place), _) => place.to_string(),
            (None, _) => String::new(),
        };
        let session = entry.session.as_deref().unwrap_or("persistent");
        let children = match children {
            0 => String::new(),
            1 => "  (1 child)".to_owned(),
            count => format!("  ({count} children)"),
        };
        let age = age(entry);
        let line = format!("{position:>6}  {name:width$}  {age:>8}  {session:18}  {data}{children}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let remedies: Vec<&str> = entries.iter().filter_map(|entry| entry.remedy.as_deref()).collect();
    if !remedies.is_empty() {
        let _ = writeln!(text, "\nznodes of the wrong type:\n{}", remedies.join("\n"));
    }
    sanitize_lines(&text).into_owned()
}

/// Returns how many contenders hold the lock, or how many entries a queue has.
fn counts(kind: Kind, entries: &[Entry]) -> String {
    let ordered = entries.iter().filter(|entry| entry.place.is_some()).count();
    let holders = entries.iter().filter(|entry| entry.holds == Some(true)).count();
    let plural = |count: usize, one: &'static str, many: &'static str| if count == 1 { one } else { many };
    match kind {
        Kind::KazooContenders | Kind::CuratorLatch | Kind::CuratorLock => {
            let holds = plural(holders, "holds it", "hold it");
            format!("; {holders} of {ordered} {} {holds}", plural(ordered, "contender", "contenders"))
        }
        Kind::Queue => format!("; {ordered} {}", plural(ordered, "entry", "entries")),
        _ => String::new(),
    }
}

/// Returns a line per znode, indented by its depth.
pub(crate) fn tree(nodes: &[(usize, Entry)]) -> String {
    let mut text = String::new();
    for (depth, entry) in nodes {
        let data = if entry.data.is_empty() { String::new() } else { format!("  \"{}\"", entry.data) };
        let session = entry.session.as_ref().map(|session| format!("  {session}")).unwrap_or_default();
        let (indent, age) = (depth * 2, age(entry));
        let _ = writeln!(text, "{:indent$}{}{data}{session}  {age}", "", entry.name);
    }
    sanitize_lines(&text).into_owned()
}

fn details(znode: &Entry) -> String {
    let created = znode.age.map(|age| format!("created {} ago", format_age(age)));
    let mut details: Vec<String> = created.into_iter().collect();
    details.push(format!("version {}", znode.version));
    details.extend(znode.session.as_ref().map(|session| format!("ephemeral, session {session}")));
    if !znode.data.is_empty() {
        details.push(format!("data \"{}\"", znode.data));
    }
    details.join(", ")
}

/// Returns the age of a znode, or `-` for those of ZooKeeper itself, which have no creation time.
fn age(entry: &Entry) -> String {
    entry.age.map_or_else(|| "-".to_owned(), format_age)
}

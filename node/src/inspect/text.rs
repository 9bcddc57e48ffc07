//! An inspection for people: a table, or a tree.

use std::fmt::Write as _;

use super::{Entry, Inspection, Kind};
use crate::model::text::sanitize_lines;

/// The znode, and a line for each that stands below it.
pub fn table(inspection: &Inspection) -> String {
    let Inspection { kind, znode, entries } = inspection;
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(text, "{}: {}{}", znode.name, kind.words(), about(*kind, entries));
    let _ = writeln!(text, "{}", details(znode));
    if entries.is_empty() {
        return sanitize_lines(&text).into_owned();
    }
    let width = entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0).clamp(4, 70);
    let _ = writeln!(text, "\n{:>6}  {:width$}  {:>8}  {:18}  data", "", "znode", "age", "session");
    for entry in entries {
        let Entry { name, data, children, .. } = entry;
        let mark = match (entry.place, entry.holds) {
            (_, Some(true)) => "holds".to_owned(),
            (Some(place), _) => place.to_string(),
            (None, _) => String::new(),
        };
        let session = entry.session.as_deref().unwrap_or("stays");
        let below = if *children > 0 { format!("  ({children} below)") } else { String::new() };
        let line = format!("{mark:>6}  {name:width$}  {:>8}  {session:18}  {data}{below}", age(entry.age));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let remedies: Vec<&str> = entries.iter().filter_map(|entry| entry.remedy.as_deref()).collect();
    if !remedies.is_empty() {
        let _ = writeln!(text, "\nznodes of the wrong type:");
        remedies.iter().for_each(|remedy| {
            let _ = writeln!(text, "{remedy}");
        });
    }
    sanitize_lines(&text).into_owned()
}

fn about(kind: Kind, entries: &[Entry]) -> String {
    let in_line = entries.iter().filter(|entry| entry.place.is_some()).count();
    let holders = entries.iter().filter(|entry| entry.holds == Some(true)).count();
    match kind {
        Kind::KazooLine | Kind::CuratorLatch | Kind::CuratorLock => {
            format!("; {holders} of {in_line} in line {}", if holders == 1 { "holds it" } else { "hold it" })
        }
        Kind::Queue => format!(" of {in_line}"),
        _ => String::new(),
    }
}

/// Everything below `root`: pairs of how deep, and what.
pub fn tree(nodes: &[(usize, Entry)]) -> String {
    let mut text = String::new();
    for (depth, entry) in nodes {
        let data = if entry.data.is_empty() { String::new() } else { format!("  \"{}\"", entry.data) };
        let session = entry.session.as_ref().map(|session| format!("  {session}")).unwrap_or_default();
        let age = age(entry.age);
        let _ = writeln!(text, "{:indent$}{}{data}{session}  {age}", "", entry.name, indent = depth * 2);
    }
    sanitize_lines(&text).into_owned()
}

fn details(znode: &Entry) -> String {
    let made = znode.age.map(|_| format!("made {} ago", age(znode.age)));
    let mut words: Vec<String> = made.into_iter().collect();
    words.push(format!("version {}", znode.version));
    words.extend(znode.session.as_ref().map(|session| format!("ephemeral, of session {session}")));
    if !znode.data.is_empty() {
        words.push(format!("data \"{}\"", znode.data));
    }
    words.join(", ")
}

/// Seconds, as people read them.
pub(crate) fn age(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "always".to_owned() };
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d {}h", whole / 86_400, whole / 3_600 % 24),
    }
}

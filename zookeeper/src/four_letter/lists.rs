//! Words that list sessions, ephemerals and watches. Part of [`four_letter`](super).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Result, Write as _};

use crate::state_machine::{Now, StateMachine};

/// Writes sessions and connections by their expiry, and every ephemeral.
pub(super) fn dump(text: &mut String, state: &StateMachine, now: Now) -> Result {
    let by_expiry = state.sessions.by_expiry();
    // Converted from the steady clock, which has no meaning for readers.
    let date = |expiry: &i64| date(now.wall + (expiry - now.steady));
    writeln!(text, "SessionTracker dump:\nSession Sets ({})/({}):", by_expiry.len(), state.sessions.len())?;
    for (expiry, sessions) in &by_expiry {
        writeln!(text, "{} expire at {}:", sessions.len(), date(expiry))?;
        sessions.iter().try_for_each(|session| writeln!(text, "\t{session:#x}"))?;
    }
    let owners = state.tree.ephemeral_owners();
    writeln!(text, "ephemeral nodes dump:\nSessions with Ephemerals ({}):", owners.len())?;
    for session in owners {
        writeln!(text, "{session:#x}:")?;
        state.tree.ephemerals(session).try_for_each(|path| writeln!(text, "\t{path}"))?;
    }
    // A connection is closed with its session.
    let address = |session: &i64| {
        let connection = state.sessions.get(*session)?.connection?;
        Some((*session, state.peers.get(&connection)?.address))
    };
    let connections: Vec<(_, Vec<_>)> = by_expiry
        .iter()
        .map(|(expiry, sessions)| (expiry, sessions.iter().filter_map(address).collect::<Vec<_>>()))
        .filter(|(_, connections)| !connections.is_empty())
        .collect();
    let count: usize = connections.iter().map(|(_, connections)| connections.len()).sum();
    writeln!(text, "Connections dump:\nConnections Sets ({})/({count}):", connections.len())?;
    for (expiry, connections) in connections {
        writeln!(text, "{} expire at {}:", connections.len(), date(expiry))?;
        for (session, address) in connections {
            writeln!(text, "\tip: /{address} sessionId: {session:#x}")?;
        }
    }
    Ok(())
}

/// Writes the number of watches.
pub(super) fn watch_summary(text: &mut String, state: &StateMachine) -> Result {
    let (mut paths, mut connections, mut watches) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (path, connection) in state.watches.of_data() {
        paths.insert(path);
        connections.insert(connection);
        watches += 1;
    }
    writeln!(
        text,
        "{} connections watching {} paths\nTotal watches:{watches}",
        connections.len(),
        paths.len()
    )
}

/// Writes the paths that each session watches.
pub(super) fn watches_by_session(text: &mut String, state: &StateMachine) -> Result {
    let watches = state.watches.of_data().filter_map(|(path, connection)| {
        let session = state.peers.get(&connection)?.session;
        Some((format!("{session:#x}"), path.to_owned()))
    });
    grouped(text, watches)
}

/// Writes the sessions that watch each path.
pub(super) fn watches_by_path(text: &mut String, state: &StateMachine) -> Result {
    let watches = state.watches.of_data().filter_map(|(path, connection)| {
        let session = state.peers.get(&connection)?.session;
        Some((path.to_owned(), format!("{session:#x}")))
    });
    grouped(text, watches)
}

fn grouped(text: &mut String, watches: impl Iterator<Item = (String, String)>) -> Result {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (group, one) in watches {
        groups.entry(group).or_default().insert(one);
    }
    for (group, ones) in groups {
        writeln!(text, "{group}")?;
        ones.iter().try_for_each(|one| writeln!(text, "\t{one}"))?;
    }
    writeln!(text)
}

/// Formats milliseconds since 1970 as Java does: `Sat Nov 21 13:14:18 UTC 2026`.
fn date(milliseconds: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let seconds = milliseconds.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    // Four hundred years are 146 097 days; the loop only runs over the rest.
    let (mut year, mut day) = (1970 + days.div_euclid(146_097) * 400, days.rem_euclid(146_097));
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = "";
    for (name, length) in MONTHS.into_iter().zip(lengths) {
        month = name;
        if day < length {
            break;
        }
        day -= length;
    }
    let weekday = usize::try_from(days.rem_euclid(7)).map_or("", |at| WEEKDAYS[at]);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{weekday} {month} {:02} {hour:02}:{minute:02}:{:02} UTC {year}", day + 1, second % 60)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates() {
        for (seconds, written) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_795_266_858, "Sat Nov 21 13:14:18 UTC 2026"),
            (4_107_542_399, "Sun Feb 28 23:59:59 UTC 2100"),
            (4_107_542_400, "Mon Mar 01 00:00:00 UTC 2100"),
            (1_735_689_599, "Tue Dec 31 23:59:59 UTC 2024"),
        ] {
            assert_eq!(date(seconds * 1000 + 999), written);
        }
    }
}

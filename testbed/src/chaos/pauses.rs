//! Measures how long nodes did not measure, and how much of that time they were connected. Pure.

use std::collections::BTreeMap;

use super::history::History;
use crate::journal::Change;

/// Pauses in the measurements of a fleet, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// Longest time between two measurements of a node.
    pub longest: i64,
    /// Longest such time, without the time in which any node of the fleet had no connection.
    pub blocked: i64,
    /// Duration of each lost connection.
    pub reconnects: Vec<i64>,
    /// Nodes that measured nothing in the last two periods or longer.
    pub stuck: Vec<String>,
}

/// Computes the pauses from the first measurement of each node to `end`; `away` are the times without a connection.
pub(super) fn measure(history: &History, mut away: Vec<(i64, i64)>, end: i64, period: i64) -> Pauses {
    let mut measured: BTreeMap<&str, (&[u8], Vec<i64>)> = BTreeMap::new();
    for transaction in history.transactions.iter().filter(|transaction| transaction.time < end) {
        for change in &transaction.changes {
            if let Change::Create { path, data, .. } | Change::Set { path, data } = change
                && let Some(node) = path.strip_prefix("/mediciones/")
            {
                let (last, times) = measured.entry(node).or_default();
                // A measurement that is published again in another session is not a new one.
                if times.is_empty() || *last != data {
                    *last = data;
                    times.push(transaction.time);
                }
            }
        }
    }
    away.sort_unstable();
    let mut pauses =
        Pauses { reconnects: away.iter().map(|(from, to)| to - from).collect(), ..Pauses::default() };
    for (node, (_, mut times)) in measured {
        if times.last().is_some_and(|last| end - last > 2 * period) {
            pauses.stuck.push(node.to_owned());
        }
        times.push(end);
        for pair in times.windows(2) {
            pauses.longest = pauses.longest.max(pair[1] - pair[0]);
            pauses.blocked = pauses.blocked.max(outside(&away, pair[0], pair[1]));
        }
    }
    pauses
}

/// Returns how much of the time from `begin` to `end` is outside of these intervals, which are sorted.
fn outside(away: &[(i64, i64)], begin: i64, end: i64) -> i64 {
    let (mut sum, mut at) = (0, begin);
    for (from, to) in away {
        sum += (*from.min(&end) - at).max(0);
        at = at.max(*to).min(end);
    }
    sum + (end - at).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transaction;

    #[test]
    fn time_outside_of_others() {
        let away = [(10, 20), (15, 30), (50, 60)];
        assert_eq!(outside(&away, 0, 100), 70);
        assert_eq!(outside(&away, 12, 18), 0);
        assert_eq!(outside(&away, 5, 12), 5);
        assert_eq!(outside(&away, 25, 55), 20);
        assert_eq!(outside(&away, 70, 80), 10);
        assert_eq!(outside(&[], 7, 9), 2);
    }

    #[test]
    fn who_is_blocked_and_who_is_stuck() {
        let set = |time, node: &str, data: &str| Transaction {
            zxid: time,
            session: 1,
            time,
            changes: vec![Change::Set { path: format!("/mediciones/{node}"), data: data.into() }],
        };
        let history = History {
            transactions: vec![
                set(0, "1", "a"),
                set(5, "2", "a"),
                set(1_000, "1", "b"),
                // The same measurement in another session.
                set(1_500, "1", "b"),
                set(2_800, "1", "c"),
                set(9_000, "1", "d"),
            ],
            ..History::default()
        };
        let pauses = measure(&history, vec![(1_900, 2_400)], 3_500, 1_000);
        let expected =
            Pauses { longest: 3_495, blocked: 2_995, reconnects: vec![500], stuck: vec!["2".into()] };
        assert_eq!(pauses, expected);
    }
}

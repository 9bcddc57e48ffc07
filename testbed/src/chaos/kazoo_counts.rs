//! Effects of the same schedules on a fleet of Kazoo clients. They are counted, not checked, because such a fleet makes
//! no promises. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use derive_more::AddAssign;

use super::history::History;
use crate::journal::Change;

#[derive(AddAssign, Clone, Debug, Default, PartialEq)]
pub struct KazooCounts {
    /// Averages that a leader computed, from its output.
    pub averages: u64,
    /// Number of these that the API never kept.
    pub lost: u64,
    /// Averages that the API kept more than once: they count twice because they have no key.
    pub twice: u64,
    /// Requests of a node after another one had become the first contender.
    pub stale: u64,
    /// Number of different measurements that were published.
    pub measurements: i64,
    /// Value of the counter at the end.
    pub counted: i64,
    pub ended: u64,
}

impl fmt::Display for KazooCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KazooCounts { averages, lost, twice, stale, measurements, counted, ended } = self;
        write!(
            f,
            "{averages} averages, {lost} of them lost, {twice} kept twice, {stale} stale requests; counted {counted} of \
             {measurements} measurements; {ended} processes ended by themselves"
        )
    }
}

/// Counts the results; `said` are the lines of all processes.
pub(super) fn count<'a>(history: &History, said: impl Iterator<Item = &'a str>) -> KazooCounts {
    let mut counts = KazooCounts::default();
    let mut kept: BTreeMap<u64, u64> = BTreeMap::new();
    for arrival in history.arrivals.iter().filter(|arrival| arrival.kept) {
        *kept.entry(arrival.mean.unwrap_or_default().to_bits()).or_default() += 1;
    }
    let average = |line: &str| line.strip_prefix("average ")?.split(' ').next()?.parse::<f64>().ok();
    for mean in said.filter_map(average) {
        counts.averages += 1;
        counts.lost += u64::from(!kept.contains_key(&mean.to_bits()));
    }
    counts.twice = kept.values().map(|times| times - 1).sum();

    // First contender and the time since when: enough to know which node no longer leads.
    let mut line: BTreeMap<String, (i64, String)> = BTreeMap::new();
    let mut turns: Vec<(i64, String)> = Vec::new();
    let mut measured = BTreeSet::new();
    for transaction in &history.transactions {
        for change in &transaction.changes {
            match change {
                Change::Create { path, data, .. } | Change::Set { path, data } => {
                    if path.starts_with("/mediciones/") {
                        measured.insert((path.clone(), data.clone()));
                    } else if path == "/counter" {
                        let text = String::from_utf8_lossy(data);
                        counts.counted = text.trim().parse().unwrap_or(counts.counted);
                    } else if path.starts_with("/election/") && path.len() > 10 {
                        let place = path[path.len() - 10..].to_owned();
                        let id = String::from_utf8_lossy(data).into_owned();
                        line.insert(place, (transaction.session, id));
                    }
                }
                Change::Delete { path } if path.starts_with("/election/") && path.len() > 10 => {
                    line.remove(&path[path.len() - 10..]);
                }
                Change::Closed => line.retain(|_, (session, _)| *session != transaction.session),
                _ => {}
            }
        }
        let first = line.first_key_value().map(|(_, (_, id))| id);
        if let Some(first) = first
            && turns.last().is_none_or(|(_, id)| id != first)
        {
            turns.push((transaction.time, first.clone()));
        }
    }
    counts.measurements = i64::try_from(measured.len()).unwrap_or(i64::MAX);
    for arrival in &history.arrivals {
        let Some(node) = &arrival.node else { continue };
        let turn = turns.iter().rev().find(|(time, _)| *time < arrival.time);
        counts.stale += u64::from(turn.is_some_and(|(_, id)| id != node));
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transaction;
    use crate::chaos::Arrival;

    #[test]
    fn lost_twice_stale_and_counted() {
        let create =
            |path: &str, data: &str| Change::Create { path: path.into(), data: data.into(), ephemeral: true };
        let at = |time, session, change| Transaction { zxid: time, session, time, changes: vec![change] };
        let arrival = |time, node: &str, mean, kept| Arrival {
            key: None,
            mean: Some(mean),
            time,
            kept,
            node: Some(node.into()),
        };
        let history = History {
            transactions: vec![
                at(1, 1, create("/election/a__lock__0000000000", "1")),
                at(2, 2, create("/election/b__lock__0000000001", "2")),
                at(3, 1, create("/mediciones/1", "7")),
                at(4, 1, create("/counter", "1")),
                at(5, 1, create("/counter", "2")),
                at(50, 1, Change::Closed),
            ],
            arrivals: vec![
                arrival(20, "1", 7.0, true),
                arrival(21, "1", 7.0, true),
                arrival(30, "1", 8.0, false),
                arrival(60, "1", 9.0, true),
                arrival(61, "2", 10.0, true),
            ],
            ..History::default()
        };
        let said = ["elected", "average 7.0 of 1", "sent 200", "average 8.0 of 1", "average 9.0 of 1"];
        let counts = count(&history, said.into_iter());
        let expected =
            KazooCounts { averages: 3, lost: 1, twice: 1, stale: 1, measurements: 1, counted: 2, ended: 0 };
        assert_eq!(counts, expected);
    }
}

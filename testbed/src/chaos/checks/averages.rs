//! Checks whether a mean can be the mean of published measurements: the data of each node in ZooKeeper while the leader
//! read the fleet, and whether any choice of these gives the committed average.

use std::collections::BTreeMap;

/// Maximum number of choices that are tried.
const MAX_STEPS: u32 = 3_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Average {
    pub(crate) mean: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) count: usize,
}

/// Data of a node's znode, from one transaction on.
#[derive(Clone, Debug)]
struct Stand {
    since: i64,
    /// Time of that transaction by ZooKeeper's clock, in milliseconds since 1970.
    time: i64,
    /// The values, with the zxid at which they were published for the first time. A node has one value, a SenML pack
    /// may have more.
    value: Option<(Vec<f64>, i64)>,
}

/// History of the znodes of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Fleet(BTreeMap<String, Vec<Stand>>);

/// Window in which a leader has read the fleet: after one transaction and before another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The znodes were read after this transaction.
    pub(crate) after: i64,
    /// This transaction committed the average.
    pub(crate) before: i64,
    /// Nodes that joined after this transaction may be missing, because the list of nodes is watched and updated a
    /// little later.
    pub(crate) listed: i64,
    /// Nodes that joined after this time may be missing as well.
    pub(crate) joined: i64,
    /// Measurements written before this time may be too old to count.
    pub(crate) stale: i64,
    /// In lock-step, the generation, and the time: measurements of this generation published by then must have been
    /// read.
    pub(crate) generation: Option<(i64, i64)>,
}

/// Result of the search for the measurements behind an average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Some choice of measurements has this average.
    Explained,
    /// No choice of measurements has this average.
    Wrong,
    TooMany,
}

impl Fleet {
    /// Records that the node's znode holds this value from this transaction on, or does not exist.
    pub(crate) fn note(&mut self, node: &str, (since, time): (i64, i64), value: Option<(Vec<f64>, i64)>) {
        self.0.entry(node.to_owned()).or_default().push(Stand { since, time, value });
    }

    /// Returns the possible readings of each node; `None` means that the node is missing.
    pub(crate) fn readings(&self, window: Window) -> Vec<(&str, Vec<Option<Vec<f64>>>)> {
        self.0.iter().map(|(node, stands)| (node.as_str(), readings(stands, window))).collect()
    }

    /// Checks whether there is one reading of each node that gives exactly this average. The sum is in the order of the
    /// nodes' names, as the leader computes it.
    pub(crate) fn explain(&self, average: Average, window: Window) -> Found {
        let readings: Vec<Vec<Option<Vec<f64>>>> =
            self.readings(window).into_iter().map(|(_, readings)| readings).collect();
        let mut steps = MAX_STEPS;
        match search(&readings, average, &mut Vec::new(), &mut steps) {
            Some(true) => Found::Explained,
            Some(false) => Found::Wrong,
            None => Found::TooMany,
        }
    }
}

fn readings(stands: &[Stand], window: Window) -> Vec<Option<Vec<f64>>> {
    let mut readings = Vec::new();
    let nobody = Stand { since: i64::MIN, time: i64::MIN, value: None };
    let all: Vec<&Stand> = [&nobody].into_iter().chain(stands).collect();
    let next = |index: usize| all.get(index + 1).map_or((i64::MAX, i64::MAX), |next| (next.since, next.time));
    // A node that has measured in this generation early enough cannot have been read with an older measurement.
    let settled = window.generation.and_then(|(generation, seen)| {
        all.iter().position(|stand| {
            let measured = stand.value.as_ref().is_some_and(|(_, measured)| *measured > generation);
            measured && stand.since < window.before && stand.time <= seen
        })
    });
    for (index, stand) in all.iter().enumerate() {
        let (until, until_time) = next(index);
        let overlaps = |after: i64| stand.since < window.before && until > after;
        let mut may_be = |reading| {
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        };
        match &stand.value {
            Some(_) if settled.is_some_and(|settled| index < settled) => {}
            Some((values, _)) if overlaps(window.after) => {
                may_be(Some(values.clone()));
                // In lock-step, a node that has not measured yet may be left out, or read with its old measurement.
                if stand.time < window.stale || (window.generation.is_some() && settled.is_none()) {
                    may_be(None);
                }
            }
            None if overlaps(window.listed) => may_be(None),
            None if stand.since < window.before && until_time >= window.joined => may_be(None),
            _ => {}
        }
    }
    readings
}

/// Searches for a choice of one reading of each node; `chosen` are the values of the nodes before.
fn search(
    readings: &[Vec<Option<Vec<f64>>>],
    average: Average,
    chosen: &mut Vec<f64>,
    steps: &mut u32,
) -> Option<bool> {
    *steps = steps.checked_sub(1)?;
    let Some((first, rest)) = readings.split_first() else {
        return Some(is_average_of(average, chosen));
    };
    let most: usize =
        readings.iter().map(|node| node.iter().flatten().map(Vec::len).max().unwrap_or(0)).sum();
    if chosen.len() > average.count || chosen.len() + most < average.count {
        return Some(false);
    }
    for reading in first {
        let values = reading.as_deref().unwrap_or_default();
        if values.iter().any(|value| *value < average.min || *value > average.max) {
            continue;
        }
        let before = chosen.len();
        chosen.extend_from_slice(values);
        let found = search(rest, average, chosen, steps)?;
        chosen.truncate(before);
        if found {
            return Some(true);
        }
    }
    Some(false)
}

#[expect(clippy::float_cmp, reason = "exactly that, or it is another number")]
fn is_average_of(average: Average, values: &[f64]) -> bool {
    let count = values.len() as f64;
    let mut mean = values.iter().sum::<f64>() / count;
    if !mean.is_finite() {
        // If the sum exceeds the largest number, the mean is computed by parts.
        mean = values.iter().map(|value| value / count).sum();
    }
    let has = |extreme: f64| values.contains(&extreme);
    values.len() == average.count && has(average.min) && has(average.max) && mean == average.mean
}

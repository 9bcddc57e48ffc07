//! Whether a mean is the mean of what was published: what each node had in ZooKeeper while the leader read the fleet, and
//! whether any choice of that gives the average that was committed.

use std::collections::BTreeMap;

/// More choices than these are not tried.
const MOST_STEPS: u32 = 3_000_000;

/// An average, as it was committed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Average {
    pub(super) mean: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) count: usize,
}

/// What a node had in its znode from a moment on.
#[derive(Clone, Debug)]
struct Stand {
    since: i64,
    /// The same by ZooKeeper's clock, in milliseconds since 1970.
    time: i64,
    /// With the zxid at which these values were published for the first time; a node has one, a SenML pack may have more.
    value: Option<(Vec<f64>, i64)>,
}

/// What every node had in its znode, all the time.
#[derive(Debug, Default)]
pub(super) struct Fleet(BTreeMap<String, Vec<Stand>>);

/// When a leader has read the fleet: after one transaction and before another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The znodes were read after this transaction.
    pub(super) after: i64,
    /// It was committed by this one.
    pub(super) before: i64,
    /// Who came after this one may be missing: the list is watched, and comes a little later.
    pub(super) listed: i64,
    /// And so may be who came after this time.
    pub(super) joined: i64,
    /// What was written before this time may be too old to count.
    pub(super) stale: i64,
    /// In lock-step, the generation, and the time until which what was measured in it must have been seen.
    pub(super) generation: Option<(i64, i64)>,
}

/// What comes of looking for the measurements behind an average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// These it may be the average of.
    Explained,
    /// It is not the average of anything that was there.
    Wrong,
    /// There are too many possibilities.
    TooMany,
}

impl Fleet {
    /// From this transaction on, the node's znode holds that, or is not there.
    pub(super) fn note(&mut self, node: &str, (since, time): (i64, i64), value: Option<(Vec<f64>, i64)>) {
        self.0.entry(node.to_owned()).or_default().push(Stand { since, time, value });
    }

    /// What each node may have been read as; `None` is missing.
    pub(super) fn readings(&self, window: Window) -> Vec<(&str, Vec<Option<Vec<f64>>>)> {
        self.0.iter().map(|(node, stands)| (node.as_str(), readings(stands, window))).collect()
    }

    /// Whether there is one reading of each node that gives exactly this average. Summed up in the order of their names, as
    /// the leader does.
    pub(super) fn explain(&self, average: Average, window: Window) -> Found {
        let readings: Vec<Vec<Option<Vec<f64>>>> =
            self.readings(window).into_iter().map(|(_, readings)| readings).collect();
        let mut steps = MOST_STEPS;
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
    // Who has measured in this generation, early enough, has measured nothing else.
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
                // In lock-step, one that has not measured yet may be left out, or be taken for what it was.
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

/// Looks for a choice of one reading of each node; `chosen` are the values of those before.
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
        // A sum beyond the largest number: by parts.
        mean = values.iter().map(|value| value / count).sum();
    }
    let has = |extreme: f64| values.contains(&extreme);
    values.len() == average.count && has(average.min) && has(average.max) && mean == average.mean
}

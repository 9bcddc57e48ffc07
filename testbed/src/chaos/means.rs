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
#[derive(Clone, Copy, Debug)]
struct Stand {
    since: i64,
    /// With the zxid at which this value was published for the first time.
    value: Option<(f64, i64)>,
}

/// What every node had in its znode, all the time.
#[derive(Debug, Default)]
pub(super) struct Fleet(BTreeMap<String, Vec<Stand>>);

/// When a leader has read the fleet: after one transaction and before another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Its znodes were read after this.
    pub(super) after: i64,
    /// Its list may be so old: who came since then may be missing.
    pub(super) listed: i64,
    /// It was committed by this.
    pub(super) before: i64,
    /// Only what was measured since then counts: the generation, in lock-step.
    pub(super) measured: Option<i64>,
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
    pub(super) fn note(&mut self, node: &str, since: i64, value: Option<(f64, i64)>) {
        self.0.entry(node.to_owned()).or_default().push(Stand { since, value });
    }

    /// What each node may have been read as; `None` is missing.
    pub(super) fn readings(&self, window: Window) -> Vec<(&str, Vec<Option<f64>>)> {
        let of = |stands: &Vec<Stand>| {
            let mut readings = Vec::new();
            let mut missing = false;
            // Before its first publication, and between two, it may have been missed.
            let until = stands.iter().skip(1).map(|stand| stand.since).chain([i64::MAX]);
            missing |= stands.first().is_none_or(|first| first.since > window.listed);
            for (stand, until) in stands.iter().zip(until) {
                let overlaps = |after: i64| stand.since < window.before && until > after;
                match stand.value {
                    Some((value, measured)) if window.measured.is_none_or(|since| measured > since) => {
                        if overlaps(window.after) && !readings.contains(&Some(value)) {
                            readings.push(Some(value));
                        }
                    }
                    // In lock-step, one that has not measured yet.
                    Some(_) => missing |= overlaps(window.after),
                    None => missing |= overlaps(window.listed),
                }
            }
            if missing {
                readings.push(None);
            }
            readings
        };
        self.0.iter().map(|(node, stands)| (node.as_str(), of(stands))).collect()
    }

    /// Whether there is one reading of each node that gives exactly this average. Summed up in the order of their names, as
    /// the leader does.
    pub(super) fn explain(&self, average: Average, window: Window) -> Found {
        let readings: Vec<Vec<Option<f64>>> =
            self.readings(window).into_iter().map(|(_, readings)| readings).collect();
        let mut steps = MOST_STEPS;
        match search(&readings, average, Partial::default(), &mut steps) {
            Some(true) => Found::Explained,
            Some(false) => Found::Wrong,
            None => Found::TooMany,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Partial {
    sum: f64,
    count: usize,
    has_min: bool,
    has_max: bool,
}

#[expect(clippy::float_cmp, reason = "exactly that, or it is another number")]
fn search(readings: &[Vec<Option<f64>>], average: Average, so_far: Partial, steps: &mut u32) -> Option<bool> {
    *steps = steps.checked_sub(1)?;
    let Some((first, rest)) = readings.split_first() else {
        let whole = so_far.has_min && so_far.has_max && so_far.count == average.count;
        return Some(whole && so_far.sum / so_far.count as f64 == average.mean);
    };
    if so_far.count > average.count || so_far.count + readings.len() < average.count {
        return Some(false);
    }
    for reading in first {
        let next = match *reading {
            None => so_far,
            Some(value) if value < average.min || value > average.max => continue,
            Some(value) => Partial {
                sum: so_far.sum + value,
                count: so_far.count + 1,
                has_min: so_far.has_min || value == average.min,
                has_max: so_far.has_max || value == average.max,
            },
        };
        if search(rest, average, next, steps)? {
            return Some(true);
        }
    }
    Some(false)
}

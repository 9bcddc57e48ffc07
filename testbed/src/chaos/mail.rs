//! Compares the requests to the API with the committed reports.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::evidence::Arrival;
use super::means::Average;
use super::verdict::{Kind, Verdict};

/// Tolerance in milliseconds: clocks are read in whole milliseconds.
const TICK: i64 = 1;

/// An average that must be sent.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) cycle: u64,
    pub(super) average: Average,
    /// Time at which the fleet was read, in milliseconds since 1970, if the report contains it.
    pub(super) time: Option<i64>,
    /// Time of the commit, in milliseconds since 1970.
    pub(super) committed: i64,
    /// Time at which its znode was deleted.
    pub(super) deleted: Option<i64>,
    /// True if it may still be on its way.
    pub(super) is_young: bool,
}

/// Parses a key: `{epoch}-{cycle}[-{unit}]`.
fn numbers(key: &str) -> Option<(i64, u64)> {
    let mut parts = key.splitn(3, '-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Checks the requests; `letters` are the committed averages, by key.
pub(super) fn look(arrivals: &[Arrival], letters: &BTreeMap<String, Letter>, verdict: &mut Verdict) {
    // First kept request of each key: the one that counts.
    let mut kept: BTreeMap<&str, &Arrival> = BTreeMap::new();
    // Lowest kept cycle of each epoch.
    let mut first_cycles: BTreeMap<i64, u64> = BTreeMap::new();
    let mut newest = 0;
    for arrival in arrivals {
        verdict.figures.requests += 1;
        let Some(key) = arrival.key.as_deref() else {
            verdict.add(Kind::Unkeyed, format!("a request without a key: {arrival:?}"));
            continue;
        };
        let Some((epoch, cycle)) = numbers(key) else {
            verdict.add(Kind::Unkeyed, format!("a request with the key {key}"));
            continue;
        };
        match letters.get(key) {
            None => {
                verdict.add(Kind::NotCommitted, format!("{key} was sent and never committed: {arrival:?}"))
            }
            Some(letter) => {
                if arrival.mean.map(f64::to_bits) != Some(letter.average.mean.to_bits()) {
                    verdict.add(
                        Kind::Altered,
                        format!("{key} brought {:?}, committed was {}", arrival.mean, letter.average.mean),
                    );
                }
                if arrival.time + TICK < letter.committed {
                    verdict.add(
                        Kind::Early,
                        format!("{key} came {} ms before it was committed", letter.committed - arrival.time),
                    );
                }
            }
        }
        let later = first_cycles
            .range((Bound::Excluded(epoch), Bound::Unbounded))
            .find(|(_, first)| **first <= cycle);
        if let Some((later, first)) = later {
            verdict.add(Kind::Deposed, format!("{key} came when epoch {later} had begun with cycle {first}"));
        }
        if !arrival.kept {
            verdict.figures.turned_away += 1;
            continue;
        }
        if kept.contains_key(key) {
            verdict.figures.repeats += 1;
            continue;
        }
        kept.insert(key, arrival);
        let first = first_cycles.entry(epoch).or_insert(cycle);
        *first = (*first).min(cycle);
        if cycle < newest {
            verdict.figures.out_of_order += 1;
        }
        newest = newest.max(cycle);
    }
    for (key, letter) in letters {
        let Some(arrival) = kept.get(key.as_str()) else {
            if letter.deleted.is_some() || !letter.is_young {
                verdict.add(Kind::Lost, format!("{key} (cycle {}) never arrived: {letter:?}", letter.cycle));
            }
            continue;
        };
        verdict.figures.longest_delay = verdict.figures.longest_delay.max(arrival.time - letter.committed);
        if let Some(deleted) = letter.deleted.filter(|deleted| *deleted + TICK < arrival.time) {
            verdict.add(
                Kind::TooSoon,
                format!("{key} was taken from the outbox {} ms before it arrived", arrival.time - deleted),
            );
        }
    }
}

//! Compares the requests to the API with the committed reports.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::averages::Average;
use crate::chaos::check_report::{CheckReport, Violation};
use crate::chaos::history::Arrival;

/// Tolerance in milliseconds: clocks are read in whole milliseconds.
const TICK: i64 = 1;

/// An average that must be sent.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedReport {
    pub(crate) cycle: u64,
    pub(crate) average: Average,
    /// Time at which the fleet was read, in milliseconds since 1970, if the report contains it.
    pub(crate) time: Option<i64>,
    /// Time of the commit, in milliseconds since 1970.
    pub(crate) committed: i64,
    /// Time at which its znode was deleted.
    pub(crate) deleted: Option<i64>,
    /// True if it may still be on its way.
    pub(crate) is_young: bool,
}

/// Parses a key: `{epoch}-{cycle}[-{unit}]`.
fn numbers(key: &str) -> Option<(i64, u64)> {
    let mut parts = key.splitn(3, '-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Checks the requests; `expected` are the committed averages, by key.
pub(crate) fn check(
    arrivals: &[Arrival],
    expected: &BTreeMap<String, ExpectedReport>,
    findings: &mut CheckReport,
) {
    // First kept request of each key: the one that counts.
    let mut kept: BTreeMap<&str, &Arrival> = BTreeMap::new();
    // Lowest kept cycle of each epoch.
    let mut first_cycles: BTreeMap<i64, u64> = BTreeMap::new();
    let mut newest = 0;
    for arrival in arrivals {
        findings.counts.requests += 1;
        let Some(key) = arrival.key.as_deref() else {
            findings.add(Violation::Unkeyed, format!("a request without a key: {arrival:?}"));
            continue;
        };
        let Some((epoch, cycle)) = numbers(key) else {
            findings.add(Violation::Unkeyed, format!("a request with the key {key}"));
            continue;
        };
        match expected.get(key) {
            None => findings
                .add(Violation::NotCommitted, format!("{key} was sent and never committed: {arrival:?}")),
            Some(expected) => compare(key, arrival, expected, findings),
        }
        if let Some((later, first)) = deposed_by(&first_cycles, epoch, cycle) {
            let text = format!("{key} came when epoch {later} had begun with cycle {first}");
            findings.add(Violation::Deposed, text);
        }
        if !arrival.kept {
            findings.counts.turned_away += 1;
            continue;
        }
        if kept.contains_key(key) {
            findings.counts.repeats += 1;
            continue;
        }
        kept.insert(key, arrival);
        let first = first_cycles.entry(epoch).or_insert(cycle);
        *first = (*first).min(cycle);
        if cycle < newest {
            findings.counts.out_of_order += 1;
        }
        newest = newest.max(cycle);
    }
    for (key, expected) in expected {
        let Some(arrival) = kept.get(key.as_str()) else {
            if expected.deleted.is_some() || !expected.is_young {
                findings.add(
                    Violation::Lost,
                    format!("{key} (cycle {}) never arrived: {expected:?}", expected.cycle),
                );
            }
            continue;
        };
        findings.counts.longest_delay = findings.counts.longest_delay.max(arrival.time - expected.committed);
        if let Some(deleted) = expected.deleted.filter(|deleted| *deleted + TICK < arrival.time) {
            findings.add(
                Violation::TooSoon,
                format!("{key} was taken from the outbox {} ms before it arrived", arrival.time - deleted),
            );
        }
    }
}

/// Checks a request against the committed report.
fn compare(key: &str, arrival: &Arrival, expected: &ExpectedReport, findings: &mut CheckReport) {
    let mean = expected.average.mean;
    if arrival.mean.map(f64::to_bits) != Some(mean.to_bits()) {
        let text = format!("{key} brought {:?}, committed was {mean}", arrival.mean);
        findings.add(Violation::Altered, text);
    }
    if arrival.time + TICK < expected.committed {
        let early = expected.committed - arrival.time;
        findings.add(Violation::Early, format!("{key} came {early} ms before it was committed"));
    }
}

/// Returns a later epoch, with its lowest cycle, that began at or below this cycle.
pub(crate) fn deposed_by(first_cycles: &BTreeMap<i64, u64>, epoch: i64, cycle: u64) -> Option<(i64, u64)> {
    let mut later = first_cycles.range((Bound::Excluded(epoch), Bound::Unbounded));
    later.find(|(_, first)| **first <= cycle).map(|(later, first)| (*later, *first))
}

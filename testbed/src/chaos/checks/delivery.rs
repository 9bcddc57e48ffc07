//! Compares the requests to the API with the committed reports.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::averages::Average;
use crate::chaos::check_report::{CheckReport, ViolationKind};
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
            findings.add(ViolationKind::Unkeyed, format!("a request without a key: {arrival:?}"));
            continue;
        };
        let Some((epoch, cycle)) = numbers(key) else {
            findings.add(ViolationKind::Unkeyed, format!("a request with the key {key}"));
            continue;
        };
        match expected.get(key) {
            None => findings
                .add(ViolationKind::NotCommitted, format!("{key} was sent and never committed: {arrival:?}")),
            Some(expected) => {
                if arrival.mean.map(f64::to_bits) != Some(expected.average.mean.to_bits()) {
                    findings.add(
                        ViolationKind::Altered,
                        format!("{key} brought {:?}, committed was {}", arrival.mean, expected.average.mean),
                    );
                }
                if arrival.time + TICK < expected.committed {
                    findings.add(
                        ViolationKind::Early,
                        format!(
                            "{key} came {} ms before it was committed",
                            expected.committed - arrival.time
                        ),
                    );
                }
            }
        }
        let later = first_cycles
            .range((Bound::Excluded(epoch), Bound::Unbounded))
            .find(|(_, first)| **first <= cycle);
        if let Some((later, first)) = later {
            findings.add(
                ViolationKind::Deposed,
                format!("{key} came when epoch {later} had begun with cycle {first}"),
            );
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
                    ViolationKind::Lost,
                    format!("{key} (cycle {}) never arrived: {expected:?}", expected.cycle),
                );
            }
            continue;
        };
        findings.counts.longest_delay = findings.counts.longest_delay.max(arrival.time - expected.committed);
        if let Some(deleted) = expected.deleted.filter(|deleted| *deleted + TICK < arrival.time) {
            findings.add(
                ViolationKind::TooSoon,
                format!("{key} was taken from the outbox {} ms before it arrived", arrival.time - deleted),
            );
        }
    }
}

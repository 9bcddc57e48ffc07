//! Compares the reports that a collector stores with the committed ones. Pure.
//!
//! [`mail`](super::delivery) has already checked keys, means and times, as if each report were a request that was kept.

use std::collections::{BTreeMap, BTreeSet};

use super::delivery::{ExpectedReport, deposed_by};
use crate::chaos::check_report::{CheckReport, Violation};
use crate::collector::StoredReport;

/// Tolerance in milliseconds: the time is sent in nanoseconds and stored in microseconds, and both are read in
/// milliseconds.
const TICK: i64 = 1;

/// Checks the reports that are `stored`; `expected` are the committed averages, by key. If they were not `posted`, the
/// collector knows only the mean. Cycles up to `settled` must be stored.
pub(crate) fn check(
    stored: &[StoredReport],
    expected: &BTreeMap<String, ExpectedReport>,
    posted: bool,
    settled: u64,
    findings: &mut CheckReport,
) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut first_cycles: BTreeMap<i64, u64> = BTreeMap::new();
    for report in stored {
        let Some(key) = report.key() else { continue };
        if let Some(expected) = expected.get(&key) {
            compare(&key, report, expected, posted, findings);
        }
        if let Some((epoch, cycle)) = report.epoch.zip(report.cycle) {
            let first = first_cycles.entry(epoch).or_insert(cycle);
            *first = (*first).min(cycle);
        }
        if known.contains(&key) {
            findings.add(Violation::Twice, format!("{key} is stored twice: {report:?}"));
        }
        known.insert(key);
    }
    // The order of arrival does not matter.
    for (epoch, cycle) in stored.iter().filter_map(|report| report.epoch.zip(report.cycle)) {
        if let Some((later, first)) = deposed_by(&first_cycles, epoch, cycle) {
            let text = format!("{epoch}-{cycle} is stored, and epoch {later} begins with cycle {first}");
            findings.add(Violation::Deposed, text);
        }
    }
    let cycles: BTreeSet<u64> = stored.iter().filter_map(|report| report.cycle).collect();
    let last = cycles.last().copied().unwrap_or(0).min(settled);
    let mut next = 1;
    for cycle in cycles.range(1..).copied().filter(|cycle| *cycle <= last).chain([last.saturating_add(1)]) {
        // A single violation for each gap, because cycles may jump by any number.
        if cycle > next {
            let missing = format!("cycles {next} to {} are missing among those that are stored", cycle - 1);
            findings.add(Violation::Gap, missing);
        }
        next = cycle.saturating_add(1);
    }
}

fn compare(
    key: &str,
    report: &StoredReport,
    expected: &ExpectedReport,
    posted: bool,
    findings: &mut CheckReport,
) {
    let (min, max, count) = (report.min, report.max, report.count);
    let told = (min.map(f64::to_bits), max.map(f64::to_bits), count);
    let average = &expected.average;
    let right = match posted {
        false => told == (None, None, None),
        true => {
            let time = expected.time.is_none_or(|time| (time - report.time).abs() <= TICK);
            told == (Some(average.min.to_bits()), Some(average.max.to_bits()), Some(average.count)) && time
        }
    };
    if !right {
        let text = format!("{key} is stored as {report:?}, committed was {average:?} at {:?}", expected.time);
        findings.add(Violation::Altered, text);
    }
}

//! Compares the reports that a collector stores with the committed ones. Pure.
//!
//! [`mail`](super::mail) has already checked keys, means and times, as if each report were a request that was kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::mail::Letter;
use super::verdict::{Kind, Verdict};
use crate::collector::Held;

/// Tolerance in milliseconds: the time is sent in nanoseconds and stored in microseconds, and both are read in
/// milliseconds.
const TICK: i64 = 1;

/// Checks the reports that are `held`; `letters` are the committed averages, by key. If they were not `posted`, the
/// collector knows only the mean. Cycles up to `settled` must be stored.
pub(super) fn look(
    held: &[Held],
    letters: &BTreeMap<String, Letter>,
    posted: bool,
    settled: u64,
    verdict: &mut Verdict,
) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut first_cycles: BTreeMap<i64, u64> = BTreeMap::new();
    for report in held {
        let Some(key) = report.key() else { continue };
        if let Some(letter) = letters.get(&key) {
            compare(&key, report, letter, posted, verdict);
        }
        if let Some((epoch, cycle)) = report.epoch.zip(report.cycle) {
            let first = first_cycles.entry(epoch).or_insert(cycle);
            *first = (*first).min(cycle);
        }
        if known.contains(&key) {
            verdict.add(Kind::Twice, format!("{key} is held twice: {report:?}"));
        }
        known.insert(key);
    }
    // The order of arrival does not matter.
    for (epoch, cycle) in held.iter().filter_map(|report| report.epoch.zip(report.cycle)) {
        let later = first_cycles
            .range((Bound::Excluded(epoch), Bound::Unbounded))
            .find(|(_, first)| **first <= cycle);
        if let Some((later, first)) = later {
            let text = format!("{epoch}-{cycle} is held, and epoch {later} begins with cycle {first}");
            verdict.add(Kind::Deposed, text);
        }
    }
    let cycles: BTreeSet<u64> = held.iter().filter_map(|report| report.cycle).collect();
    let last = cycles.last().copied().unwrap_or(0).min(settled);
    let mut next = 1;
    for cycle in cycles.range(1..).copied().filter(|cycle| *cycle <= last).chain([last.saturating_add(1)]) {
        // A single violation for each gap, because cycles may jump by any number.
        if cycle > next {
            let missing = format!("cycles {next} to {} are missing among those that are held", cycle - 1);
            verdict.add(Kind::Gap, missing);
        }
        next = cycle.saturating_add(1);
    }
}

fn compare(key: &str, report: &Held, letter: &Letter, posted: bool, verdict: &mut Verdict) {
    let (min, max, count) = (report.min, report.max, report.count);
    let told = (min.map(f64::to_bits), max.map(f64::to_bits), count);
    let average = &letter.average;
    let right = match posted {
        false => told == (None, None, None),
        true => {
            let time = letter.time.is_none_or(|time| (time - report.time).abs() <= TICK);
            told == (Some(average.min.to_bits()), Some(average.max.to_bits()), Some(average.count)) && time
        }
    };
    if !right {
        let text = format!("{key} is held as {report:?}, committed was {average:?} at {:?}", letter.time);
        verdict.add(Kind::Altered, text);
    }
}

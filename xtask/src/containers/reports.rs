//! Reports in the collector, read from outside.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use atalaya_testbed::{get, stored_reports};
use serde_json::Value;

use super::compose::{TIMEOUT, until};

pub(super) const COLLECTOR: &str = "127.0.0.1:8000";
pub(super) const PROMETHEUS: &str = "127.0.0.1:9090";

/// Returns the JSON at a published port.
pub(super) fn get_json(address: &str, path: &str) -> anyhow::Result<Value> {
    let answer = get(address, path, &[]).map_err(anyhow::Error::msg)?;
    ensure!(answer.status == 200, "{path} was answered with {}: {}", answer.status, answer.body);
    serde_json::from_str(&answer.body).with_context(|| format!("{path} is not JSON"))
}

fn cycles() -> anyhow::Result<Vec<u64>> {
    let reports = stored_reports(COLLECTOR, None).map_err(anyhow::Error::msg)?;
    Ok(reports.iter().filter_map(|report| report.cycle).collect())
}

/// Returns the highest cycle that is stored, or 0 if there is none.
pub(super) fn newest() -> anyhow::Result<u64> {
    Ok(cycles()?.into_iter().max().unwrap_or(0))
}

/// Waits until the newest stored cycle has increased by `more`. Returns that cycle.
pub(super) fn wait_for_more(more: u64) -> anyhow::Result<u64> {
    let before = newest()?;
    until(&format!("reports after cycle {before}"), TIMEOUT, || {
        let now = newest()?;
        ensure!(now >= before + more, "the newest cycle is {now}");
        Ok(Some(now))
    })
}

/// Checks that every cycle from 1 to the newest is stored exactly once. Returns the number of cycles.
pub(super) fn complete() -> anyhow::Result<u64> {
    each_once(&cycles()?)
}

/// Returns the newest cycle, if the cycles are 1, 2, 3, … in any order and each of them occurs once.
fn each_once(cycles: &[u64]) -> anyhow::Result<u64> {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for cycle in cycles {
        *times.entry(*cycle).or_default() += 1;
    }
    let newest = times.keys().next_back().copied().unwrap_or(0);
    let missing: Vec<u64> = (1..=newest).filter(|cycle| !times.contains_key(cycle)).take(20).collect();
    let twice: Vec<&u64> = times.iter().filter(|(_, times)| **times > 1).map(|(cycle, _)| cycle).collect();
    ensure!(newest > 0, "nothing is stored");
    ensure!(missing.is_empty(), "of {newest} cycles these are missing: {missing:?}");
    ensure!(twice.is_empty(), "these cycles are stored more than once: {twice:?}");
    ensure!(!times.contains_key(&0), "there is a cycle 0");
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_and_repetition_are_errors() {
        assert_eq!(each_once(&[1, 2, 3]).unwrap(), 3);
        assert_eq!(each_once(&[2, 1]).unwrap(), 2);
        for (cycles, text) in [
            (&[][..], "nothing"),
            (&[2, 3], "missing: [1]"),
            (&[1, 2, 5], "missing: [3, 4]"),
            (&[1, 2, 2], "more than once: [2]"),
            (&[0, 1], "cycle 0"),
        ] {
            let error = each_once(cycles).unwrap_err().to_string();
            assert!(error.contains(text), "{cycles:?}: {error}");
        }
    }
}

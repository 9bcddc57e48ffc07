//! Reports in the collector, read from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::wait::until;

/// Client of the collector, at its published port.
pub(super) struct Reports {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

const ADDRESS: &str = "http://127.0.0.1:8000";

impl Reports {
    pub(super) fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // The collector is killed repeatedly, and a kept connection would reveal that too late.
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self { runtime, client })
    }

    /// Returns the JSON at an address of this machine.
    pub(super) fn get(&self, url: &str) -> anyhow::Result<Value> {
        self.runtime.block_on(async {
            let answer = self.client.get(url).send().await?.error_for_status()?;
            Ok(answer.json().await?)
        })
    }

    /// Returns the HTTP status that an address of this machine answers with.
    pub(super) fn status(&self, url: &str) -> anyhow::Result<u16> {
        self.runtime.block_on(async { Ok(self.client.get(url).send().await?.status().as_u16()) })
    }

    /// Returns all stored reports in chronological order.
    pub(super) fn all(&self) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let more = cursor.map(|cursor: String| format!("&cursor={cursor}")).unwrap_or_default();
            let page = self.get(&format!("{ADDRESS}/api/v1/reports?order=asc{more}"))?;
            all.extend(page["reports"].as_array().context("no reports in the answer")?.iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(all),
            }
        }
    }

    /// Returns the highest cycle that is stored, or 0 if there is none.
    pub(super) fn newest(&self) -> anyhow::Result<u64> {
        Ok(self.all()?.iter().filter_map(|report| report["cycle"].as_u64()).max().unwrap_or(0))
    }

    /// Waits until the newest stored cycle has increased by `more`. Returns that cycle.
    pub(super) fn go_on(&self, more: u64, deadline: Duration) -> anyhow::Result<u64> {
        let before = self.newest()?;
        until(&format!("reports go on after cycle {before}"), deadline, || {
            let now = self.newest()?;
            ensure!(now >= before + more, "the newest is {now}");
            Ok(Some(now))
        })
    }

    /// Checks that every cycle from 1 to the newest is stored exactly once. Returns the number of cycles.
    pub(super) fn complete(&self) -> anyhow::Result<u64> {
        let cycles: Vec<u64> = self.all()?.iter().filter_map(|report| report["cycle"].as_u64()).collect();
        each_once(&cycles)
    }
}

/// Returns the newest cycle, if the cycles are 1, 2, 3, … in any order and each of them occurs once.
fn each_once(cycles: &[u64]) -> anyhow::Result<u64> {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for cycle in cycles {
        *times.entry(*cycle).or_default() += 1;
    }
    let newest = times.keys().next_back().copied().unwrap_or(0);
    let missing: Vec<u64> = (1..=newest).filter(|cycle| !times.contains_key(cycle)).take(20).collect();
    let twice: Vec<u64> =
        times.iter().filter(|(_, times)| **times > 1).map(|(cycle, _)| *cycle).take(20).collect();
    ensure!(newest > 0, "nothing is kept");
    ensure!(missing.is_empty(), "of {newest} cycles these are missing: {missing:?}");
    ensure!(twice.is_empty(), "these cycles are kept more than once: {twice:?}");
    ensure!(!times.contains_key(&0), "there is a cycle 0");
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_and_a_repetition_are_told() {
        assert_eq!(each_once(&[1, 2, 3]).unwrap(), 3);
        assert_eq!(each_once(&[2, 1]).unwrap(), 2);
        for (cycles, says) in [
            (&[][..], "nothing"),
            (&[2, 3], "missing: [1]"),
            (&[1, 2, 5], "missing: [3, 4]"),
            (&[1, 2, 2], "more than once: [2]"),
            (&[0, 1], "cycle 0"),
        ] {
            let error = each_once(cycles).unwrap_err().to_string();
            assert!(error.contains(says), "{cycles:?}: {error}");
        }
    }
}

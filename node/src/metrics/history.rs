//! Metrics of the history: samples that wait for the collector, and what became of the others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;

use crate::metrics::lock;

/// Recorder of the history. It has no values while there is no history.
#[derive(Clone, Debug, Default)]
pub struct HistoryMetrics(Arc<Mutex<Option<HistoryStats>>>);

/// Reason for which a sample was dropped before it was sent.
#[cfg_attr(not(feature = "history"), expect(dead_code, reason = "recorded by the history"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    Age,
    Size,
    /// The file could not be written, and the buffer in memory was full.
    Memory,
    /// The file was damaged.
    Damage,
}

impl DropReason {
    /// Labels of the variants.
    pub(crate) const LABELS: [&str; 4] = ["age", "size", "memory", "damage"];
}

#[derive(Clone, Debug, Default)]
pub(crate) struct HistoryStats {
    pub(crate) samples: u64,
    /// In bytes.
    pub(crate) size: u64,
    /// Age of the oldest sample, and when it had that age.
    oldest: (Duration, BootInstant),
    /// By [`DropReason`].
    pub(crate) dropped: [u64; 4],
    pub(crate) delivered: u64,
    pub(crate) refused: u64,
    /// Number of writes and syncs of the file that failed.
    pub(crate) sync_failures: u64,
    pub(crate) file_problem: Option<String>,
    pub(crate) delivery_problem: Option<String>,
}

#[cfg_attr(not(feature = "history"), expect(dead_code, reason = "used by the history"))]
impl HistoryMetrics {
    pub(crate) fn update<T>(&self, update: impl FnOnce(&mut HistoryStats) -> T) -> T {
        update(lock(&self.0).get_or_insert_default())
    }

    pub(crate) fn drop_samples(&self, reason: DropReason, samples: u64) {
        self.update(|stats| stats.dropped[reason as usize] += samples);
    }
}

impl HistoryMetrics {
    pub(crate) fn stats(&self) -> Option<HistoryStats> {
        lock(&self.0).clone()
    }
}

impl HistoryStats {
    #[cfg_attr(not(feature = "history"), expect(dead_code, reason = "used by the history"))]
    pub(crate) fn set_oldest_age(&mut self, age: Duration) {
        self.oldest = (age, BootInstant::now());
    }

    /// Returns the age of the oldest sample that waits, or zero.
    pub(crate) fn oldest_age(&self, now: BootInstant) -> Duration {
        let (age, at) = self.oldest;
        if self.samples == 0 { Duration::ZERO } else { age + now.since(at) }
    }

    /// Returns the problems of the history, one per line.
    pub(crate) fn problems(&self) -> Vec<String> {
        let file = self.file_problem.as_ref();
        let file = file.map(|problem| format!("samples wait in memory: {problem}"));
        let delivery = self.delivery_problem.as_ref().map(|problem| {
            format!("{} samples wait for the collector, which does not accept them: {problem}", self.samples)
        });
        file.into_iter().chain(delivery).collect()
    }
}

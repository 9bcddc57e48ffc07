//! Metrics of the history: for each consumer, the samples that wait for it, and what became of the others.

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
    pub(crate) const LABELS: [&str; 4] = ["age", "size", "memory", "damage"];
}

#[derive(Clone, Debug, Default)]
pub(crate) struct HistoryStats {
    /// Size of the samples in the file, in bytes.
    pub(crate) size: u64,
    /// Number of writes and syncs of the file that failed.
    pub(crate) sync_failures: u64,
    pub(crate) file_problem: Option<String>,
    /// The collector, if there is one, then the outputs.
    pub(crate) consumers: Vec<ConsumerStats>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ConsumerStats {
    /// Name of the output. `None`: the collector.
    pub(crate) output: Option<String>,
    /// Number of samples that wait for it.
    pub(crate) samples: u64,
    /// Age of the oldest of them, and when it had that age.
    oldest: (Duration, BootInstant),
    /// By [`DropReason`].
    pub(crate) dropped: [u64; 4],
    pub(crate) delivered: u64,
    pub(crate) refused: u64,
    /// Reason for which it does not accept samples.
    pub(crate) problem: Option<String>,
}

#[cfg_attr(not(feature = "history"), expect(dead_code, reason = "used by the history"))]
impl HistoryMetrics {
    /// Adds the consumers: the names of outputs, `None` for the collector.
    pub(crate) fn add_consumers(&self, consumers: impl IntoIterator<Item = Option<String>>) {
        let stats = |output| ConsumerStats { output, ..ConsumerStats::default() };
        self.update(|history| history.consumers.extend(consumers.into_iter().map(stats)));
    }

    pub(crate) fn update<T>(&self, update: impl FnOnce(&mut HistoryStats) -> T) -> T {
        update(lock(&self.0).get_or_insert_default())
    }

    pub(crate) fn drop_samples(&self, consumer: usize, reason: DropReason, samples: u64) {
        if samples > 0 {
            self.update(|stats| stats.consumers[consumer].dropped[reason as usize] += samples);
        }
    }
}

impl HistoryMetrics {
    pub(crate) fn stats(&self) -> Option<HistoryStats> {
        lock(&self.0).clone()
    }
}

impl ConsumerStats {
    #[cfg_attr(not(feature = "history"), expect(dead_code, reason = "used by the history"))]
    pub(crate) fn set_oldest_age(&mut self, age: Duration) {
        self.oldest = (age, BootInstant::now());
    }

    /// Returns the age of the oldest sample that waits, or zero.
    pub(crate) fn oldest_age(&self, now: BootInstant) -> Duration {
        let (age, at) = self.oldest;
        if self.samples == 0 { Duration::ZERO } else { age + now.since(at) }
    }

    /// Returns the name of the consumer for people.
    pub(crate) fn name(&self) -> String {
        self.output.as_ref().map_or_else(|| "the collector".to_owned(), |name| format!("the output {name}"))
    }
}

impl HistoryStats {
    pub(crate) fn collector(&self) -> Option<&ConsumerStats> {
        self.consumers.iter().find(|consumer| consumer.output.is_none())
    }

    pub(crate) fn outputs(&self) -> impl Iterator<Item = (&str, &ConsumerStats)> + Clone {
        self.consumers.iter().filter_map(|consumer| Some((consumer.output.as_deref()?, consumer)))
    }

    /// Returns the problems of the history, one per line.
    pub(crate) fn problems(&self) -> Vec<String> {
        let file = self.file_problem.as_ref();
        let file = file.map(|problem| format!("samples wait in memory: {problem}"));
        let delivery = self.consumers.iter().filter_map(|consumer| {
            let (name, problem) = (consumer.name(), consumer.problem.as_ref()?);
            Some(format!(
                "{} samples wait for {name}, which does not accept them: {problem}",
                consumer.samples
            ))
        });
        file.into_iter().chain(delivery).collect()
    }
}

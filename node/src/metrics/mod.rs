//! Recorder for the metrics of a node. The sampler and the leader put numbers in; [`crate::observe`] serves them.
//!
//! This is the bottom layer: it knows neither the modules that record nor those that serve. A disabled recorder, which
//! is the default, ignores every call.

mod delivery;
mod history;
mod leader;
mod sampling;
mod tasks;

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

pub(crate) use delivery::{DeliveryMetrics, OUTPUT_OUTCOMES, OutputStats};
pub(crate) use history::{ConsumerStats, DropReason, HistoryStats};
pub(crate) use leader::{CycleResult, FleetCounts, LeaderStats};
pub(crate) use sampling::SamplingStats;
pub(crate) use tasks::TaskStats;

pub use history::HistoryMetrics;
pub use leader::LeaderMetrics;
pub use sampling::SamplingMetrics;
pub use tasks::TaskMetrics;

/// Recorders of one node. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) sampling: SamplingMetrics,
    pub(crate) leader: LeaderMetrics,
    pub(crate) tasks: TaskMetrics,
    pub(crate) history: HistoryMetrics,
}

impl Metrics {
    pub(crate) fn enabled() -> Metrics {
        Metrics {
            sampling: SamplingMetrics::enabled(),
            leader: LeaderMetrics::enabled(),
            tasks: TaskMetrics::enabled(),
            history: HistoryMetrics::default(),
        }
    }
}

/// Registers and returns a counter, a gauge, or a family of them.
fn metric<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Registers and returns a histogram of durations, with upper bounds in seconds.
fn seconds<const N: usize>(registry: &mut Registry, name: &str, help: &str, bounds: [f64; N]) -> Histogram {
    let histogram = Histogram::new(bounds);
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

/// Locks a mutex, also if a thread has panicked while it held the lock: nothing that is done under these locks leaves
/// half-written values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns the metrics of a registry as OpenMetrics text.
    pub(crate) fn text(registry: Option<&Registry>) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode_registry(&mut text, registry.unwrap()).unwrap();
        text
    }

    #[track_caller]
    pub(crate) fn assert_contains(registry: Option<&Registry>, lines: &[&str]) {
        let text = text(registry);
        for line in lines {
            assert!(text.contains(line), "no {line} in {text}");
        }
    }
}

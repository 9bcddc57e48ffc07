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

/// Locks a mutex, also if a thread has panicked while it held the lock: nothing that is done under these locks leaves
/// half-written values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

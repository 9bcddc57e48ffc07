//! The buffer between sampler and keeper: samples in memory that are not in the file yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use crate::metrics::lock;
use crate::model::sample::StoredSample;

/// Maximum number of samples in memory, while the file cannot be written.
pub(super) const MAX_BUFFERED: usize = 10_000;

/// Samples that are not in the file yet.
#[derive(Debug, Default)]
pub(super) struct Buffer(Mutex<Buffered>);

#[derive(Debug, Default)]
pub(super) struct Buffered {
    pub(super) samples: VecDeque<StoredSample>,
    /// True if the keeper has been notified of samples and has not taken them yet.
    pub(super) is_signalled: bool,
    pub(super) last_seq: i64,
}

impl Buffer {
    pub(super) fn lock(&self) -> MutexGuard<'_, Buffered> {
        lock(&self.0)
    }
}

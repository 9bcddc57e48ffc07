//! The buffer between sampler and keeper: samples in memory that are not in the file yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use crate::metrics::lock;
use crate::model::sample::StoredSample;

/// Maximum number of samples in memory, while the file cannot be written: about 10 MB. At 10,000 samples per second, which
/// is the most that was measured, these are 5 s. On a busy disk, a checkpoint of SQLite's log takes up to 3 s.
pub(super) const MAX_BUFFERED: usize = 50_000;

/// Samples that are not in the file yet.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) max: usize,
    buffered: Mutex<Buffered>,
}

#[derive(Debug, Default)]
pub(super) struct Buffered {
    pub(super) samples: VecDeque<StoredSample>,
    /// True if the keeper has been notified of samples and has not taken them yet.
    pub(super) is_signalled: bool,
    pub(super) last_seq: i64,
}

impl Buffer {
    /// Returns an empty buffer for at most `max` samples.
    pub(super) fn new(max: usize) -> Buffer {
        Buffer { max, buffered: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Buffered> {
        lock(&self.buffered)
    }
}

impl Buffered {
    /// Returns the sequence number of the first sample, or that of the next one.
    pub(super) fn oldest_seq(&self) -> i64 {
        self.samples.front().map_or(self.last_seq + 1, |sample| sample.seq)
    }
}

/// Returns the number of samples up to this sequence number.
pub(super) fn position_after(samples: &VecDeque<StoredSample>, seq: i64) -> usize {
    samples.partition_point(|sample| sample.seq <= seq)
}

#[path = "consumers_tests.rs"]
mod consumers_tests;

use std::sync::Mutex;

use atalaya_hal::{Quantity, Reading};
use tempfile::TempDir;

use super::super::buffer::MAX_BUFFERED;
use super::super::cursors::COLLECTOR;
use super::super::recorder::Recorder;
use super::super::ring::tests::{limits, reading};
use super::*;
use crate::metrics::ConsumerStats;

/// A keeper without its thread, and its clock.
pub(super) struct Harness {
    pub(super) keeper: Keeper,
    recorder: Recorder,
    time: Arc<Mutex<ClockReading>>,
    _commands: mpsc::Receiver<Command>,
}

pub(super) const SET_MS: i64 = 1_800_000_000_000;

fn harness(path: Option<PathBuf>) -> Harness {
    harness_with(path, &[COLLECTOR], MAX_BUFFERED)
}

pub(super) fn harness_with(path: Option<PathBuf>, consumers: &[&str], max: usize) -> Harness {
    let time = Arc::new(Mutex::new(reading(SET_MS, true)));
    let shared = time.clone();
    let clock: Clock = Arc::new(move || *shared.lock().unwrap());
    let (buffer, metrics) = (Arc::new(Buffer::new(max)), HistoryMetrics::default());
    let (commands, received) = mpsc::channel();
    let recorder = Recorder::new(buffer.clone(), commands, clock.clone());
    let names: Vec<_> = consumers.iter().map(|name| (*name).to_owned()).collect();
    metrics.add_consumers(names.iter().map(|_| None));
    let keeper = Keeper::new((path, limits()), names, buffer, clock, watch::Sender::default(), metrics);
    Harness { keeper, recorder, time, _commands: received }
}

impl Harness {
    pub(super) fn record(&self, values: std::ops::Range<i32>) {
        for value in values {
            let reading = Reading::new(Quantity::Temperature, f64::from(value)).unwrap();
            self.recorder.record(&[("s", reading)]);
        }
    }

    /// Records samples with these values, and stores them.
    fn store(&mut self, values: std::ops::Range<i32>) {
        self.record(values);
        self.keeper.store();
    }

    /// Returns the values of the next batch.
    fn read(&mut self) -> Vec<f64> {
        let batch = self.read_batch();
        batch.map(|batch| batch.samples.iter().map(|sample| sample.value).collect()).unwrap_or_default()
    }

    fn read_batch(&mut self) -> Option<Batch> {
        self.keeper.read(0, 1_000)
    }

    fn done(&mut self, is_delivered: bool) {
        let end = if is_delivered { BatchEnd::Delivered(Vec::new()) } else { BatchEnd::Kept };
        self.keeper.done(0, &end);
    }

    /// Returns the number of samples in the file.
    fn depth(&self) -> Option<u64> {
        self.keeper.ring.as_ref().map(|ring| ring.depth(0))
    }

    pub(super) fn set_clock(&self, time_ms: i64, since_boot_ms: i64, is_synchronised: bool) {
        *self.time.lock().unwrap() = ClockReading { time_ms, since_boot_ms, is_synchronised };
    }

    pub(super) fn stats(&self) -> crate::metrics::HistoryStats {
        self.keeper.record_stats();
        self.keeper.metrics.stats().unwrap()
    }

    fn collector_stats(&self) -> ConsumerStats {
        self.stats().consumers.remove(0)
    }
}

fn path(folder: &TempDir) -> Option<PathBuf> {
    Some(folder.path().join("ring"))
}

fn values(values: std::ops::Range<i32>) -> Vec<f64> {
    values.map(f64::from).collect()
}

#[test]
fn keeper_stores_samples_and_another_process_finds_them_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = harness(path(&folder));
    first.store(0..3);
    assert_eq!(first.read(), values(0..3));
    first.done(false);
    // Killed: not closed.
    drop(first.keeper.ring.take());
    let mut second = harness(path(&folder));
    second.store(3..5);
    assert_eq!(second.read(), values(0..3), "a batch has one run");
    second.store(5..6);
    second.done(true);
    assert_eq!(second.read(), values(3..6));
    second.done(true);
    assert_eq!(second.read(), values(0..0));
    assert_eq!(second.collector_stats().samples, 0);
}

#[test]
fn samples_wait_in_memory_while_the_file_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = harness(path(&folder));
    // SQLite cannot open a folder.
    let obstacle = folder.path().join("ring");
    std::fs::create_dir(&obstacle).unwrap();
    harness.store(0..3);
    let stats = harness.stats();
    assert!(
        stats.consumers[0].samples == 3 && stats.sync_failures > 0 && stats.file_problem.is_some(),
        "{stats:?}"
    );
    assert!(harness.keeper.delay() <= RETRY_INTERVAL);
    assert_eq!(harness.read(), values(0..3), "they can be sent");
    // The file can be used again while they are being sent.
    std::fs::remove_dir(&obstacle).unwrap();
    harness.store(3..4);
    harness.done(true);
    harness.keeper.store();
    assert_eq!(harness.stats().file_problem, None);
    assert_eq!(harness.read(), values(3..4));
    assert_eq!(harness.depth(), Some(1));
}

#[test]
fn memory_is_bounded_and_drops_the_oldest_samples() {
    let mut harness = harness(None);
    let extra = 7;
    harness.record(0..MAX_BUFFERED as i32);
    assert_eq!(harness.read(), values(0..1_000));
    // Samples of the batch under way are dropped. Its end deletes no others.
    harness.record(MAX_BUFFERED as i32..MAX_BUFFERED as i32 + extra);
    harness.done(true);
    assert_eq!(harness.read(), values(1_000..2_000));
    let stats = harness.collector_stats();
    assert_eq!(stats.dropped[DropReason::Memory as usize], extra as u64);
    assert_eq!(stats.samples, (MAX_BUFFERED - 1_000) as u64 + extra as u64);
}

#[test]
fn sample_that_is_dropped_while_it_is_sent_counts_as_dropped_only_if_it_is_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = harness(path(&folder));
    harness.keeper.limits.max_size = 64 << 10;
    harness.store(0..2_000);
    let dropped = |harness: &Harness| harness.collector_stats().dropped[DropReason::Size as usize];
    assert_eq!(dropped(&harness) + harness.collector_stats().samples, 2_000);
    for is_delivered in [false, true] {
        let before = dropped(&harness) + harness.collector_stats().samples;
        let sent = harness.read().len() as u64;
        harness.store(0..100);
        harness.done(is_delivered);
        let delivered = if is_delivered { sent } else { 0 };
        assert_eq!(dropped(&harness) + harness.collector_stats().samples + delivered, before + 100);
    }
}

#[test]
fn damaged_file_is_replaced_and_sampling_continues() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ring"), "this is not a database, and never was one".repeat(100))
        .unwrap();
    let mut harness = harness(path(&folder));
    harness.store(0..3);
    assert!(folder.path().join("ring.damaged").exists());
    harness.keeper.store();
    assert_eq!(harness.read(), values(0..3));
    assert_eq!(harness.depth(), Some(3));
}

#[test]
fn samples_wait_until_the_clock_is_set_and_are_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let mut earlier = harness(path(&folder));
    earlier.set_clock(5_000, 5_000, false);
    earlier.store(0..1);
    drop(earlier.keeper.ring.take());
    let mut harness = harness(path(&folder));
    harness.set_clock(60_000, 60_000, false);
    harness.store(1..2);
    assert_eq!(harness.read(), values(0..0));
    assert!(harness.keeper.delay() <= RETRY_INTERVAL);
    harness.set_clock(SET_MS, 70_000, true);
    harness.store(2..3);
    let mut found = Vec::new();
    while let Some(batch) = harness.read_batch() {
        found.extend(batch.samples.iter().map(|sample| (sample.time_ms, sample.clock)));
        harness.done(true);
    }
    let corrected = |since_boot_ms| (SET_MS - 70_000 + since_boot_ms, ClockState::Corrected);
    assert_eq!(found, [corrected(5_000), corrected(60_000), (SET_MS, ClockState::Synchronised)]);
}

#[test]
fn samples_are_corrected_also_if_the_clock_is_set_just_before_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for path in [None, path(&folder)] {
        let mut harness = harness(path);
        harness.set_clock(60_000, 60_000, false);
        harness.store(0..2);
        harness.set_clock(SET_MS, 70_000, true);
        let batch = harness.read_batch().unwrap();
        let corrected = (SET_MS - 10_000, ClockState::Corrected);
        let found: Vec<_> = batch.samples.iter().map(|sample| (sample.time_ms, sample.clock)).collect();
        assert_eq!(found, [corrected; 2]);
    }
}

#[test]
fn samples_are_sent_unsynchronised_if_the_clock_is_not_set_in_time() {
    let folder = tempfile::tempdir().unwrap();
    for path in [None, path(&folder)] {
        let mut harness = harness(path);
        harness.set_clock(60_000, 60_000, false);
        harness.store(0..2);
        assert_eq!(harness.read(), values(0..0));
        harness.keeper.hold_until = Instant::now();
        let batch = harness.read_batch().unwrap();
        assert!(batch.samples.iter().all(|sample| sample.clock == ClockState::Unsynchronised));
    }
}

//! A model of the keeper with several consumers: whatever happens, every consumer gets every sample once and in order, or
//! the sample is counted as dropped for it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Harness, SET_MS, harness_with};
use crate::history::consumer::BatchEnd;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Maximum number of samples in memory.
const MAX_SAMPLES: usize = 1_000;
const HOUR_MS: i64 = 3_600_000;

#[derive(Clone, Debug)]
enum Op {
    Record(i32),
    /// More samples than fit into memory.
    Flood,
    Store,
    Read(usize, usize),
    Done(usize, bool),
    Hours(i64),
    SetReadOnly(bool),
    /// Starts another process, with the consumers of this mask. True: the one before was stopped, not killed.
    Restart(usize, bool),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let consumer = 0..NAMES.len();
    let op = prop_oneof![
        6 => (1_i32..60).prop_map(Op::Record),
        1 => Just(Op::Flood),
        4 => Just(Op::Store),
        8 => (consumer.clone(), 1_usize..200).prop_map(|(consumer, max)| Op::Read(consumer, max)),
        8 => (consumer, any::<bool>()).prop_map(|(consumer, is_delivered)| Op::Done(consumer, is_delivered)),
        1 => (1_i64..20).prop_map(Op::Hours),
        2 => any::<bool>().prop_map(Op::SetReadOnly),
        1 => (1_usize..8, any::<bool>()).prop_map(|(mask, is_stopped)| Op::Restart(mask, is_stopped)),
    ];
    prop::collection::vec(op, 1..80)
}

/// A sample: the number of the run, and the sequence number in it.
type Key = (usize, i64);

/// What one consumer must get.
#[derive(Default)]
struct Expected {
    /// Number of samples that were recorded since it was added.
    recorded: u64,
    received: BTreeSet<Key>,
    /// Samples that were counted as dropped, in earlier runs.
    dropped: u64,
    /// Samples that died with a process: they were in memory, or were dropped while they were sent.
    lost: u64,
    /// Samples that it reads now.
    in_flight: Vec<Key>,
    /// True if samples may arrive again, and may be dropped after they were delivered: a process was killed that could
    /// not write the position.
    is_repeated: bool,
}

struct Model {
    folder: TempDir,
    harness: Harness,
    /// Names of the consumers, by number.
    names: Vec<&'static str>,
    expected: BTreeMap<&'static str, Expected>,
    runs: BTreeMap<String, usize>,
    /// True if the file of this process could not be written at some time.
    was_read_only: bool,
    time_ms: i64,
    value: i32,
}

impl Model {
    fn new() -> Model {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Model {
            harness: harness_with(None, &[], 1),
            folder,
            names: Vec::new(),
            expected: BTreeMap::new(),
            runs: BTreeMap::new(),
            was_read_only: false,
            time_ms: SET_MS,
            value: 0,
        };
        model.start(NAMES.to_vec());
        model
    }

    fn start(&mut self, names: Vec<&'static str>) {
        self.harness = harness_with(Some(self.folder.path().join("ring")), &names, MAX_SAMPLES);
        self.harness.keeper.limits.max_size = 96 << 10;
        self.harness.set_clock(self.time_ms, self.time_ms, true);
        self.harness.keeper.store();
        self.runs.insert(self.harness.keeper.boot.clone(), self.runs.len());
        self.expected.retain(|name, _| names.contains(name));
        for name in &names {
            self.expected.entry(name).or_default();
        }
        (self.names, self.was_read_only) = (names, false);
    }

    fn of(&mut self, number: usize) -> &mut Expected {
        self.expected.get_mut(self.names[number]).unwrap()
    }

    fn record(&mut self, samples: i32) {
        let buffered = self.harness.keeper.buffer.lock().samples.len();
        if buffered + usize::try_from(samples).unwrap() > MAX_SAMPLES {
            // A sample that is dropped from memory counts as dropped at once, also if it is being sent.
            (0..self.names.len()).for_each(|number| self.done(number, false));
        }
        self.harness.record(self.value..self.value + samples);
        self.value += samples;
        for expected in self.expected.values_mut() {
            expected.recorded += u64::try_from(samples).unwrap();
        }
    }

    fn set_read_only(&mut self, is_read_only: bool) {
        let Some(ring) = &self.harness.keeper.ring else { return };
        ring.set_read_only(is_read_only);
        self.was_read_only |= is_read_only;
    }

    fn read(&mut self, number: usize, max: usize) -> bool {
        if !self.of(number).in_flight.is_empty() {
            return true;
        }
        let Some(batch) = self.harness.keeper.read(number, max) else { return false };
        assert!((1..=max).contains(&batch.samples.len()));
        let run = self.runs[&batch.boot];
        self.of(number).in_flight = batch.samples.iter().map(|sample| (run, sample.seq)).collect();
        true
    }

    fn done(&mut self, number: usize, is_delivered: bool) {
        let expected = self.of(number);
        let in_flight = std::mem::take(&mut expected.in_flight);
        if in_flight.is_empty() {
            return;
        }
        if is_delivered {
            for key in in_flight {
                let is_new = expected.received.last().is_none_or(|last| *last < key);
                assert!(is_new || expected.is_repeated, "{key:?} is not in order");
                expected.received.insert(key);
            }
        }
        let end = if is_delivered { BatchEnd::Delivered(Vec::new()) } else { BatchEnd::Kept };
        self.harness.keeper.done(number, &end);
    }

    fn end(&mut self, is_stopped: bool) {
        if is_stopped {
            self.harness.keeper.close();
        }
        self.harness.keeper.record_stats();
        let stats = self.harness.keeper.metrics.stats().unwrap();
        let keeper = &self.harness.keeper;
        for (number, name) in self.names.iter().enumerate() {
            let expected = self.expected.get_mut(name).unwrap();
            expected.dropped += stats.consumers[number].dropped.iter().sum::<u64>();
            let consumer = &keeper.consumers[number];
            expected.lost += consumer.dropped_in_flight();
            let buffered = keeper.buffer.lock();
            // Those that were dropped from memory and not counted yet, and those that are there.
            expected.lost += u64::try_from(buffered.last_seq - consumer.seq).unwrap();
            expected.is_repeated |= self.was_read_only;
            expected.in_flight.clear();
        }
        self.harness.keeper.ring = None;
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Record(samples) => self.record(samples),
            Op::Flood => self.record(i32::try_from(MAX_SAMPLES).unwrap() + 50),
            Op::Store => self.harness.keeper.store(),
            Op::Read(number, max) if number < self.names.len() => drop(self.read(number, max)),
            Op::Done(number, is_delivered) if number < self.names.len() => self.done(number, is_delivered),
            Op::Read(..) | Op::Done(..) => {}
            Op::Hours(hours) => {
                self.time_ms += hours * HOUR_MS;
                self.harness.set_clock(self.time_ms, self.time_ms, true);
            }
            Op::SetReadOnly(is_read_only) => self.set_read_only(is_read_only),
            Op::Restart(mask, is_stopped) => {
                self.end(is_stopped);
                let names = NAMES.iter().enumerate().filter(|(number, _)| mask & (1 << number) != 0);
                self.start(names.map(|(_, name)| *name).collect());
            }
        }
    }

    /// Delivers everything that is left, and checks the sum.
    fn finish(mut self) {
        self.set_read_only(false);
        self.harness.keeper.store();
        for number in 0..self.names.len() {
            self.done(number, true);
            while self.read(number, 1_000) {
                self.done(number, true);
            }
        }
        let stats = self.harness.stats();
        for (number, name) in self.names.iter().enumerate() {
            let Expected { recorded, received, dropped, lost, is_repeated, .. } = &self.expected[name];
            let stats = &stats.consumers[number];
            assert_eq!(stats.samples, 0, "{name}");
            let sum = received.len() as u64 + dropped + lost + stats.dropped.iter().sum::<u64>();
            assert!(sum == *recorded || (*is_repeated && sum > *recorded), "{name}: {sum} of {recorded}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_consumer_gets_every_sample_once_and_in_order_or_it_is_counted_as_dropped(ops in ops()) {
        let mut model = Model::new();
        for op in ops {
            model.apply(op);
        }
        model.finish();
    }
}

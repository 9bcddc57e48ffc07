use std::collections::VecDeque;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

pub(super) const HOUR_MS: i64 = 3_600_000;
const BOOT: &str = "machine1-run";

pub(in crate::history) fn limits() -> Limits {
    Limits { keep: Duration::from_secs(24 * 3600), max_size: 64 << 20, sync: Duration::from_secs(10) }
}

pub(in crate::history) fn reading(time_ms: i64, is_synchronised: bool) -> ClockReading {
    ClockReading { time_ms, since_boot_ms: time_ms, is_synchronised }
}

fn sample(seq: i64, time_ms: i64, clock: ClockState) -> StoredSample {
    StoredSample { clock, ..crate::model::sample::tests::sample(seq, "outside", time_ms, seq as f64 / 7.0) }
}

pub(super) fn samples(seqs: std::ops::Range<i64>) -> Vec<StoredSample> {
    seqs.map(|seq| sample(seq, seq, ClockState::Synchronised)).collect()
}

fn open(folder: &TempDir, limits: Limits) -> Ring {
    Ring::open(&folder.path().join("ring"), limits, 1, &names()).unwrap()
}

fn names() -> [String; 1] {
    [cursors::COLLECTOR.to_owned()]
}

fn append(
    ring: &mut Ring,
    boot: &str,
    samples: &[StoredSample],
    now: ClockReading,
) -> rusqlite::Result<Dropped> {
    Ok(ring.append(boot, samples, &[], now)?[0])
}

/// Returns the sequence numbers of all samples.
fn seqs(ring: &Ring) -> Vec<i64> {
    let batch = ring.read(0, usize::MAX, |_, _| false).unwrap();
    batch.map(|(batch, _)| batch.samples.iter().map(|sample| sample.seq).collect()).unwrap_or_default()
}

#[derive(Clone, Debug)]
enum Op {
    Append(i64),
    Deliver(usize),
    Reopen,
    NewRun,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0_i64..50).prop_map(Op::Append),
        3 => (1_usize..80).prop_map(Op::Deliver),
        1 => Just(Op::Reopen),
        1 => Just(Op::NewRun),
    ];
    prop::collection::vec(op, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ring_returns_what_was_appended_in_order_and_by_run(ops in ops()) {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = open(&folder, limits());
        let mut model: VecDeque<(u32, i64)> = VecDeque::new();
        let (mut run, mut seq) = (0, 1);
        for op in ops {
            match op {
                Op::Append(count) => {
                    append(&mut ring, &run.to_string(), &samples(seq..seq + count), reading(HOUR_MS, true)).unwrap();
                    model.extend((seq..seq + count).map(|seq| (run, seq)));
                    seq += count;
                }
                Op::Deliver(max) => {
                    let batch = ring.read(0, max, |_, _| false).unwrap();
                    let front = model.front().copied();
                    let count = model.iter().take(max).take_while(|(run, _)| Some(*run) == front.map(|(run, _)| run)).count();
                    let expected: Vec<_> = model.drain(..count).collect();
                    let Some((batch, end)) = batch else {
                        prop_assert!(expected.is_empty());
                        continue;
                    };
                    let found: Vec<_> = batch.samples.iter().map(|sample| (batch.boot.parse().unwrap(), sample.seq)).collect();
                    prop_assert_eq!(found, expected);
                    prop_assert_eq!(batch.has_more, !model.is_empty());
                    ring.advance(0, end, &[]).unwrap();
                }
                Op::Reopen => {
                    drop(ring);
                    ring = open(&folder, limits());
                }
                Op::NewRun => (run, seq) = (run + 1, 1),
            }
            prop_assert_eq!(ring.depth(0), model.len() as u64);
        }
    }

    /// The state of the files at a power cut: the log ends anywhere after the last sync.
    #[test]
    fn ring_opens_after_a_power_cut_with_everything_that_was_synced(counts in prop::collection::vec(1_i64..30, 2..12), kept in 0.0..1.0) {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = open(&folder, limits());
        let log = folder.path().join("ring-wal");
        let synced = counts.len() / 2;
        let (mut seq, mut safe, mut synced_bytes) = (1, 0, 0);
        for (number, count) in counts.into_iter().enumerate() {
            if number == synced {
                ring.sync().unwrap();
                (safe, synced_bytes) = (seq - 1, fs::metadata(&log).unwrap().len());
            }
            append(&mut ring, BOOT, &samples(seq..seq + count), reading(HOUR_MS, true)).unwrap();
            seq += count;
        }
        let after = tempfile::tempdir().unwrap();
        fs::copy(folder.path().join("ring"), after.path().join("ring")).unwrap();
        let bytes = fs::read(&log).unwrap();
        let lost = (bytes.len() as u64 - synced_bytes) as f64 * kept;
        fs::write(after.path().join("ring-wal"), &bytes[..(synced_bytes as f64 + lost) as usize]).unwrap();
        let found = seqs(&open(&after, limits()));
        prop_assert!(found.len() as i64 >= safe);
        prop_assert_eq!(&found, &(1..=found.len() as i64).collect::<Vec<_>>());
    }

    #[test]
    fn ring_reports_damage_or_works_whatever_its_file_contains(data in crate::model::foreign_input::bytes()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring");
        fs::write(&path, &data).unwrap();
        match Ring::open(&path, limits(), 1, &names()) {
            Ok(mut ring) => drop(append(&mut ring, BOOT, &samples(1..5), reading(HOUR_MS, true)).unwrap()),
            Err(error) => prop_assert!(is_damage(&error), "{error}"),
        }
    }
}

#[test]
fn ring_drops_the_oldest_samples_beyond_its_age_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, Limits { keep: Duration::from_secs(3_600), ..limits() });
    let old: Vec<_> = (1..=10).map(|seq| sample(seq, seq, ClockState::Synchronised)).collect();
    let unknown = [sample(11, 0, ClockState::Unsynchronised), sample(12, 1, ClockState::Synchronised)];
    append(&mut ring, BOOT, &old, reading(10, true)).unwrap();
    let dropped = append(&mut ring, BOOT, &unknown, reading(HOUR_MS + 5, true)).unwrap();
    assert_eq!((dropped, seqs(&ring)), (Dropped { by_age: 4, by_size: 0 }, (5..=12).collect()));
    // Without a clock, no age is known.
    let dropped = append(&mut ring, BOOT, &[], reading(9 * HOUR_MS, false)).unwrap();
    assert_eq!(dropped, Dropped::default());
    // The age of a sample that was taken before the clock was set is not known either.
    let dropped = append(&mut ring, BOOT, &[], reading(9 * HOUR_MS, true)).unwrap();
    assert_eq!((dropped, seqs(&ring)), (Dropped { by_age: 6, by_size: 0 }, vec![11, 12]));
}

#[test]
fn ring_drops_the_oldest_samples_beyond_its_size_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let max_size = 128 << 10;
    let mut ring = open(&folder, Limits { max_size, ..limits() });
    let (mut seq, mut dropped) = (1, 0);
    for _ in 0..200 {
        let by = append(&mut ring, BOOT, &samples(seq..seq + 50), reading(HOUR_MS, true)).unwrap();
        (seq, dropped) = (seq + 50, dropped + by.by_size as i64);
        assert!(ring.size().unwrap() <= max_size && by.by_age == 0);
    }
    assert!(dropped > 5_000);
    assert_eq!(seqs(&ring), (dropped + 1..seq).collect::<Vec<_>>());
    drop(ring);
    let files =
        ["ring", "ring-wal"].map(|name| fs::metadata(folder.path().join(name)).map_or(0, |file| file.len()));
    assert!(files.iter().sum::<u64>() < max_size + (2 << 20), "{files:?}");
}

#[test]
fn damaged_file_is_found_and_one_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring");
    let mut ring = open(&folder, limits());
    append(&mut ring, BOOT, &samples(1..2_000), reading(HOUR_MS, true)).unwrap();
    drop(ring);
    for number in 0..3 {
        // Pages in the middle are overwritten, as a worn SD card does it.
        let mut data = fs::read(&path).unwrap();
        let middle = data.len() / 2;
        data[middle..middle + 4_096].fill(0xa5);
        fs::write(&path, data).unwrap();
        assert!(is_damage(&Ring::open(&path, limits(), 1, &names()).unwrap_err()));
        assert_eq!(set_aside(&path).unwrap(), folder.path().join("ring.damaged"));
        assert!(!path.exists());
        let mut ring = Ring::open(&path, limits(), 5_000, &names()).unwrap();
        assert_eq!((ring.depth(0), ring.next_id()), (0, 5_000), "{number}");
        append(&mut ring, BOOT, &samples(1..2_000), reading(HOUR_MS, true)).unwrap();
    }
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ring", "ring.damaged"]);
}

#[test]
fn ring_corrects_times_of_this_start_of_the_machine_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, limits());
    let unsynchronised = |seq| [sample(seq, 5, ClockState::Unsynchronised)];
    append(&mut ring, "machine0-run", &unsynchronised(1), reading(5, false)).unwrap();
    append(&mut ring, BOOT, &unsynchronised(1), reading(5, false)).unwrap();
    append(&mut ring, BOOT, &samples(2..3), reading(5, true)).unwrap();
    assert_eq!(ring.correct("machine1-", HOUR_MS).unwrap(), 1);
    let (earlier, end) = ring.read(0, 9, |_, _| false).unwrap().unwrap();
    assert_eq!((earlier.samples[0].clock, earlier.samples[0].time_ms), (ClockState::Unsynchronised, 5));
    ring.advance(0, end, &[]).unwrap();
    let (own, _) = ring.read(0, 9, |_, _| false).unwrap().unwrap();
    let found: Vec<_> = own.samples.iter().map(|sample| (sample.clock, sample.time_ms)).collect();
    assert_eq!(found, [(ClockState::Corrected, HOUR_MS + 5), (ClockState::Synchronised, 2)]);
}

#[cfg(unix)]
#[test]
fn ring_is_private_and_refuses_a_symbolic_link() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, limits());
    append(&mut ring, BOOT, &samples(1..5), reading(5, true)).unwrap();
    for name in ["ring", "ring-wal"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("ring"), &link).unwrap();
    let error = Ring::open(&link, limits(), 1, &names()).unwrap_err();
    assert!(error.to_string().contains("symbolic link") && !is_damage(&error), "{error}");
}

//! The ring with several consumers.

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::cursors::{COLLECTOR, MAX_REFUSED};
use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn open(folder: &TempDir, consumers: &[&str]) -> Ring {
    Ring::open(&folder.path().join("ring"), tests::limits(), 1, &names(consumers)).unwrap()
}

fn append(ring: &mut Ring, seqs: std::ops::Range<i64>) -> Vec<Dropped> {
    ring.append("run", &tests::samples(seqs), &[], tests::reading(tests::HOUR_MS, true)).unwrap()
}

/// Returns the sequence numbers of the samples that a consumer does not have.
fn seqs(ring: &Ring, consumer: usize) -> Vec<i64> {
    let batch = ring.read(consumer, usize::MAX, |_, _| false).unwrap();
    batch.map(|(batch, _)| batch.samples.iter().map(|sample| sample.seq).collect()).unwrap_or_default()
}

/// Returns the number of samples in the file.
fn count(ring: &Ring) -> i64 {
    ring.connection.query_row("SELECT count(*) FROM samples", [], |row| row.get(0)).unwrap()
}

/// Returns what a consumer refused: sequence numbers and reasons.
fn refused(ring: &Ring, consumer: &str) -> Vec<(i64, String)> {
    let query = "SELECT seq, reason FROM refused WHERE consumer = ? ORDER BY number";
    let mut statement = ring.connection.prepare(query).unwrap();
    let rows = statement.query_map([consumer], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

impl Ring {
    /// Makes the file read-only, or writable again.
    pub(in crate::history) fn set_read_only(&self, is_read_only: bool) {
        self.connection.pragma_update(None, "query_only", is_read_only).unwrap();
    }
}

#[test]
fn sample_is_deleted_when_all_consumers_have_it_and_positions_survive() {
    let folder = tempfile::tempdir().unwrap();
    let consumers = [COLLECTOR, "a", "b"];
    let mut ring = open(&folder, &consumers);
    append(&mut ring, 1..11);
    ring.advance(0, 8, &[]).unwrap();
    ring.advance(1, 5, &[]).unwrap();
    assert_eq!(count(&ring), 10, "one consumer has none of them");
    ring.advance(2, 11, &[]).unwrap();
    assert_eq!(count(&ring), 6);
    for _ in 0..2 {
        assert_eq!(seqs(&ring, 0), [8, 9, 10]);
        assert_eq!(seqs(&ring, 1), [5, 6, 7, 8, 9, 10]);
        assert_eq!(seqs(&ring, 2), [0; 0]);
        // Killed: the file is not closed in order.
        drop(ring);
        ring = open(&folder, &consumers);
    }
    append(&mut ring, 11..12);
    assert_eq!(seqs(&ring, 2), [11]);
}

#[test]
fn ids_do_not_fall_below_a_position_after_the_file_was_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, &["a", "b"]);
    append(&mut ring, 1..101);
    ring.advance(0, 101, &[]).unwrap();
    ring.advance(1, 101, &[]).unwrap();
    assert_eq!(count(&ring), 0);
    drop(ring);
    let mut ring = open(&folder, &["a", "b"]);
    append(&mut ring, 101..103);
    assert_eq!((seqs(&ring, 0), seqs(&ring, 1)), (vec![101, 102], vec![101, 102]));
}

#[test]
fn new_consumer_starts_at_the_next_sample_and_a_removed_one_holds_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, &[COLLECTOR, "a"]);
    append(&mut ring, 1..11);
    ring.advance(0, 6, &[]).unwrap();
    drop(ring);
    let mut ring = open(&folder, &[COLLECTOR, "b"]);
    assert_eq!(count(&ring), 5, "samples that only `a` did not have are deleted");
    append(&mut ring, 11..13);
    assert_eq!(seqs(&ring, 0), (6..13).collect::<Vec<_>>());
    assert_eq!(seqs(&ring, 1), [11, 12]);
    // A consumer that comes back is a new one.
    drop(ring);
    let ring = open(&folder, &["b", "a"]);
    assert_eq!((seqs(&ring, 0), seqs(&ring, 1)), (vec![11, 12], vec![]));
    assert_eq!(count(&ring), 2);
}

/// Creates a file of version 1, with samples that have these sequence numbers.
fn create_version_1(folder: &TempDir, seqs: std::ops::Range<i64>) {
    let connection = Connection::open(folder.path().join("ring")).unwrap();
    connection.execute_batch(TABLE).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    for seq in seqs {
        let insert = "INSERT INTO samples VALUES (?1, 'run', ?1, 's', 'temperature', 'Cel', 1.5, ?1, ?1, 0)";
        connection.execute(insert, [seq]).unwrap();
    }
}

#[test]
fn samples_of_a_file_of_version_1_are_those_of_the_collector() {
    let folder = tempfile::tempdir().unwrap();
    create_version_1(&folder, 5..9);
    for _ in 0..2 {
        let ring = open(&folder, &[COLLECTOR, "a"]);
        assert_eq!((seqs(&ring, 0), seqs(&ring, 1)), (vec![5, 6, 7, 8], vec![]));
    }
    let folder = tempfile::tempdir().unwrap();
    create_version_1(&folder, 5..9);
    let ring = open(&folder, &["a"]);
    assert_eq!((seqs(&ring, 0), count(&ring)), (vec![], 0));
}

#[test]
fn bounds_count_a_sample_for_the_consumers_that_do_not_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, &["a", "b", "c"]);
    append(&mut ring, 1..11);
    ring.advance(0, 4, &[]).unwrap();
    ring.advance(1, 11, &[]).unwrap();
    // Of the ten samples, the first six are too old.
    let now = tests::reading(24 * tests::HOUR_MS + 7, true);
    let by_age = |by_age| Dropped { by_age, by_size: 0 };
    assert_eq!(ring.append("run", &[], &[], now).unwrap(), [by_age(3), by_age(0), by_age(6)]);
    assert_eq!((seqs(&ring, 0), seqs(&ring, 2)), (vec![7, 8, 9, 10], vec![7, 8, 9, 10]));
    assert_eq!(seqs(&ring, 1), [0; 0]);
}

#[test]
fn refused_samples_are_kept_with_their_reasons_up_to_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, &["a", "b"]);
    append(&mut ring, 1..2_001);
    let all: Vec<_> = (1..2_001).map(|seq| (seq, format!("reason {seq}"))).collect();
    ring.advance(0, 4, &[(2, "too hot".to_owned()), (77, "not of this batch".to_owned())]).unwrap();
    assert_eq!(refused(&ring, "a"), [(2, "too hot".to_owned())]);
    for seq in (1..2_001).step_by(500) {
        ring.advance(1, seq + 500, &all[seq as usize - 1..seq as usize + 499]).unwrap();
    }
    assert!(refused(&ring, "b") == all[all.len() - MAX_REFUSED as usize..]);
    assert_eq!(refused(&ring, "a").len(), 1, "the bound is that of each consumer");
    drop(ring);
    // They never take the place of samples that can be delivered.
    let limits = Limits { max_size: 200 << 10, ..tests::limits() };
    let mut ring = Ring::open(&folder.path().join("ring"), limits, 1, &names(&["a", "b"])).unwrap();
    ring.advance(0, 2_001, &[]).unwrap();
    let mut seq = 2_001;
    while !refused(&ring, "b").is_empty() {
        assert_eq!(append(&mut ring, seq..seq + 50), [Dropped::default(); 2]);
        seq += 50;
    }
    assert_eq!(ring.depth(0), seq.abs_diff(2_001));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After a power cut, which cuts the log anywhere, a position may be older than the truth, never newer.
    #[test]
    fn positions_after_a_power_cut_are_those_of_an_earlier_moment(
        steps in prop::collection::vec((1_i64..20, 0_usize..3, 1_i64..30), 1..20),
        kept in 0.0..1.0,
    ) {
        let consumers = ["a", "b", "c"];
        let folder = tempfile::tempdir().unwrap();
        let mut ring = open(&folder, &consumers);
        let mut seq = 1;
        for (count, consumer, delivered) in steps {
            append(&mut ring, seq..seq + count);
            seq += count;
            let end = (ring.cursor(consumer) + delivered).min(seq);
            ring.advance(consumer, end, &[]).unwrap();
        }
        let delivered: Vec<i64> = (0..3).map(|consumer| ring.cursor(consumer)).collect();
        let after = tempfile::tempdir().unwrap();
        fs::copy(folder.path().join("ring"), after.path().join("ring")).unwrap();
        let bytes = fs::read(folder.path().join("ring-wal")).unwrap();
        fs::write(after.path().join("ring-wal"), &bytes[..(bytes.len() as f64 * kept) as usize]).unwrap();
        let ring = open(&after, &consumers);
        for (consumer, delivered) in delivered.into_iter().enumerate() {
            // Ids are equal to sequence numbers here.
            prop_assert!(ring.cursor(consumer) <= delivered);
            let found = seqs(&ring, consumer);
            prop_assert_eq!(found, (ring.cursor(consumer)..ring.next_id()).collect::<Vec<_>>());
        }
    }
}

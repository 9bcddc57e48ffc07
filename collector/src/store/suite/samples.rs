//! Guarantees about measurements of single sensors.

use std::collections::BTreeSet;

use super::*;
use crate::measurements::{
    ClockState, HOUR, MAX_BOOTS, MAX_FLEETS, MAX_SERIES, MINUTE, Resolution, Retention, Row, Sample,
    SampleBatch, SampleOutcome, Selection, SeriesName, SeriesQuery,
};
use SampleOutcome::{Accepted, Conflict, Repeated, TooManySeries};

/// Beginning of an hour in 2026, in milliseconds since 1970.
pub(super) const START: i64 = 1_767_225_600_000;

/// Returns a batch of fleet `f` with samples of (number of the sensor, number, milliseconds after [`START`], value).
pub(super) fn batch(node: &str, boot: &str, samples: &[(usize, i64, i64, f64)]) -> SampleBatch {
    let sensors: BTreeSet<usize> = samples.iter().map(|sample| sample.0).collect();
    let sensors: Vec<usize> = sensors.into_iter().collect();
    let series = |sensor: &usize| SeriesName {
        sensor: format!("sensor {sensor:06}"),
        quantity: "temperature".to_owned(),
        unit: Some("Cel".to_owned()),
    };
    let sample = |&(sensor, seq, time, value): &(usize, i64, i64, f64)| Sample {
        series: sensors.binary_search(&sensor).unwrap(),
        seq,
        time: START + time,
        value,
        clock: ClockState::Synchronised,
    };
    SampleBatch {
        fleet: "f".to_owned(),
        node: node.to_owned(),
        boot: boot.to_owned(),
        received: START + samples.iter().map(|sample| sample.2).max().unwrap_or_default(),
        series: sensors.iter().map(series).collect(),
        samples: samples.iter().map(sample).collect(),
    }
}

async fn add(store: &impl Store, batch: SampleBatch) -> Vec<SampleOutcome> {
    store.measurements().add_samples(batch).await.unwrap()
}

pub(super) fn raw(node: &str) -> SeriesQuery {
    SeriesQuery {
        selections: vec![Selection { node: Some(node.to_owned()), ..Selection::default() }],
        from: 0,
        to: i64::MAX / 2,
        resolution: Resolution::Samples,
        limit: 100_000,
        max_rows: 1_000_000,
    }
}

fn by_step(node: &str, length: i64, minutes_from: i64) -> SeriesQuery {
    SeriesQuery { resolution: Resolution::Step { length, minutes_from }, ..raw(node) }
}

async fn rows(store: &impl Store, query: SeriesQuery) -> Vec<Vec<Row>> {
    store.measurements().sample_series(query).await.unwrap().into_iter().map(|series| series.rows).collect()
}

/// Returns boot, number and value of all samples of a node.
async fn samples(store: &impl Store, node: &str) -> Vec<(String, i64, f64)> {
    let rows = rows(store, raw(node)).await.into_iter().flatten();
    let known = rows.map(|row| {
        let (boot, seq) = row.sample.unwrap();
        (boot.unwrap_or_default(), seq, row.mean)
    });
    known.collect()
}

async fn latest(store: &impl Store) -> Vec<f64> {
    let latest = store.measurements().latest_samples(Selection::default(), 1_000).await.unwrap();
    latest.iter().map(|latest| latest.value).collect()
}

/// Prunes until all series are done.
pub(super) async fn prune(store: &impl Store, retention: Retention) {
    let mut after = Some(0);
    while let Some(series) = after {
        after = store.measurements().prune_samples(retention, series).await.unwrap().next;
    }
}

pub(in crate::store) async fn adds_each_sample_once(store: &impl Store) {
    assert_eq!(store.measurements().sample_fleets().await.unwrap_or_default(), []);
    let first = batch("n", "a", &[(0, 1, 0, 1.0), (1, 2, 0, 2.0), (0, 3, 5_000, 3.0)]);
    assert_eq!(add(store, first.clone()).await, [Accepted; 3]);
    assert_eq!(add(store, first.clone()).await, [Repeated; 3], "the answer was lost");
    // A part of a batch is new, and a number occurs twice in it.
    let mixed =
        [(0, 3, 5_000, 3.0), (0, 4, 6_000, 4.0), (0, 4, 6_000, 5.0), (1, 1, 0, 9.0), (1, 5, 6_000, 5.0)];
    let expected = [Repeated, Accepted, Conflict(4.0), Repeated, Accepted];
    assert_eq!(add(store, batch("n", "a", &mixed)).await, expected);
    let changed = batch("n", "a", &[(0, 1, 0, 1.5), (0, 1, 1, 1.5), (1, 2, 0, 2.0)]);
    assert_eq!(add(store, changed).await, [Conflict(1.0), Repeated, Repeated]);
    assert_eq!(add(store, batch("n", "b", &[(0, 1, 7_000, 7.0)])).await, [Accepted], "another boot");
    assert_eq!(add(store, batch("m", "a", &[(0, 1, 0, 8.0)])).await, [Accepted], "another node");
    let other = SampleBatch { fleet: "g".to_owned(), ..first };
    assert_eq!(add(store, other).await, [Accepted; 3], "another fleet");

    let of_fleet = |node: &str| {
        let mut query = raw(node);
        query.selections[0].fleet = Some("f".to_owned());
        query
    };
    let found = rows(store, of_fleet("n")).await;
    let found: Vec<Vec<_>> =
        found.iter().map(|rows| rows.iter().map(|row| (row.time - START, row.mean)).collect()).collect();
    let first = vec![(0, 1.0), (5_000, 3.0), (6_000, 4.0), (7_000, 7.0)];
    assert_eq!(found, [first, vec![(0, 2.0), (6_000, 5.0)]]);
    assert_eq!(latest(store).await, [8.0, 7.0, 5.0, 3.0, 2.0]);
    let fleets = store.measurements().sample_fleets().await.unwrap();
    let fleets: Vec<_> =
        fleets.iter().map(|fleet| (fleet.fleet.as_str(), fleet.nodes, fleet.series)).collect();
    assert_eq!(fleets, [("f", 2, 3), ("g", 1, 2)]);

    let limited = SeriesQuery { limit: 2, ..of_fleet("n") };
    assert_eq!(rows(store, limited.clone()).await.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    let stopped = SeriesQuery { max_rows: 2, ..limited };
    assert_eq!(rows(store, stopped).await.len(), 1, "the second series is left out");
    let ranged = SeriesQuery { from: START + 5_000, to: START + 6_000, ..of_fleet("n") };
    assert_eq!(rows(store, ranged).await.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0]);

    // Several selections, in their order; one of them selects nothing.
    let selections =
        [of_fleet("m"), of_fleet("unknown"), of_fleet("n")].map(|mut query| query.selections.remove(0));
    let several = SeriesQuery { selections: selections.to_vec(), ..of_fleet("n") };
    assert_eq!(rows(store, several).await.iter().map(Vec::len).collect::<Vec<_>>(), [1, 4, 2]);
}

pub(in crate::store) async fn adds_samples_of_concurrent_repeats_once(store: &impl Store) {
    let all: Vec<_> = (0..50).map(|seq| (0, seq, seq * 1_000, 0.5)).collect();
    let calls = (0..8).map(|_| store.measurements().add_samples(batch("n", "a", &all)));
    let outcomes = futures_util::future::join_all(calls).await;
    let accepted = outcomes.into_iter().flat_map(Result::unwrap).filter(|outcome| *outcome == Accepted);
    assert_eq!(accepted.count(), 50);
    let numbers: Vec<i64> = samples(store, "n").await.iter().map(|sample| sample.1).collect();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
}

pub(in crate::store) async fn latest_sample_is_the_last_of_its_boot(store: &impl Store) {
    for (boot, seq, time, clock, expected) in [
        ("a", 1, 10_000, ClockState::Synchronised, 1.0),
        // The clock was set back.
        ("a", 2, 5_000, ClockState::Synchronised, 2.0),
        // An earlier boot is sent later.
        ("z", 3, 1_000, ClockState::Synchronised, 2.0),
        ("b", 4, 5_000, ClockState::Corrected, 4.0),
        ("c", 5, -9_000, ClockState::Unsynchronised, 5.0),
        ("d", 6, -10_000, ClockState::Synchronised, 6.0),
    ] {
        let mut batch = batch("n", boot, &[(0, seq, time, seq as f64)]);
        batch.samples[0].clock = clock;
        batch.series[0].unit = (boot != "a").then(|| format!("unit {boot}"));
        assert_eq!(add(store, batch).await, [Accepted]);
        assert_eq!(latest(store).await, [expected], "{boot} {seq}");
    }
    let latest = store.measurements().latest_samples(Selection::default(), 9).await.unwrap();
    assert_eq!(latest[0].unit.as_deref(), Some("unit d"), "of the latest sample");
    assert_eq!(latest[0].time.as_millisecond(), START - 10_000);
    assert_eq!(store.measurements().latest_samples(Selection::default(), 0).await.unwrap(), []);
}

pub(in crate::store) async fn steps_sum_up_samples(store: &impl Store) {
    let all: Vec<_> = (0..1_440).map(|seq| (0, seq, seq * 5_000, (seq % 7) as f64)).collect();
    for part in all.chunks(100) {
        add(store, batch("n", "a", part)).await;
    }
    for length in [MINUTE, 5 * MINUTE, 90 * MINUTE, HOUR, 24 * HOUR] {
        let found = rows(store, by_step("n", length, 0)).await.remove(0);
        let mut expected: Vec<Row> = Vec::new();
        for steps in all.chunk_by(|a, b| (START + a.2) / length == (START + b.2) / length) {
            let values: Vec<f64> = steps.iter().map(|sample| sample.3).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let (min, max) =
                (values.iter().copied().fold(9.0, f64::min), values.iter().copied().fold(0.0, f64::max));
            let time = (START + steps[0].2) / length * length;
            let count = i64::try_from(values.len()).unwrap();
            expected.push(Row { time, mean, min, max, count, clock: ClockState::Synchronised, sample: None });
        }
        assert_eq!(found, expected, "{length}");
    }
    // Before the time from which minutes are kept, each row is an hour.
    let mixed = rows(store, by_step("n", 5 * MINUTE, START + HOUR)).await.remove(0);
    assert_eq!((mixed.len(), mixed[0].count, mixed[1].time), (13, 720, START + HOUR));
    let limited = SeriesQuery { limit: 3, ..by_step("n", 5 * MINUTE, 0) };
    assert_eq!(rows(store, limited).await[0].len(), 3);
    let mut uncertain = batch("n", "a", &[(0, 2_000, 30_000, 6.0)]);
    uncertain.samples[0].clock = ClockState::Corrected;
    add(store, uncertain).await;
    let found = rows(store, by_step("n", MINUTE, 0)).await.remove(0);
    assert_eq!((found[0].count, found[0].clock), (13, ClockState::Corrected));
    assert_eq!(found[1].clock, ClockState::Synchronised);
}

pub(in crate::store) async fn samples_and_sums_past_their_retention_are_deleted(store: &impl Store) {
    let all = (0..4).flat_map(|hour| [(0, 2 * hour, hour * HOUR, 1.0), (1, 2 * hour + 1, hour * HOUR, 2.0)]);
    let all: Vec<_> = all.collect();
    add(store, batch("n", "a", &all)).await;
    let hour = |hours: i64| Some(START + hours * HOUR + 5);
    prune(store, Retention { samples: hour(3), minutes: hour(2), hours: hour(1) }).await;
    let lengths = |rows: &[Vec<Row>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths(&rows(store, raw("n")).await), [1, 1]);
    assert_eq!(lengths(&rows(store, by_step("n", MINUTE, 0)).await), [2, 2]);
    assert_eq!(lengths(&rows(store, by_step("n", HOUR, 0)).await), [3, 3]);
    // The marks are kept: nothing is added twice.
    assert_eq!(add(store, batch("n", "a", &all)).await, [Repeated; 8]);
    prune(store, Retention::default()).await;
    assert_eq!(lengths(&rows(store, by_step("n", HOUR, 0)).await), [3, 3]);
    prune(store, Retention { samples: hour(9), minutes: hour(9), hours: hour(9) }).await;
    assert_eq!(lengths(&rows(store, by_step("n", HOUR, 0)).await), [0, 0]);
    assert_eq!(latest(store).await, [1.0, 2.0], "the latest sample stays");
}

pub(in crate::store) async fn marks_of_old_boots_are_deleted(store: &impl Store) {
    for (boot, time) in [("a", 0), ("b", HOUR), ("c", 2 * HOUR), ("d", 3 * HOUR)] {
        add(store, batch("n", boot, &[(0, 1, time, 1.0)])).await;
    }
    add(store, batch("n", "b", &[(1, 2, 2 * HOUR, 1.0)])).await;
    add(store, batch("away", "a", &[(0, 1, 0, 1.0)])).await;
    let retention = Retention { samples: Some(START + 3 * HOUR), ..Retention::default() };
    prune(store, retention).await;
    assert_eq!(add(store, batch("n", "a", &[(0, 1, 0, 1.0)])).await, [Accepted], "unknown again");
    assert_eq!(
        add(store, batch("n", "b", &[(1, 2, 2 * HOUR, 1.0)])).await,
        [Repeated],
        "the latest of a series"
    );
    assert_eq!(add(store, batch("n", "c", &[(0, 1, 2 * HOUR, 1.0)])).await, [Accepted]);
    assert_eq!(add(store, batch("n", "d", &[(0, 1, 3 * HOUR, 1.0)])).await, [Repeated]);
    assert_eq!(add(store, batch("away", "a", &[(0, 1, 0, 1.0)])).await, [Repeated], "its latest boot");
}

/// Its clock starts at 1970 with each boot.
pub(in crate::store) async fn samples_of_a_node_without_a_clock_are_kept(store: &impl Store) {
    let mut batch = batch("n", "a", &[(0, 1, 0, 1.0), (0, 2, 2 * HOUR, 2.0)]);
    for sample in &mut batch.samples {
        sample.time -= START;
        sample.clock = ClockState::Unsynchronised;
    }
    add(store, batch).await;
    let before = Some(START + HOUR + 1);
    prune(store, Retention { samples: before, minutes: before, hours: before }).await;
    assert_eq!(samples(store, "n").await, [("a".to_owned(), 2, 2.0)]);
    assert_eq!(rows(store, by_step("n", HOUR, 0)).await[0].len(), 1);
}

pub(in crate::store) async fn forgets_a_node(store: &impl Store) {
    let own = batch("n", "a", &[(0, 1, 0, 1.0), (1, 2, 0, 2.0)]);
    add(store, own.clone()).await;
    add(store, batch("m", "a", &[(0, 1, 0, 3.0)])).await;
    let forget =
        |fleet: &str, node: &str| store.measurements().forget_node(fleet.to_owned(), node.to_owned());
    assert!(!forget("g", "n").await.unwrap() && !forget("", "1").await.unwrap());
    assert!(forget("f", "n").await.unwrap());
    assert!(!forget("f", "n").await.unwrap());
    assert_eq!(latest(store).await, [3.0]);
    assert!(rows(store, raw("n")).await.is_empty());
    prune(store, Retention::default()).await;
    assert_eq!(add(store, own.clone()).await, [Accepted; 2], "as a new node");
    assert_eq!(samples(store, "n").await.len(), 2, "nothing of the former one is left");
    assert_eq!(rows(store, by_step("n", HOUR, 0)).await.iter().map(|rows| rows[0].count).sum::<i64>(), 2);
    assert_eq!(latest(store).await, [3.0, 1.0, 2.0]);
    assert!(forget("f", "n").await.unwrap() && forget("f", "m").await.unwrap());
    assert_eq!(store.measurements().sample_fleets().await.unwrap(), []);
    // The space for series is free again.
    let all: Vec<_> = (0..MAX_SERIES).map(|sensor| (sensor, 1, 0, 1.0)).collect();
    assert_eq!(add(store, batch("n", "a", &all)).await, vec![Accepted; MAX_SERIES]);
}

pub(in crate::store) async fn series_fleets_and_boots_are_bounded(store: &impl Store) {
    let all: Vec<_> = (0..MAX_SERIES + 2).map(|sensor| (sensor, 1, 0, 1.0)).collect();
    let outcomes = add(store, batch("n", "a", &all)).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Accepted).count(), MAX_SERIES);
    assert_eq!(outcomes[MAX_SERIES..], [TooManySeries; 2]);
    assert_eq!(add(store, batch("m", "a", &[(0, 1, 0, 1.0)])).await, [TooManySeries]);
    let known = batch("n", "a", &[(MAX_SERIES, 2, 1_000, 1.0), (0, 3, 1_000, 1.0)]);
    assert_eq!(add(store, known).await, [TooManySeries, Accepted], "known series continue");
    for fleet in 0..MAX_FLEETS + 1 {
        let of_fleet = SampleBatch { fleet: format!("g{fleet}"), ..batch("n", "a", &[(0, 1, 0, 1.0)]) };
        let expected = if fleet + 1 < MAX_FLEETS { Accepted } else { TooManySeries };
        assert_eq!(add(store, of_fleet).await, [expected], "{fleet}");
    }
    let rest = store.measurements().sample_fleets().await.unwrap();
    assert_eq!(rest.len(), MAX_FLEETS);
    for boot in 0..MAX_BOOTS {
        let time = i64::try_from(boot).unwrap() * 1_000;
        add(store, batch("n", &format!("b{boot}"), &[(1, 1, time, 1.0)])).await;
    }
    let again = |boot: &str| batch("n", boot, &[(1, 1, 60_000, 1.0)]);
    assert_eq!(add(store, again("b3")).await, [Repeated]);
    assert_eq!(add(store, again("b0")).await, [Accepted], "the oldest boots are unknown again");
}

pub(in crate::store) async fn returns_every_sample_unchanged(store: &impl Store) {
    let values =
        [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 0.1, -0.1, 0.0, 1e22, 123_456_789.123_456_78];
    let top = i64::MAX - 20;
    let all: Vec<_> = (0..).zip(values).map(|(number, value)| (0, top + number, number, value)).collect();
    let mut sent = batch("n ñ:1", "a.b-c_D", &all);
    sent.series[0] =
        SeriesName { sensor: "é \" ' % : \\".to_owned(), quantity: "日本 x".to_owned(), unit: None };
    assert_eq!(add(store, sent.clone()).await, vec![Accepted; values.len()]);
    let found = samples(store, "n ñ:1").await;
    let expected: Vec<_> =
        (0..).zip(values).map(|(number, value)| ("a.b-c_D".to_owned(), top + number, value)).collect();
    assert_eq!(found, expected);
    let series = store.measurements().sample_series(by_step("n ñ:1", HOUR, 0)).await.unwrap().remove(0);
    assert_eq!(
        (&series.sensor, &series.quantity, &series.unit),
        (&sent.series[0].sensor, &sent.series[0].quantity, &None)
    );
    assert_eq!((series.rows[0].min, series.rows[0].max, series.rows[0].count), (f64::MIN, f64::MAX, 9));
    assert_eq!(latest(store).await, [123_456_789.123_456_78]);
    assert_eq!(add(store, sent).await, vec![Repeated; values.len()]);
}

//! Guarantees about the latest report, epochs, and numbers at the limits of their types.

use super::*;

pub(in crate::store) async fn latest_report_is_one_of_each_unit(store: &impl Store) {
    assert_eq!(store.latest(&fleet()).await.unwrap_or_default(), []);
    record(store, keyed(1, 2, Some("Cel"), 20.0)).await;
    record(store, keyed(1, 1, Some("Cel"), 10.0)).await;
    record(store, keyed(1, 1, None, 80.0)).await;
    let latest = store.latest(&fleet()).await.unwrap();
    let found: Vec<_> =
        latest.iter().map(|record| (record.report.unit.as_deref(), record.report.mean)).collect();
    assert_eq!(found, [(None, 80.0), (Some("Cel"), 20.0)], "by its epoch and cycle, not by arrival");
}

fn stale(epoch: i64, first_cycle: i64) -> Outcome {
    Outcome::Stale(Stale { epoch, first_cycle })
}

async fn latest_means(store: &impl Store) -> Vec<f64> {
    store.latest(&fleet()).await.unwrap().iter().map(|record| record.report.mean).collect()
}

/// A report does not stay the latest because the clock of ZooKeeper was ahead, or was set back.
pub(in crate::store) async fn latest_report_is_that_of_the_highest_epoch_and_cycle(store: &impl Store) {
    let dated = |epoch, cycle, time, mean| Report { time: at(time), ..keyed(epoch, cycle, None, mean) };
    for (epoch, cycle, time, mean, latest) in [
        (7, 1, 1_080_000, 1.0, 1.0),
        (7, 2, 100, 2.0, 2.0),
        (7, 3, 50, 3.0, 3.0),
        // Rejected, and sent again later.
        (7, 0, 2_000, 0.0, 3.0),
        (9, 4, 10, 4.0, 4.0),
        (8, 3, 5_000, 5.0, 4.0),
    ] {
        assert!(matches!(record(store, dated(epoch, cycle, time, mean)).await, Outcome::Recorded(_)));
        assert_eq!(latest_means(store).await, [latest], "{epoch}-{cycle}");
    }
    let batch = vec![dated(9, 9, 3, 9.0), dated(9, 8, 900_000, 8.0)];
    store.record(batch).await.unwrap();
    assert_eq!(latest_means(store).await, [9.0], "within one call");
    // Its time is past the retention: no report is the latest until the next one arrives.
    store.prune(Horizon { reports: at(5), hours: None }).await.unwrap();
    assert_eq!(latest_means(store).await, [0.0; 0]);
    record(store, dated(9, 10, 20, 10.0)).await;
    assert_eq!(latest_means(store).await, [10.0]);
}

pub(in crate::store) async fn latest_report_without_epoch_is_the_last_to_arrive(store: &impl Store) {
    let dated = |time, received, mean| Report { time: at(time), ..Report::bare(mean, at(received)) };
    for (time, received, mean, latest) in [
        (80_000, 10, 1.0, 1.0),
        (11, 11, 2.0, 2.0),
        (12, 12, 3.0, 3.0),
        // Measured earlier, sent later.
        (5, 13, 4.0, 3.0),
        (12, 14, 5.0, 5.0),
        // The collector's clock was set back.
        (2, 2, 6.0, 6.0),
    ] {
        record(store, dated(time, received, mean)).await;
        assert_eq!(latest_means(store).await, [latest]);
    }
    record(store, keyed(7, 3, None, 7.0)).await;
    assert_eq!(latest_means(store).await, [7.0], "a fleet takes over from a program without epochs");
}

/// One report of a far epoch outranks all later ones, until the operator drops the epoch.
pub(in crate::store) async fn deletes_an_epoch_and_its_reports(store: &impl Store) {
    for cycle in 1..=3 {
        record(store, keyed(7, cycle, None, 1.0)).await;
        record(store, keyed(8, cycle + 3, Some("Cel"), 2.0)).await;
    }
    let series = store.series(Filter::default(), HOUR, 10).await.unwrap();
    let (latest, page) = (store.latest(&fleet()).await.unwrap(), store.page(all()).await.unwrap());
    let batch =
        vec![keyed(900, 1, None, 666.0), keyed(900, 2, Some("Cel"), 666.0), keyed(900, 9, Some("lx"), 666.0)];
    store.record(batch).await.unwrap();
    assert_eq!(record(store, keyed(8, 7, None, 3.0)).await, stale(900, 1));
    assert_eq!(latest_means(store).await, [666.0; 3]);

    assert_eq!(store.forget_epoch(&fleet(), 900).await.unwrap(), 3);
    assert_eq!(store.forget_epoch(&fleet(), 900).await.unwrap(), 0);
    let epochs: Vec<_> = store.epochs(&fleet(), 10).await.unwrap().iter().map(|known| known.epoch).collect();
    assert_eq!(epochs, [8, 7]);
    assert_eq!(store.page(all()).await.unwrap(), page);
    assert_eq!(store.series(Filter::default(), HOUR, 10).await.unwrap(), series);
    assert_eq!(store.latest(&fleet()).await.unwrap(), latest);
    assert_eq!(store.since(&fleet(), 6, 10).await.unwrap(), []);
    assert_eq!(record(store, keyed(8, 7, None, 3.0)).await, Outcome::Recorded(10), "ids are not used again");
    assert_eq!(record(store, keyed(7, 4, None, 3.0)).await, stale(8, 4));
    assert_eq!(record(store, keyed(900, 1, None, 1.0)).await, Outcome::Recorded(11), "as a new epoch");
}

/// Sums per hour stay, and their keys stay known.
pub(in crate::store) async fn deletes_an_epoch_but_not_its_pruned_reports(store: &impl Store) {
    for cycle in 1..=4 {
        record(store, keyed(7, cycle, None, 1.0)).await;
    }
    for cycle in [5, 7_200, 7_201] {
        record(store, keyed(9, cycle, None, 10.0)).await;
    }
    record(store, keyed(9, 7_202, None, 2.0)).await;
    store.prune(Horizon { reports: at(6), hours: None }).await.unwrap();
    assert_eq!(store.forget_epoch(&fleet(), 9).await.unwrap(), 3);
    let found: Vec<_> = store.series(Filter::default(), HOUR, 10).await.unwrap();
    let found: Vec<_> = found.iter().map(|point| (point.reports, point.max)).collect();
    assert_eq!(found, [(5, 10.0)]);
    assert_eq!(record(store, keyed(9, 5, None, 10.0)).await, Outcome::Repeated);
    assert!(matches!(record(store, keyed(7, 8, None, 1.0)).await, Outcome::Recorded(_)));
    assert_eq!(store.latest(&fleet()).await.unwrap()[0].report.cycle, Some(8));
}

/// Neighbouring numbers above 2^53, which are equal as `f64`.
pub(in crate::store) async fn compares_numbers_at_the_limits_of_their_types(store: &impl Store) {
    let exact = 1_i64 << 53;
    let of =
        |epoch, cycle, mean| Report { epoch: Some(epoch), cycle: Some(cycle), ..keyed(1, 1, None, mean) };
    for (epoch, cycle) in [(exact, exact), (exact + 1, exact + 1), (exact + 2, exact + 2)] {
        assert!(matches!(record(store, of(epoch, cycle, 1.0)).await, Outcome::Recorded(_)), "{epoch}");
    }
    assert_eq!(record(store, of(exact, exact + 1, 1.0)).await, stale(exact + 1, exact + 1));
    assert_eq!(record(store, of(exact + 1, exact + 2, 1.0)).await, stale(exact + 2, exact + 2));
    let top = i64::MAX;
    for (epoch, cycle) in [(top - 1, top - 2), (top, top - 1)] {
        assert!(matches!(record(store, of(epoch, cycle, 1.0)).await, Outcome::Recorded(_)));
    }
    assert_eq!(record(store, of(top, top, 2.0)).await, Outcome::Recorded(6));
    assert_eq!(record(store, of(top - 1, top - 1, 1.0)).await, stale(top, top - 1));
    assert_eq!(record(store, of(top, top, 2.0)).await, Outcome::Repeated);
    assert_eq!(store.latest(&fleet()).await.unwrap()[0].report.cycle, Some(top));
    let epochs = store.epochs(&fleet(), 9).await.unwrap();
    let epochs: Vec<_> =
        epochs.iter().map(|known| (known.epoch, known.first_cycle, known.last_cycle)).collect();
    let expected = [
        (top, top - 1, top),
        (top - 1, top - 2, top - 2),
        (exact + 2, exact + 2, exact + 2),
        (exact + 1, exact + 1, exact + 1),
        (exact, exact, exact),
    ];
    assert_eq!(epochs, expected);
    store.prune(Horizon { reports: at(1_000), hours: None }).await.unwrap();
    for (epoch, cycle) in [(exact, exact), (exact + 1, exact + 1), (top, top), (top, top - 1)] {
        assert_eq!(record(store, of(epoch, cycle, 1.0)).await, Outcome::Repeated, "{epoch}-{cycle}");
    }
    assert_eq!(store.forget_epoch(&fleet(), top).await.unwrap(), 0);
    assert_eq!(store.epochs(&fleet(), 1).await.unwrap()[0].epoch, top - 1);
}

pub(in crate::store) async fn returns_no_negative_zero(store: &impl Store) {
    let zeros = Incoming {
        min: Some(-0.0),
        max: Some(-0.0),
        stddev: Some(-0.0),
        time: Some(at(1)),
        ..Incoming::bare(-0.0)
    };
    let small = Incoming { min: Some(-5e-324), max: Some(5e-324), ..zeros.clone() };
    for incoming in [zeros, small, Incoming { time: Some(at(2)), ..Incoming::bare(-5e-324) }] {
        record(store, incoming.accept(None, at(3), None).unwrap()).await;
    }
    record(store, Report::bare(-0.0, at(1))).await;
    record(store, Report::bare(5e-324, at(2))).await;
    for _ in 0..2 {
        let shown = format!(
            "{:?}",
            (store.page(all()).await.unwrap(), store.series(Filter::default(), HOUR, 10).await.unwrap())
        );
        assert!(!shown.contains("-0.0"), "{shown}");
        store.prune(Horizon { reports: at(100), hours: None }).await.unwrap();
    }
}

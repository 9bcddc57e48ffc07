//! Guarantees about recording reports.

use super::*;

pub(in crate::store) async fn records_each_key_once(store: &impl Store) {
    assert_eq!(store.newest().await.unwrap_or(0), 0);
    assert_eq!(record(store, keyed(7, 1, None, 79.5)).await, Outcome::Recorded(1));
    assert_eq!(record(store, keyed(7, 1, Some("Cel"), 20.0)).await, Outcome::Recorded(2), "another unit");
    assert_eq!(record(store, keyed(7, 1, None, 79.5)).await, Outcome::Repeated);
    assert_eq!(record(store, keyed(7, 1, None, 79.6)).await, Outcome::Conflict(79.5));
    let twice = vec![keyed(7, 2, None, 1.0), keyed(7, 2, None, 1.0), keyed(7, 2, None, 2.0)];
    let outcomes = store.record(twice).await.unwrap();
    assert_eq!(outcomes, [Outcome::Recorded(3), Outcome::Repeated, Outcome::Conflict(1.0)], "in one call");
    for id in [4, 5] {
        let bare = Report::bare(78.4, at(0));
        assert_eq!(record(store, bare).await, Outcome::Recorded(id), "without a key each is recorded");
    }
    assert_eq!(store.record(Vec::new()).await.unwrap(), []);
    assert_eq!(store.newest().await.unwrap(), 5);
    assert_eq!(store.page(all()).await.unwrap().len(), 5);
    store.check().await.unwrap();
}

pub(in crate::store) async fn refuses_reports_of_a_deposed_leader(store: &impl Store) {
    let stale = |first_cycle| Outcome::Stale(Stale { epoch: 9, first_cycle });
    record(store, keyed(7, 1, None, 1.0)).await;
    record(store, keyed(9, 6, None, 1.0)).await;
    record(store, keyed(9, 7, None, 1.0)).await;
    assert_eq!(record(store, keyed(7, 6, None, 1.0)).await, stale(6));
    assert_eq!(record(store, keyed(7, 7, Some("Cel"), 1.0)).await, stale(6), "cycles count for all units");
    assert!(matches!(record(store, keyed(7, 5, None, 1.0)).await, Outcome::Recorded(_)), "rejected earlier");
    assert_eq!(record(store, keyed(7, 1, None, 1.0)).await, Outcome::Repeated, "a known key is not stale");
    assert!(matches!(record(store, keyed(9, 5, Some("Cel"), 1.0)).await, Outcome::Recorded(_)));
    assert_eq!(record(store, keyed(8, 5, None, 1.0)).await, stale(5));
    let epochs = store.epochs(&fleet(), 10).await.unwrap();
    let found: Vec<_> = epochs
        .iter()
        .map(|known| (known.epoch, known.first_cycle, known.last_cycle, known.reports))
        .collect();
    assert_eq!(found, [(9, 5, 7, 3), (7, 1, 5, 2)], "refused reports are not counted");
    assert_eq!(store.epochs(&fleet(), 1).await.unwrap().len(), 1);
}

pub(in crate::store) async fn returns_every_number_unchanged(store: &impl Store) {
    let full = Incoming {
        epoch: Some(1),
        cycle: Some(1),
        time: Some(at(1)),
        quantity: Some("humedad ñ 湿度".to_owned()),
        unit: Some("%RH".to_owned()),
        min: Some(-f64::MIN_POSITIVE),
        max: Some(f64::MAX),
        stddev: Some(5e-324),
        count: Some(i64::MAX),
        excluded: Some(0),
        aggregate: Some("quantile=0.9".to_owned()),
        ..Incoming::bare(0.1 + 0.2)
    };
    let full = full.accept(None, at(2), Some("atalaya/0.1.0 (node 1)")).unwrap();
    // Larger than the API accepts.
    let full = Report { epoch: Some(i64::MAX), cycle: Some(i64::MAX), ..full };
    let bare = Report::bare(-0.5, at(3));
    store.record(vec![full.clone(), bare.clone()]).await.unwrap();
    let kept: Vec<_> = store.page(all()).await.unwrap().into_iter().map(|record| record.report).collect();
    assert_eq!(kept, [full, bare]);
    let most = [f64::MAX, f64::MAX, f64::MIN, f64::MIN].map(|mean| Report::bare(mean, at(0)));
    store.record(most.into()).await.unwrap();
    for _ in 0..2 {
        let points = store.series(Filter::default(), HOUR, 10).await.unwrap();
        assert!(points.iter().all(|point| point.mean.is_finite()), "{points:?}");
        store.prune(Horizon { reports: at(100), hours: None }).await.unwrap();
    }
}

/// With many concurrent calls, several per report, each report is recorded once.
pub(in crate::store) async fn records_concurrent_repeats_once(store: &impl Store) {
    let tries = (0..300).map(|attempt| store.record(vec![keyed(1, attempt % 100, None, 1.0)]));
    let outcomes = futures_util::future::join_all(tries).await;
    let count = |wanted: fn(&Outcome) -> bool| {
        outcomes.iter().flatten().flatten().filter(|outcome| wanted(outcome)).count()
    };
    assert_eq!(count(|outcome| matches!(outcome, Outcome::Recorded(_))), 100);
    assert_eq!(count(|outcome| *outcome == Outcome::Repeated), 200);
    assert_eq!(store.newest().await.unwrap(), 100);
}

//! Guarantees about pages, reports after an id, and the beginnings of epochs.

use super::*;

pub(in crate::store) async fn returns_pages_by_time(store: &impl Store) {
    // Cycles arrive out of order, and two units share each time.
    for cycle in [5, 1, 4, 2, 3] {
        let two = vec![keyed(1, cycle, Some("Cel"), 1.0), keyed(1, cycle, Some("%RH"), 2.0)];
        store.record(two).await.unwrap();
    }
    let mut forth = Vec::new();
    let mut page = Page { limit: 3, ..all() };
    loop {
        let records = store.page(page.clone()).await.unwrap();
        assert!(records.len() <= 3);
        let Some(last) = records.last() else { break };
        page.after = Some(Cursor { time: last.report.time.as_microsecond(), id: last.id });
        forth.extend(records);
    }
    assert_eq!(forth, store.page(all()).await.unwrap());
    let cycles: Vec<_> = forth.iter().map(|record| record.report.cycle.unwrap()).collect();
    assert_eq!(cycles, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    let mut back = store.page(Page { newest_first: true, ..all() }).await.unwrap();
    let cursor = Cursor { time: back[3].report.time.as_microsecond(), id: back[3].id };
    let rest = store.page(Page { newest_first: true, after: Some(cursor), ..all() }).await.unwrap();
    assert_eq!(rest, back[4..]);
    back.reverse();
    assert_eq!(back, forth);
    let filter =
        Filter { from: Some(at(2)), to: Some(at(4)), unit: Some("Cel".to_owned()), ..Filter::default() };
    let some = store.page(Page { filter: filter.clone(), ..all() }).await.unwrap();
    assert_eq!(some.len(), 2, "from is inclusive, to is exclusive: {some:?}");
    let none = Filter { quantity: Some("pressure".to_owned()), ..filter };
    assert_eq!(store.page(Page { filter: none, ..all() }).await.unwrap(), []);
}

pub(in crate::store) async fn returns_reports_after_an_id(store: &impl Store) {
    for cycle in [3, 1, 2] {
        record(store, keyed(1, cycle, None, 1.0)).await;
    }
    let ids = |records: Vec<Record>| records.iter().map(|record| record.id).collect::<Vec<_>>();
    assert_eq!(ids(store.since(&fleet(), 0, 10).await.unwrap()), [1, 2, 3]);
    assert_eq!(ids(store.since(&fleet(), 1, 1).await.unwrap()), [2]);
    assert_eq!(ids(store.since(&fleet(), 3, 10).await.unwrap()), [0_i64; 0]);
    assert_eq!(ids(store.since(&fleet(), i64::MAX, 10).await.unwrap()), [0_i64; 0]);
}

pub(in crate::store) async fn returns_the_beginnings_of_epochs(store: &impl Store) {
    let all = || store.changes(&fleet(), at(0), at(1_000), 10);
    assert_eq!(all().await.unwrap_or_default(), []);
    record(store, keyed(7, 1, None, 1.0)).await;
    assert_eq!(all().await.unwrap(), [], "the first epoch has no predecessor");
    record(store, keyed(8, 6, None, 1.0)).await;
    record(store, keyed(8, 5, Some("Cel"), 1.0)).await;
    record(store, keyed(9, 20, None, 1.0)).await;
    record(store, keyed(7, 3, None, 1.0)).await;
    assert_eq!(all().await.unwrap(), [(at(20), 9), (at(5), 8)]);
    assert_eq!(store.changes(&fleet(), at(5), at(20), 10).await.unwrap(), [(at(5), 8)]);
    assert_eq!(store.changes(&fleet(), at(0), at(1_000), 1).await.unwrap(), [(at(20), 9)]);
    store.prune(Horizon { reports: at(6), hours: None }).await.unwrap();
    assert_eq!(all().await.unwrap(), [(at(20), 9)], "the first report of epoch 8 is pruned");
}

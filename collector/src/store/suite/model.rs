//! Comparison of a store with the store in memory, over random sequences of operations.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

/// Operation on the two stores, whose results must not differ.
#[derive(Clone, Debug)]
enum Operation {
    Record(Vec<Report>),
    Prune(Horizon),
    Forget(i64),
}

const UNITS: [Option<&str>; 3] = [None, Some("Cel"), Some("%RH")];

fn reports() -> impl Strategy<Value = Report> {
    // Means are halves, so that their sums are the same in any order.
    let key = prop::option::weighted(0.9, (1..6_i64, 0..40_i64));
    (key, 0..3_usize, 0..4_u8, 0..3 * HOUR, prop::option::of(0..3_u8), 0..3 * HOUR).prop_map(
        |(key, unit, half, time, below, received)| {
            let mean = f64::from(half) / 2.0;
            let incoming = Incoming {
                epoch: key.map(|key| key.0),
                cycle: key.map(|key| key.1),
                unit: UNITS[unit].map(str::to_owned),
                time: Some(at(0) + SignedDuration::from_micros(time)),
                min: below.map(|below| mean - f64::from(below)),
                ..Incoming::bare(mean)
            };
            incoming.accept(None, at(0) + SignedDuration::from_micros(received), None).unwrap()
        },
    )
}

fn operations() -> impl Strategy<Value = Operation> {
    let time = || (0..3 * HOUR).prop_map(|time| at(0) + SignedDuration::from_micros(time));
    prop_oneof![
        12 => prop::collection::vec(reports(), 1..8).prop_map(Operation::Record),
        1 => (1..6_i64).prop_map(Operation::Forget),
        1 => (time(), prop::option::of(time())).prop_map(|(reports, hours)| Operation::Prune(Horizon { reports, hours })),
    ]
}

/// After any sequence of operations the store returns the same as the store in memory, which is simple enough to be
/// correct.
pub(in crate::store) async fn agrees_with_the_memory_store(store: &impl Store) {
    let memory = MemoryStore::new();
    let mut runner = TestRunner::deterministic();
    for round in 0..150 {
        match operations().new_tree(&mut runner).unwrap().current() {
            Operation::Record(reports) => {
                let expected = memory.record(reports.clone()).await.unwrap();
                assert_eq!(store.record(reports).await.unwrap(), expected, "round {round}");
            }
            Operation::Prune(horizon) => {
                assert_eq!(store.prune(horizon).await.unwrap(), memory.prune(horizon).await.unwrap());
            }
            Operation::Forget(epoch) => {
                let expected = memory.forget_epoch(&fleet(), epoch).await.unwrap();
                assert_eq!(store.forget_epoch(&fleet(), epoch).await.unwrap(), expected, "round {round}");
            }
        }
        let edge = |micros| Some(at(0) + SignedDuration::from_micros(micros));
        let (from, length, unit, step, backwards, limit) =
            (0..3 * HOUR, 0..3 * HOUR, 0..3_usize, 0..7_usize, any::<bool>(), 1..40_usize)
                .new_tree(&mut runner)
                .unwrap()
                .current();
        let filter = Filter {
            from: edge(from).filter(|_| length % 3 > 0),
            to: edge(from + length).filter(|_| length % 5 > 0),
            unit: UNITS[unit].map(str::to_owned),
            ..Filter::default()
        };
        let step = [1, 7_000_000, 60_000_000, 90_000_000, 1_800_000_000, HOUR, 24 * HOUR][step];
        for limit in [limit, 10_000] {
            let expected = memory.series(filter.clone(), step, limit).await.unwrap();
            let found = store.series(filter.clone(), step, limit).await.unwrap();
            assert_eq!(found, expected, "round {round}: {filter:?} by {step}");
        }
        let page = Page { filter, after: None, newest_first: backwards, limit };
        let first = memory.page(page.clone()).await.unwrap();
        let last = first.last();
        let after = last.map(|last| Cursor { time: last.report.time.as_microsecond(), id: last.id });
        let next = Page { after, ..page.clone() };
        let read = async |store: &dyn Store| {
            let pages = [store.page(page.clone()).await.unwrap(), store.page(next.clone()).await.unwrap()];
            let since = store.since(&fleet(), i64::try_from(limit).unwrap(), limit).await.unwrap();
            let latest = store.latest(&fleet()).await.unwrap();
            (pages, since, latest, store.epochs(&fleet(), 3).await.unwrap(), store.newest().await.unwrap())
        };
        assert_eq!(read(store).await, read(&memory).await, "round {round}");
    }
}

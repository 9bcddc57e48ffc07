//! Tests of the guarantees of every store: `store_suite!` generates the tests for one store.

mod epochs;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::report::Incoming;

pub(super) use epochs::*;

/// `$open` takes the path of a folder that outlives the store, and opens the data in it; besides the store it may
/// return values that must live as long.
macro_rules! store_suite {
    ($open:expr) => {
        $crate::store::suite::store_suite!(@ $open;
            keeps_each_key_once, refuses_a_deposed_leader, pages_by_time, follows_by_id, sums_up_steps,
            sums_up_all_steps_alike, tells_the_latest, tells_the_latest_by_epoch_and_cycle,
            tells_the_latest_by_arrival_without_epochs, forgets_an_epoch, forgets_an_epoch_and_its_sums,
            compares_numbers_at_the_limits_of_their_types, sums_up_what_is_old, keeps_every_number, keeps_no_negative_zero,
            agrees_with_itself, does_as_the_memory_does);
    };
    (@ $open:expr; $($promise:ident),*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let folder = tempfile::tempdir().unwrap();
                let open = $open;
                let (store, _part) = open(folder.path());
                $crate::store::suite::$promise(&store).await;
            }
        )*
    };
}
pub(super) use store_suite;

/// Returns the time this many seconds after the beginning of 2026.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap() + SignedDuration::from_secs(seconds)
}

pub(super) fn keyed(epoch: i64, cycle: i64, unit: Option<&str>, mean: f64) -> Report {
    let incoming = Incoming {
        epoch: Some(epoch),
        cycle: Some(cycle),
        unit: unit.map(str::to_owned),
        time: Some(at(cycle)),
        ..Incoming::bare(mean)
    };
    incoming.accept(None, at(1_000_000 + cycle), Some("test")).unwrap()
}

async fn record(store: &impl Store, report: Report) -> Outcome {
    store.record(vec![report]).await.unwrap().remove(0)
}

fn all() -> Page {
    Page { filter: Filter::default(), after: None, newest_first: false, limit: 10_000 }
}

pub(super) async fn keeps_each_key_once(store: &impl Store) {
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
        assert_eq!(record(store, bare).await, Outcome::Recorded(id), "without a key each is kept");
    }
    assert_eq!(store.record(Vec::new()).await.unwrap(), []);
    assert_eq!(store.newest().await.unwrap(), 5);
    assert_eq!(store.page(all()).await.unwrap().len(), 5);
    store.check().await.unwrap();
}

pub(super) async fn refuses_a_deposed_leader(store: &impl Store) {
    let stale = |first_cycle| Outcome::Stale(Stale { epoch: 9, first_cycle });
    record(store, keyed(7, 1, None, 1.0)).await;
    record(store, keyed(9, 6, None, 1.0)).await;
    record(store, keyed(9, 7, None, 1.0)).await;
    assert_eq!(record(store, keyed(7, 6, None, 1.0)).await, stale(6));
    assert_eq!(record(store, keyed(7, 7, Some("Cel"), 1.0)).await, stale(6), "cycles are those of all units");
    assert!(matches!(record(store, keyed(7, 5, None, 1.0)).await, Outcome::Recorded(_)), "it was set aside");
    assert_eq!(record(store, keyed(7, 1, None, 1.0)).await, Outcome::Repeated, "known is not stale");
    assert!(matches!(record(store, keyed(9, 5, Some("Cel"), 1.0)).await, Outcome::Recorded(_)));
    assert_eq!(record(store, keyed(8, 5, None, 1.0)).await, stale(5));
    let epochs = store.epochs(10).await.unwrap();
    let told: Vec<_> = epochs
        .iter()
        .map(|known| (known.epoch, known.first_cycle, known.last_cycle, known.reports))
        .collect();
    assert_eq!(told, [(9, 5, 7, 3), (7, 1, 5, 2)], "what is refused leaves no trace");
    assert_eq!(store.epochs(1).await.unwrap().len(), 1);
}

pub(super) async fn pages_by_time(store: &impl Store) {
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
    let filter = Filter { from: Some(at(2)), to: Some(at(4)), unit: Some("Cel".to_owned()), quantity: None };
    let some = store.page(Page { filter: filter.clone(), ..all() }).await.unwrap();
    assert_eq!(some.len(), 2, "from is part of it, to is not: {some:?}");
    let none = Filter { quantity: Some("pressure".to_owned()), ..filter };
    assert_eq!(store.page(Page { filter: none, ..all() }).await.unwrap(), []);
}

pub(super) async fn follows_by_id(store: &impl Store) {
    for cycle in [3, 1, 2] {
        record(store, keyed(1, cycle, None, 1.0)).await;
    }
    let ids = |records: Vec<Record>| records.iter().map(|record| record.id).collect::<Vec<_>>();
    assert_eq!(ids(store.since(0, 10).await.unwrap()), [1, 2, 3]);
    assert_eq!(ids(store.since(1, 1).await.unwrap()), [2]);
    assert_eq!(ids(store.since(3, 10).await.unwrap()), [0_i64; 0]);
    assert_eq!(ids(store.since(i64::MAX, 10).await.unwrap()), [0_i64; 0]);
}

pub(super) async fn sums_up_steps(store: &impl Store) {
    for (cycle, mean) in [(0, 1.0), (5, 3.0), (10, 7.0)] {
        record(store, keyed(1, cycle, Some("Cel"), mean)).await;
    }
    let full = Incoming { min: Some(-2.0), max: Some(9.0), time: Some(at(11)), ..Incoming::bare(5.0) };
    record(store, full.accept(None, at(11), None).unwrap()).await;
    let points = store.series(Filter::default(), 10_000_000, 100).await.unwrap();
    let told: Vec<_> = points
        .iter()
        .map(|point| (point.time, point.unit.as_deref(), point.reports, point.mean, point.min, point.max))
        .collect();
    let expected = [
        (at(0), Some("Cel"), 2, 2.0, 1.0, 3.0),
        (at(10), None, 1, 5.0, -2.0, 9.0),
        (at(10), Some("Cel"), 1, 7.0, 7.0, 7.0),
    ];
    assert_eq!(told, expected);
    assert_eq!(store.series(Filter::default(), 10_000_000, 2).await.unwrap(), points[..2]);
    let filter = Filter { unit: Some("Cel".to_owned()), from: Some(at(5)), ..Filter::default() };
    assert_eq!(store.series(filter, 3_600_000_000, 9).await.unwrap()[0].reports, 2);
}

/// For stores that know more than the time of the last report of an epoch.
pub(super) async fn tells_when_leaders_changed(store: &impl Store) {
    let all = || store.changes(at(0), at(1_000), 10);
    assert_eq!(all().await.unwrap_or_default(), []);
    record(store, keyed(7, 1, None, 1.0)).await;
    assert_eq!(all().await.unwrap(), [], "the first one follows nobody");
    record(store, keyed(8, 6, None, 1.0)).await;
    record(store, keyed(8, 5, Some("Cel"), 1.0)).await;
    record(store, keyed(9, 20, None, 1.0)).await;
    record(store, keyed(7, 3, None, 1.0)).await;
    assert_eq!(all().await.unwrap(), [(at(20), 9), (at(5), 8)]);
    assert_eq!(store.changes(at(5), at(20), 10).await.unwrap(), [(at(5), 8)]);
    assert_eq!(store.changes(at(0), at(1_000), 1).await.unwrap(), [(at(20), 9)]);
    store.prune(Horizon { reports: at(6), hours: None }).await.unwrap();
    assert_eq!(all().await.unwrap(), [(at(20), 9)], "what is left of an epoch is not its beginning");
}

/// Time, unit, number of reports, mean, minimum and maximum.
type Told = (i64, Option<String>, i64, f64, f64, f64);

/// Computes the points of `reports` directly.
fn sums_of(reports: &[Report], filter: &Filter, step: i64) -> Vec<Told> {
    let mut steps = std::collections::BTreeMap::new();
    for report in reports.iter().filter(|report| filter.admits(report)) {
        let time = report.time.as_microsecond();
        let (min, max) = (report.min.unwrap_or(report.mean), report.max.unwrap_or(report.mean));
        let (count, sum, least, most) =
            steps.entry((time - time % step, report.unit.clone())).or_insert((0_i64, 0.0, min, max));
        (*count, *sum) = (*count + 1, *sum + report.mean);
        (*least, *most) = (least.min(min), most.max(max));
    }
    #[allow(clippy::cast_precision_loss, reason = "small")]
    let told = steps.into_iter().map(|((time, unit), (count, sum, least, most))| {
        (time, unit, count, sum / count as f64, least, most)
    });
    told.collect()
}

/// Stores may keep sums beside their reports. For every step and after any pruning they must return the same points as
/// the reports themselves.
pub(super) async fn sums_up_all_steps_alike(store: &impl Store) {
    // A little more than four hours, with irregular pauses and out of order. Sums of halves are exact.
    let mut reports = Vec::new();
    for number in 0..2_000_i64 {
        let shuffled = number * 1_237 % 2_000;
        let micros = shuffled * 7_654_321;
        #[allow(clippy::cast_precision_loss, reason = "small")]
        let half = (shuffled % 41) as f64 / 2.0;
        let incoming = Incoming {
            time: Some(Timestamp::from_microsecond(micros).unwrap()),
            unit: [None, Some("Cel".to_owned()), Some("%RH".to_owned())][(shuffled % 3) as usize].clone(),
            min: (shuffled % 2 == 0).then_some(half - 1.0),
            max: (shuffled % 2 == 0).then_some(half + 2.5),
            ..Incoming::bare(half)
        };
        reports.push(incoming.accept(None, at(0), None).unwrap());
    }
    const MINUTE: i64 = 60_000_000;
    let bounds = [
        None,
        Some(-HOUR),
        Some(-1),
        Some(0),
        Some(1),
        Some(MINUTE - 1),
        Some(HOUR),
        Some(HOUR + 1),
        Some(2 * HOUR + 3 * MINUTE),
        Some(3 * HOUR - 5),
        Some(9 * HOUR),
    ];
    let mut kept = reports;
    store.record(kept.clone()).await.unwrap();
    for horizon in [None, Some(-HOUR), Some(47), Some(MINUTE), Some(HOUR + 90_000_123), Some(3 * HOUR)] {
        if let Some(horizon) = horizon {
            // Sums per hour are deleted too, so only reports are left.
            let horizon = Timestamp::from_microsecond(horizon).unwrap();
            while store.prune(Horizon { reports: horizon, hours: Some(Timestamp::MAX) }).await.unwrap() > 0 {}
            kept.retain(|report| report.time >= horizon);
        }
        for (from, to) in bounds.iter().flat_map(|from| bounds.iter().map(move |to| (*from, *to))) {
            let time =
                |micros: Option<i64>| micros.map(|micros| Timestamp::from_microsecond(micros).unwrap());
            let filter = Filter { from: time(from), to: time(to), quantity: None, unit: None };
            for step in [MINUTE, 7 * MINUTE, HOUR, 24 * HOUR] {
                let points = store.series(filter.clone(), step, 100_000).await.unwrap();
                let told: Vec<_> = points
                    .into_iter()
                    .map(|p| (p.time.as_microsecond(), p.unit, p.reports, p.mean, p.min, p.max))
                    .collect();
                assert_eq!(
                    told,
                    sums_of(&kept, &filter, step),
                    "{from:?} to {to:?} by {step}, after {horizon:?}"
                );
            }
        }
        // One report arrives late.
        let late =
            Incoming { time: Some(Timestamp::from_microsecond(2 * HOUR).unwrap()), ..Incoming::bare(7.5) };
        let late = late.accept(None, at(0), None).unwrap();
        store.record(vec![late.clone()]).await.unwrap();
        kept.push(late);
    }
}

pub(super) async fn tells_the_latest(store: &impl Store) {
    assert_eq!(store.latest().await.unwrap_or_default(), []);
    record(store, keyed(1, 2, Some("Cel"), 20.0)).await;
    record(store, keyed(1, 1, Some("Cel"), 10.0)).await;
    record(store, keyed(1, 1, None, 80.0)).await;
    let latest = store.latest().await.unwrap();
    let told: Vec<_> =
        latest.iter().map(|record| (record.report.unit.as_deref(), record.report.mean)).collect();
    assert_eq!(told, [(None, 80.0), (Some("Cel"), 20.0)], "by its time, not as it came");
}

pub(super) async fn sums_up_what_is_old(store: &impl Store) {
    for cycle in 1..=6 {
        #[allow(clippy::cast_precision_loss, reason = "small")]
        record(store, keyed(7, cycle, None, cycle as f64)).await;
    }
    let horizon = Horizon { reports: at(5), hours: None };
    assert_eq!(store.prune(horizon).await.unwrap(), 4);
    assert_eq!(store.prune(horizon).await.unwrap(), 0);
    assert_eq!(store.page(all()).await.unwrap().len(), 2);
    assert_eq!(record(store, keyed(7, 2, None, 2.0)).await, Outcome::Repeated, "kept once, for ever");
    assert_eq!(record(store, keyed(7, 6, None, 2.0)).await, Outcome::Conflict(6.0));
    assert!(matches!(record(store, keyed(7, 2, Some("Cel"), 2.0)).await, Outcome::Recorded(_)));
    let filter = || Filter::default();
    let hours = store.series(filter(), HOUR, 10).await.unwrap();
    let told: Vec<_> =
        hours.iter().map(|point| (point.unit.as_deref(), point.reports, point.mean, point.min)).collect();
    assert_eq!(told, [(None, 6, 3.5, 1.0), (Some("Cel"), 1, 2.0, 2.0)], "old and new are one series");
    // Late reports are added to the existing sums.
    assert_eq!(store.prune(Horizon { reports: at(6), hours: None }).await.unwrap(), 2);
    assert_eq!(store.series(filter(), HOUR, 10).await.unwrap(), hours);
    assert_eq!(store.newest().await.unwrap(), 7, "ids go on");
    let nothing = Horizon { reports: at(10_000), hours: Some(at(10_000)) };
    assert_eq!(store.prune(nothing).await.unwrap(), 1);
    assert_eq!(store.series(filter(), HOUR, 10).await.unwrap(), []);
    assert_eq!(store.latest().await.unwrap(), []);
    assert_eq!(record(store, keyed(7, 6, None, 6.0)).await, Outcome::Repeated);
    assert!(matches!(record(store, keyed(7, 7, None, 7.0)).await, Outcome::Recorded(8)));
    assert_eq!(store.epochs(1).await.unwrap()[0].last_cycle, 7, "the fence stands");
}

pub(super) async fn keeps_every_number(store: &impl Store) {
    let full = Incoming {
        epoch: Some(1),
        cycle: Some(1),
        time: Some(at(1)),
        quantity: Some("humedad ñ 湿度".to_owned()),
        unit: Some("%RH".to_owned()),
        mean: 0.1 + 0.2,
        min: Some(-f64::MIN_POSITIVE),
        max: Some(f64::MAX),
        stddev: Some(5e-324),
        count: Some(i64::MAX),
        excluded: Some(0),
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
pub(super) async fn agrees_with_itself(store: &impl Store) {
    let tries = (0..300).map(|attempt| store.record(vec![keyed(1, attempt % 100, None, 1.0)]));
    let outcomes = futures_util::future::join_all(tries).await;
    let count = |wanted: fn(&Outcome) -> bool| {
        outcomes.iter().flatten().flatten().filter(|outcome| wanted(outcome)).count()
    };
    assert_eq!(count(|outcome| matches!(outcome, Outcome::Recorded(_))), 100);
    assert_eq!(count(|outcome| *outcome == Outcome::Repeated), 200);
    assert_eq!(store.newest().await.unwrap(), 100);
}

/// Operation on the two stores, whose results must not differ.
#[derive(Clone, Debug)]
enum Deed {
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

fn deeds() -> impl Strategy<Value = Deed> {
    let time = || (0..3 * HOUR).prop_map(|time| at(0) + SignedDuration::from_micros(time));
    prop_oneof![
        12 => prop::collection::vec(reports(), 1..8).prop_map(Deed::Record),
        1 => (1..6_i64).prop_map(Deed::Forget),
        1 => (time(), prop::option::of(time())).prop_map(|(reports, hours)| Deed::Prune(Horizon { reports, hours })),
    ]
}

/// After any sequence of operations the store returns the same as the store in memory, which is simple enough to be
/// correct.
pub(super) async fn does_as_the_memory_does(store: &impl Store) {
    let memory = MemoryStore::new();
    let mut runner = TestRunner::deterministic();
    for round in 0..150 {
        match deeds().new_tree(&mut runner).unwrap().current() {
            Deed::Record(reports) => {
                let expected = memory.record(reports.clone()).await.unwrap();
                assert_eq!(store.record(reports).await.unwrap(), expected, "round {round}");
            }
            Deed::Prune(horizon) => {
                assert_eq!(store.prune(horizon).await.unwrap(), memory.prune(horizon).await.unwrap());
            }
            Deed::Forget(epoch) => {
                let expected = memory.forget_epoch(epoch).await.unwrap();
                assert_eq!(store.forget_epoch(epoch).await.unwrap(), expected, "round {round}");
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
            quantity: None,
        };
        let step = [1, 7_000_000, 60_000_000, 90_000_000, 1_800_000_000, HOUR, 24 * HOUR][step];
        for limit in [limit, 10_000] {
            let expected = memory.series(filter.clone(), step, limit).await.unwrap();
            let told = store.series(filter.clone(), step, limit).await.unwrap();
            assert_eq!(told, expected, "round {round}: {filter:?} by {step}");
        }
        let page = Page { filter, after: None, newest_first: backwards, limit };
        let first = memory.page(page.clone()).await.unwrap();
        assert_eq!(store.page(page.clone()).await.unwrap(), first, "round {round}");
        if let Some(last) = first.last() {
            let after = Some(Cursor { time: last.report.time.as_microsecond(), id: last.id });
            let page = Page { after, ..page };
            assert_eq!(
                store.page(page.clone()).await.unwrap(),
                memory.page(page).await.unwrap(),
                "round {round}"
            );
        }
        let id = i64::try_from(limit).unwrap();
        assert_eq!(store.since(id, limit).await.unwrap(), memory.since(id, limit).await.unwrap());
        assert_eq!(store.latest().await.unwrap(), memory.latest().await.unwrap(), "round {round}");
        assert_eq!(store.epochs(3).await.unwrap(), memory.epochs(3).await.unwrap(), "round {round}");
        assert_eq!(store.newest().await.unwrap(), memory.newest().await.unwrap());
    }
}

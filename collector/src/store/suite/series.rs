//! Guarantees about series and the retention.

use super::*;

pub(in crate::store) async fn series_sums_up_steps(store: &impl Store) {
    for (cycle, mean) in [(0, 1.0), (5, 3.0), (10, 7.0)] {
        record(store, keyed(1, cycle, Some("Cel"), mean)).await;
    }
    let full = Incoming { min: Some(-2.0), max: Some(9.0), time: Some(at(11)), ..Incoming::bare(5.0) };
    record(store, full.accept(None, at(11), None).unwrap()).await;
    let points = store.series(Filter::default(), 10_000_000, 100).await.unwrap();
    let found: Vec<_> = points
        .iter()
        .map(|point| (point.time, point.unit.as_deref(), point.reports, point.mean, point.min, point.max))
        .collect();
    let expected = [
        (at(0), Some("Cel"), 2, 2.0, 1.0, 3.0),
        (at(10), None, 1, 5.0, -2.0, 9.0),
        (at(10), Some("Cel"), 1, 7.0, 7.0, 7.0),
    ];
    assert_eq!(found, expected);
    assert_eq!(store.series(Filter::default(), 10_000_000, 2).await.unwrap(), points[..2]);
    let filter = Filter { unit: Some("Cel".to_owned()), from: Some(at(5)), ..Filter::default() };
    assert_eq!(store.series(filter, 3_600_000_000, 9).await.unwrap()[0].reports, 2);
}

/// Time, unit, number of reports, mean, minimum and maximum.
type Sums = (i64, Option<String>, i64, f64, f64, f64);

/// Computes the points of `reports` directly.
fn sums_of(reports: &[Report], filter: &Filter, step: i64) -> Vec<Sums> {
    let mut steps = std::collections::BTreeMap::new();
    for report in reports.iter().filter(|report| filter.matches(report)) {
        let time = report.time.as_microsecond();
        let (min, max) = (report.min.unwrap_or(report.mean), report.max.unwrap_or(report.mean));
        let (count, sum, lowest, highest) =
            steps.entry((time - time % step, report.unit.clone())).or_insert((0_i64, 0.0, min, max));
        (*count, *sum) = (*count + 1, *sum + report.mean);
        (*lowest, *highest) = (lowest.min(min), highest.max(max));
    }
    let found = steps
        .into_iter()
        .map(|((time, unit), (count, sum, min, max))| (time, unit, count, sum / count as f64, min, max));
    found.collect()
}

/// Stores may keep sums beside their reports. For every step and after any pruning they must return the same points as
/// the reports themselves.
pub(in crate::store) async fn series_equals_the_sums_of_its_reports(store: &impl Store) {
    // A little more than four hours, with irregular pauses and out of order. Sums of halves are exact.
    let mut reports = Vec::new();
    for number in 0..2_000_i64 {
        let shuffled = number * 1_237 % 2_000;
        let micros = shuffled * 7_654_321;
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
    let bounds = [-HOUR, -1, 0, 1, MINUTE - 1, HOUR, HOUR + 1, 2 * HOUR + 3 * MINUTE, 3 * HOUR - 5, 9 * HOUR];
    let bounds: Vec<Option<i64>> = bounds.into_iter().map(Some).chain([None]).collect();
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
            let filter = Filter { from: time(from), to: time(to), ..Filter::default() };
            for step in [MINUTE, 7 * MINUTE, HOUR, 24 * HOUR] {
                let points = store.series(filter.clone(), step, 100_000).await.unwrap();
                let found: Vec<_> = points
                    .into_iter()
                    .map(|p| (p.time.as_microsecond(), p.unit, p.reports, p.mean, p.min, p.max))
                    .collect();
                assert_eq!(found, sums_of(&kept, &filter, step), "{from:?} {to:?} {step} {horizon:?}");
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

pub(in crate::store) async fn pruned_reports_are_summed_up_and_their_keys_stay_known(store: &impl Store) {
    for cycle in 1..=6 {
        record(store, keyed(7, cycle, None, cycle as f64)).await;
    }
    let horizon = Horizon { reports: at(5), hours: None };
    assert_eq!(store.prune(horizon).await.unwrap(), 4);
    assert_eq!(store.prune(horizon).await.unwrap(), 0);
    assert_eq!(store.page(all()).await.unwrap().len(), 2);
    assert_eq!(record(store, keyed(7, 2, None, 2.0)).await, Outcome::Repeated, "the key stays known");
    assert_eq!(record(store, keyed(7, 6, None, 2.0)).await, Outcome::Conflict(6.0));
    assert!(matches!(record(store, keyed(7, 2, Some("Cel"), 2.0)).await, Outcome::Recorded(_)));
    let filter = || Filter::default();
    let hours = store.series(filter(), HOUR, 10).await.unwrap();
    let found: Vec<_> =
        hours.iter().map(|point| (point.unit.as_deref(), point.reports, point.mean, point.min)).collect();
    assert_eq!(found, [(None, 6, 3.5, 1.0), (Some("Cel"), 1, 2.0, 2.0)], "one series");
    // Late reports are added to the existing sums.
    assert_eq!(store.prune(Horizon { reports: at(6), hours: None }).await.unwrap(), 2);
    assert_eq!(store.series(filter(), HOUR, 10).await.unwrap(), hours);
    assert_eq!(store.newest().await.unwrap(), 7, "ids continue");
    let nothing = Horizon { reports: at(10_000), hours: Some(at(10_000)) };
    assert_eq!(store.prune(nothing).await.unwrap(), 1);
    assert_eq!(store.series(filter(), HOUR, 10).await.unwrap(), []);
    assert_eq!(store.latest(&fleet()).await.unwrap(), []);
    assert_eq!(record(store, keyed(7, 6, None, 6.0)).await, Outcome::Repeated);
    assert!(matches!(record(store, keyed(7, 7, None, 7.0)).await, Outcome::Recorded(8)));
    assert_eq!(store.epochs(&fleet(), 1).await.unwrap()[0].last_cycle, 7, "the fence stays");
}

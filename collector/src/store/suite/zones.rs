//! Guarantees about zones: each is kept apart, and its sums have the moments of its readings.

use std::collections::BTreeMap;

use super::*;
use crate::moments::Moments;

/// Returns the name of a zone of the default fleet, and of one of another fleet with the same name.
fn zones() -> [FleetName; 2] {
    let zone = "north".parse().unwrap();
    [FleetName::default(), "home".parse().unwrap()].map(|fleet| fleet.in_zone(Some(&zone)))
}

/// Readings of the report of a cycle, near 100 kPa, with a spread of some pascals.
fn readings(cycle: i64) -> Vec<f64> {
    let reading = |node: i64| f64::from(i32::try_from((cycle * 7 + node * node * 3) % 23).unwrap()) / 3.0;
    (0..=cycle % 5).map(|node| 101_325.0 + reading(node)).collect()
}

/// Returns the report of a cycle. Every eleventh one has no number of readings, and every thirteenth one a median.
fn report(zone: &FleetName, cycle: i64) -> Report {
    let own = flat(&readings(cycle));
    Report {
        fleet: zone.clone(),
        time: at(cycle * 41),
        stddev: own.stddev(),
        count: Some(own.readings).filter(|_| cycle % 11 != 0),
        aggregate: (cycle % 13 == 0).then(|| "median".to_owned()),
        ..keyed(7 + cycle / 100, cycle, Some("Pa"), own.mean)
    }
}

/// Computes the moments of readings directly.
fn flat(readings: &[f64]) -> Moments {
    let count = readings.len() as f64;
    let mean = readings.iter().sum::<f64>() / count;
    let squares = readings.iter().map(|reading| (reading - mean).powi(2)).sum();
    Moments { readings: i64::try_from(readings.len()).unwrap(), mean, squares: Some(squares) }
}

/// Checks the sums of all steps against a computation over all readings of these cycles.
async fn check(store: &impl Store, zone: &FleetName, cycles: &[i64], step: i64) {
    let mut steps: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for cycle in cycles.iter().filter(|cycle| **cycle % 11 != 0 && **cycle % 13 != 0) {
        let time = at(cycle * 41).as_microsecond();
        steps.entry(time - time % step).or_default().extend(readings(*cycle));
    }
    let filter = Filter { fleet: zone.clone(), ..Filter::default() };
    let sums = store.sums(filter.clone(), step, 10_000, true).await.unwrap();
    assert_eq!(sums.iter().map(|sum| sum.reports).sum::<i64>(), i64::try_from(cycles.len()).unwrap());
    let points = store.series(filter, step, 10_000).await.unwrap();
    let extremes: Vec<_> = points.iter().map(|point| (point.reports, point.min, point.max)).collect();
    assert_eq!(sums.iter().map(|sum| (sum.reports, sum.min, sum.max)).collect::<Vec<_>>(), extremes);
    for sum in sums {
        let expected = steps.remove(&sum.time).map(|readings| flat(&readings));
        assert_eq!(sum.moments.map(|own| own.readings), expected.map(|all| all.readings), "{zone} {step}");
        let Some((own, all)) = sum.moments.zip(expected) else { continue };
        assert!((own.mean - all.mean).abs() < 1e-9, "{own:?} {all:?}");
        let (own, all) = (own.stddev().unwrap(), all.stddev().unwrap());
        assert!((own - all).abs() < 1e-6, "{own} {all}");
    }
    assert!(steps.is_empty());
}

/// The moments of every step are those of its readings: before and after a part is pruned, and after an epoch is deleted.
pub(in crate::store) async fn moments_are_those_of_all_readings(store: &impl Store) {
    let zones = zones();
    let mut cycles: Vec<i64> = (1..300).collect();
    for zone in &zones {
        for chunk in cycles.chunks(37) {
            let outcomes =
                store.record(chunk.iter().map(|cycle| report(zone, *cycle)).collect()).await.unwrap();
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Recorded(_))));
        }
    }
    let names = store.fleets().await.unwrap();
    assert_eq!(names, [fleet(), zones[0].clone(), zones[1].clone()]);
    assert!(store.page(all()).await.unwrap().is_empty(), "none has no zone");
    for pruned in [None, Some(50), Some(51), Some(120)] {
        if let Some(cycle) = pruned {
            let horizon = Horizon { reports: at(cycle * 41), hours: None };
            assert!(store.prune(horizon).await.unwrap() > 0);
        }
        for zone in &zones {
            // Past the retention, the steps are hours.
            let steps = [HOUR, 24 * HOUR, 60_000_000, 7_000_000];
            for step in &steps[..if pruned.is_none() { 4 } else { 2 }] {
                check(store, zone, &cycles, *step).await;
            }
        }
    }
    assert_eq!(store.forget_epoch(&zones[0], 9).await.unwrap(), 100);
    cycles.retain(|cycle| cycle / 100 != 2);
    check(store, &zones[0], &cycles, HOUR).await;
}

pub(in crate::store) async fn forgets_a_fleet(store: &impl Store) {
    let [zone, other] = zones();
    for zone in [&zone, &other] {
        store.record((1..50).map(|cycle| report(zone, cycle)).collect()).await.unwrap();
    }
    record(store, keyed(7, 1, None, 1.0)).await;
    store.prune(Horizon { reports: at(20 * 41), hours: None }).await.unwrap();
    while store.forget_fleet(&zone).await.unwrap() > 0 {}
    assert_eq!(store.forget_fleet(&zone).await.unwrap(), 0, "nothing is left");
    assert_eq!(store.fleets().await.unwrap(), [fleet(), other.clone()]);
    let filter = |fleet: &FleetName| Filter { fleet: fleet.clone(), ..Filter::default() };
    assert_eq!(store.sums(filter(&zone), HOUR, 10, true).await.unwrap(), []);
    assert_eq!(store.latest(&zone).await.unwrap(), []);
    assert_eq!(store.epochs(&zone, 10).await.unwrap(), []);
    assert_eq!(store.since(&zone, 0, 10).await.unwrap(), []);
    check(store, &other, &(1..50).collect::<Vec<_>>(), HOUR).await;
    assert_eq!(store.epochs(&fleet(), 10).await.unwrap().len(), 1, "the fleet of its name");
    let again = record(store, report(&zone, 1)).await;
    assert!(matches!(again, Outcome::Recorded(_)), "its keys are unknown: {again:?}");
    check(store, &zone, &[1], HOUR).await;
}

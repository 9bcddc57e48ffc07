//! Guarantees about several fleets in one store.

use super::*;

/// Two fleets, neither of which is the default one.
fn two() -> [FleetName; 2] {
    ["home", "Fleet-2_b.example"].map(|name| name.parse().unwrap())
}

fn of(fleet: &FleetName, report: Report) -> Report {
    Report { fleet: fleet.clone(), ..report }
}

fn page_of(fleet: &FleetName) -> Page {
    Page { filter: Filter { fleet: fleet.clone(), ..Filter::default() }, ..all() }
}

fn means_of(records: &[Record]) -> Vec<f64> {
    records.iter().map(|record| record.report.mean).collect()
}

/// Their epochs, cycles, units and times are the same.
pub(in crate::store) async fn keeps_fleets_apart(store: &impl Store) {
    assert_eq!(store.fleets().await.unwrap_or_else(|_| vec![fleet()]), [fleet()]);
    let fleets = [fleet(), two()[0].clone(), two()[1].clone()];
    for cycle in 1..=3 {
        for (mean, fleet) in [1.0, 2.0, 3.0].into_iter().zip(&fleets) {
            let reports =
                vec![of(fleet, keyed(7, cycle, Some("Cel"), mean)), of(fleet, keyed(7, cycle, None, mean))];
            let outcomes = store.record(reports.clone()).await.unwrap();
            assert!(
                outcomes.iter().all(|outcome| matches!(outcome, Outcome::Recorded(_))),
                "{fleet}: {outcomes:?}"
            );
            assert_eq!(store.record(reports).await.unwrap(), [Outcome::Repeated, Outcome::Repeated]);
        }
    }
    assert_eq!(store.newest().await.unwrap(), 18, "ids count over all fleets");
    let mut names = store.fleets().await.unwrap();
    assert!(names.is_sorted());
    names.retain(|name| fleets.contains(name));
    assert_eq!(names.len(), 3);
    // A later epoch of one fleet deposes the leader of that fleet only.
    record(store, of(&fleets[1], keyed(9, 3, None, 2.0))).await;
    for (at, fleet) in fleets.iter().enumerate() {
        let outcome = record(store, of(fleet, keyed(7, 4, None, 9.0))).await;
        let stale = Outcome::Stale(Stale { epoch: 9, first_cycle: 3 });
        assert_eq!(outcome == stale, at == 1, "{fleet}: {outcome:?}");
        let conflict = record(store, of(fleet, keyed(7, 1, None, 5.0))).await;
        assert_eq!(conflict, Outcome::Conflict([1.0, 2.0, 3.0][at]));
    }
    for (mean, fleet) in [1.0, 2.0, 3.0].into_iter().zip(&fleets) {
        let filter = page_of(fleet).filter;
        let expected = [vec![mean; 6], vec![if mean == 2.0 { 2.0 } else { 9.0 }]].concat();
        let page = store.page(page_of(fleet)).await.unwrap();
        assert!(page.iter().all(|record| record.report.fleet == *fleet));
        assert_eq!(means_of(&page), expected, "{fleet}");
        assert_eq!(means_of(&store.since(fleet, 0, 100).await.unwrap()), expected);
        assert_eq!(means_of(&store.last(fleet, 2).await.unwrap()), expected[5..]);
        assert_eq!(store.last(fleet, 100).await.unwrap(), store.since(fleet, 0, 100).await.unwrap());
        for step in [7_000_000, 60_000_000, HOUR] {
            let points = store.series(filter.clone(), step, 10).await.unwrap();
            assert_eq!(points.iter().map(|point| point.reports).sum::<i64>(), 7, "{fleet} {step}");
        }
        let epochs = store.epochs(fleet, 10).await.unwrap();
        let epochs: Vec<_> =
            epochs.iter().map(|known| (known.epoch, known.last_cycle, known.reports)).collect();
        let one: &[_] = if mean == 2.0 { &[(9, 3, 1), (7, 3, 6)] } else { &[(7, 4, 7)] };
        assert_eq!(epochs, one, "{fleet}");
        assert_eq!(store.latest(fleet).await.unwrap().len(), 2);
        let changes = store.changes(fleet, at(0), at(1_000), 10).await.unwrap();
        assert_eq!(changes.len(), usize::from(mean == 2.0));
    }
    let unknown: FleetName = "unknown".parse().unwrap();
    assert_eq!(store.page(page_of(&unknown)).await.unwrap(), []);
    assert_eq!(store.latest(&unknown).await.unwrap(), []);
    assert_eq!(store.forget_epoch(&unknown, 7).await.unwrap(), 0);

    assert_eq!(store.forget_epoch(&fleets[2], 7).await.unwrap(), 7);
    assert_eq!(store.page(page_of(&fleets[2])).await.unwrap(), []);
    assert_eq!(store.epochs(&fleets[2], 10).await.unwrap(), []);
    assert_eq!(store.series(page_of(&fleets[2]).filter, HOUR, 10).await.unwrap(), []);
    for fleet in &fleets[..2] {
        assert_eq!(store.page(page_of(fleet)).await.unwrap().len(), 7, "{fleet}");
        assert_eq!(store.latest(fleet).await.unwrap().len(), 2);
        let hours = store.series(page_of(fleet).filter, HOUR, 10).await.unwrap();
        assert_eq!(hours.iter().map(|point| point.reports).sum::<i64>(), 7);
    }
}

/// Sums and keys of pruned reports are separate, too, and calls of several fleets are executed together.
pub(in crate::store) async fn prunes_all_fleets(store: &impl Store) {
    let fleets = two();
    let calls = (1..=20).flat_map(|cycle| {
        fleets.iter().map(move |fleet| store.record(vec![of(fleet, keyed(7, cycle, None, 2.0))]))
    });
    let outcomes = futures_util::future::join_all(calls).await;
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome.as_deref(), Ok([Outcome::Recorded(_)]))),
        "{outcomes:?}"
    );
    let horizon = |reports, hours: Option<i64>| Horizon { reports: at(reports), hours: hours.map(at) };
    assert_eq!(store.prune(horizon(11, None)).await.unwrap(), 20);
    for fleet in &fleets {
        let left: Vec<_> =
            store.since(fleet, 0, 100).await.unwrap().iter().map(|one| one.report.cycle).collect();
        assert_eq!(left, (11..=20).map(Some).collect::<Vec<_>>());
        let hours = store.series(page_of(fleet).filter, HOUR, 10).await.unwrap();
        assert_eq!(hours.iter().map(|point| (point.reports, point.mean)).collect::<Vec<_>>(), [(20, 2.0)]);
    }
    assert_eq!(record(store, of(&fleets[0], keyed(7, 3, None, 2.0))).await, Outcome::Repeated);
    let third = record(store, keyed(7, 3, None, 2.0)).await;
    assert!(matches!(third, Outcome::Recorded(_)), "no fleet of that name has reported it: {third:?}");
    assert_eq!(store.prune(horizon(10_000, Some(10_000))).await.unwrap(), 21);
    for fleet in &fleets {
        assert_eq!(store.series(page_of(fleet).filter, HOUR, 10).await.unwrap(), []);
        assert_eq!(record(store, of(fleet, keyed(7, 20, None, 2.0))).await, Outcome::Repeated);
    }
}

//! Hand-written histories with a collector that stores the reports.

use super::history_builder::HistoryBuilder;
use super::tests::free;
use crate::chaos::check_report::Violation;
use crate::chaos::history::Arrival;
use crate::collector::StoredReport;

/// Returns the history of [`free`] with a collector that stores what arrived.
fn collected() -> HistoryBuilder {
    let mut builder = free();
    let stored = |(arrival, id): (&Arrival, i64)| {
        let (epoch, cycle) = arrival.key.as_ref()?.split_once('-')?;
        Some(StoredReport {
            id,
            epoch: epoch.parse().ok(),
            cycle: cycle.parse().ok(),
            unit: None,
            time: arrival.time,
            mean: arrival.mean?,
            min: None,
            max: None,
            count: None,
            received: arrival.time,
            reporter: Some("atalaya/1 (node 1)".into()),
        })
    };
    builder.history.stored = builder.history.arrivals.iter().zip(1..).map(stored).collect();
    let arrivals = builder.history.stored.iter().flatten().map(Arrival::from).collect::<Vec<_>>();
    assert_eq!(arrivals, builder.history.arrivals, "they tell the same");
    builder
}

/// The other violations are found by the same checks as those of requests, and by `checks::store`.
#[test]
fn reports_that_a_collector_stores_are_checked() {
    collected().is_good();
    let breaks = |alter: fn(&mut Vec<StoredReport>), kinds: &[Violation]| {
        let mut builder = collected();
        let stored = builder.history.stored.as_mut().unwrap();
        alter(stored);
        builder.history.arrivals = stored.iter().map(Arrival::from).collect();
        builder.breaks(kinds);
    };
    breaks(|stored| stored.push(stored[1].clone()), &[Violation::Twice]);
    breaks(|stored| drop(stored.remove(0)), &[Violation::Lost, Violation::Gap]);
    breaks(|stored| stored[0].epoch = None, &[Violation::Lost, Violation::Unkeyed]);
}

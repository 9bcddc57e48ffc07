use proptest::prelude::*;

use super::*;
use crate::model::report::tests::cycle_report;

fn ms(ms: u64) -> BootInstant {
    BootInstant::at(Duration::from_millis(ms))
}

fn outbox(cycles: impl IntoIterator<Item = u64>) -> Outbox {
    let mut outbox = Outbox::new(Duration::from_secs(1));
    cycles.into_iter().for_each(|cycle| outbox.add(cycle_report(1, cycle, None)));
    outbox
}

fn unfinished(outbox: &Outbox) -> Vec<u64> {
    outbox.unfinished().collect()
}

/// Returns the report of a cycle with averages of two units.
fn two_averages(cycle: u64) -> CycleReport {
    let mut report = cycle_report(1, cycle, Some("Cel"));
    report.averages.extend(cycle_report(1, cycle, Some("%RH")).averages);
    report
}

/// Sends the next report at `now`, or as soon as it may be sent.
fn send(outbox: &mut Outbox, now: &mut u64) -> Option<(Key, Report)> {
    for _ in 0..60_000 {
        match outbox.next_request(ms(*now)) {
            NextRequest::Send { key, report, .. } => return Some((key, report)),
            NextRequest::WaitUntil(_) => *now += 1,
            NextRequest::Idle => return None,
        }
    }
    panic!("no report within a minute")
}

/// Records an outcome. Returns its cycle if the whole report has its final outcome then.
fn finished_by(outbox: &mut Outbox, key: Key, outcome: Outcome) -> Option<u64> {
    outbox.on_outcome(key, outcome);
    outbox.disposition(key.0).map(|_| key.0)
}

#[test]
fn outbox_finishes_a_report_with_its_last_average() {
    let (mut outbox, mut now) = (outbox([]), 0);
    outbox.add(two_averages(7));
    for (idempotency_key, finished) in [("1-7-Cel", None), ("1-7-%RH", Some(7))] {
        let (key, report) = send(&mut outbox, &mut now).unwrap();
        assert_eq!(report.idempotency_key(), idempotency_key);
        assert_eq!(finished_by(&mut outbox, key, Outcome::Accepted), finished);
    }
    assert_eq!((outbox.disposition(7), outbox.waiting()), (Some(&Disposition::Delivered), 0));
    // It stays until it is deleted in ZooKeeper, and is not sent again.
    outbox.add(two_averages(7));
    assert_eq!((send(&mut outbox, &mut now), unfinished(&outbox)), (None, vec![7]));
    outbox.on_finished(7);
    assert!(!outbox.contains(7));
}

#[test]
fn outbox_keeps_only_the_rejected_averages_of_a_report() {
    let (mut outbox, mut now) = (outbox([]), 0);
    outbox.add(two_averages(7));
    let (key, _) = send(&mut outbox, &mut now).unwrap();
    outbox.on_outcome(key, Outcome::Accepted);
    while outbox.disposition(7).is_none() {
        let (key, report) = send(&mut outbox, &mut now).unwrap();
        assert_eq!(report.idempotency_key(), "1-7-%RH");
        outbox.on_outcome(key, Outcome::Rejected("400".into()));
    }
    let Some(Disposition::Rejected(aside)) = outbox.disposition(7) else { panic!() };
    assert_eq!((aside.averages.len(), aside.averages[0].unit.as_deref()), (1, Some("%RH")));
    assert_eq!(aside.reason.as_deref(), Some("400"));
}

#[test]
fn outbox_does_not_send_reports_that_a_client_deleted() {
    let (mut outbox, mut now) = (outbox([1, 2, 3]), 0);
    let before = outbox.cycles();
    outbox.set_listed(&before, &BTreeSet::from([2]));
    assert_eq!(send(&mut outbox, &mut now).unwrap().0.0, 2);
    assert_eq!(outbox.waiting(), 1);
}

#[test]
fn outbox_keeps_reports_that_are_added_during_a_listing() {
    let (mut outbox, mut now) = (outbox([1, 2]), 0);
    let before = outbox.cycles();
    // The list has been read already.
    outbox.add(cycle_report(1, 3, None));
    outbox.set_listed(&before, &BTreeSet::from([2]));
    let mut settled = Vec::new();
    while let Some((key, _)) = send(&mut outbox, &mut now) {
        settled.extend(finished_by(&mut outbox, key, Outcome::Accepted));
    }
    assert_eq!(settled, [2, 3]);
    // An unfinished report that was finished during the listing stays as well.
    let before = BTreeSet::from([2]);
    outbox.set_listed(&before, &BTreeSet::new());
    assert_eq!(unfinished(&outbox), [3]);
}

#[test]
fn outbox_drops_the_oldest_report_when_it_is_full() {
    let mut outbox = outbox(1..=MAX_REPORTS as u64 - 1);
    assert_eq!(outbox.to_drop(), None);
    outbox.add(cycle_report(1, 20_000, None));
    let mut now = 0;
    assert_eq!(send(&mut outbox, &mut now).unwrap().0.0, 1);
    assert_eq!(outbox.to_drop(), Some(2), "the first is being sent");
    outbox.on_dropped(2);
    assert_eq!((outbox.to_drop(), outbox.contains(2)), (None, false));
    let change = outbox.on_outcome((1, 0), Outcome::Failed("refused".into()));
    assert!(matches!(change, Some(StateChange::Failing(_))));
    let (key, _) = send(&mut outbox, &mut now).unwrap();
    assert_eq!(outbox.on_outcome(key, Outcome::Accepted), Some(StateChange::Accepting { dropped: 1 }));
}

const OWN: Fence = Fence { epoch: 9, cycle: 20, skipped: None };

/// Returns the outbox of the leader `own` with the report of cycle 7 in epoch `epoch`, which a collector refused
/// because of the epoch `later`.
fn refused_as_stale(own: Fence, epoch: i64, later: i64) -> (Outbox, Option<StateChange>) {
    let (mut outbox, mut now) = (outbox([]), 0);
    outbox.fence = Some(own);
    outbox.add(cycle_report(epoch, 7, None));
    let (key, _) = send(&mut outbox, &mut now).unwrap();
    let change = outbox.on_outcome(key, Outcome::Stale(Stale { epoch: later, first_cycle: 3 }));
    (outbox, change)
}

#[test]
fn outbox_keeps_a_report_that_an_epoch_above_the_leaders_makes_stale() {
    for epoch in [8, 9] {
        let (mut outbox, change) = refused_as_stale(OWN, epoch, 99);
        assert_eq!((outbox.outranked, outbox.waiting(), unfinished(&outbox)), (Some(99), 1, vec![]));
        assert!(matches!(change, Some(StateChange::Failing(reason)) if reason.contains("99")));
        let mut now = 1_000;
        assert!(send(&mut outbox, &mut now).is_some(), "it is tried again: the collector may be repaired");
    }
}

#[test]
fn outbox_resends_a_report_in_the_leaders_epoch_if_a_skipped_epoch_makes_it_stale() {
    let own = Fence { epoch: 100, skipped: Some((10, 99)), ..OWN };
    let (mut outbox, _) = refused_as_stale(own, 9, 99);
    let again = CycleReport { epoch: 100, ..cycle_report(9, 7, None) };
    assert_eq!((outbox.disposition(7), outbox.outranked), (Some(&Disposition::Resend(again)), None));
    outbox.on_finished(7);
    let mut now = 1_000;
    let (key, report) = send(&mut outbox, &mut now).unwrap();
    assert_eq!(report.idempotency_key(), "100-7");
    // In the current epoch no later one makes it stale. If the API still refuses it as stale, it is rejected.
    outbox.on_outcome(key, Outcome::Stale(Stale { epoch: 99, first_cycle: 3 }));
    assert!(matches!(outbox.disposition(7), Some(Disposition::Rejected(_))));
}

#[test]
fn outbox_resends_only_the_stale_averages_of_a_cycle() {
    let (mut outbox, mut now) = (outbox([]), 0);
    outbox.fence = Some(Fence { epoch: 100, skipped: Some((10, 99)), ..OWN });
    outbox.add(two_averages(7));
    let (key, _) = send(&mut outbox, &mut now).unwrap();
    outbox.on_outcome(key, Outcome::Accepted);
    let (key, _) = send(&mut outbox, &mut now).unwrap();
    let stale = Outcome::Stale(Stale { epoch: 99, first_cycle: 3 });
    assert_eq!(finished_by(&mut outbox, key, stale), Some(7));
    let Some(Disposition::Resend(report)) = outbox.disposition(7) else { panic!() };
    assert_eq!((report.averages.len(), report.averages[0].unit.as_deref()), (1, Some("%RH")));
}

#[test]
fn outbox_rejects_a_report_that_an_epoch_of_the_fleet_makes_stale() {
    let (outbox, change) = refused_as_stale(OWN, 8, 9);
    let Some(Disposition::Rejected(report)) = outbox.disposition(7) else {
        panic!("the report is kept as rejected")
    };
    assert!(report.reason.as_deref().unwrap().contains("later epoch 9"), "{:?}", report.reason);
    assert!(matches!(change, Some(StateChange::Invalid(_))));
}

#[test]
fn outbox_rejects_reports_of_cycles_that_the_fleet_has_not_reached() {
    let mut outbox = outbox([1, 2, 3]);
    assert_eq!((outbox.reject_above(2), outbox.waiting(), unfinished(&outbox)), (1, 2, vec![3]));
    let Some(Disposition::Undeliverable(data)) = outbox.disposition(3) else { panic!() };
    assert!(String::from_utf8_lossy(data).contains("above 2"));
    assert_eq!(outbox.reject_above(u64::MAX), 0);
}

#[test]
fn outbox_holds_a_bounded_number_of_bytes_and_reads_the_rest_later() {
    let mut outbox = outbox([]);
    let large = |cycle| {
        let mut report = cycle_report(1, cycle, None);
        report.averages = (0..100).map(|_| report.averages[0].clone()).collect();
        report.averages.iter_mut().for_each(|average| average.quantity = Some("q".repeat(1_000)));
        report
    };
    let each = large(1).size();
    outbox.set_listed(&BTreeSet::new(), &(1..=1_000).collect());
    let mut read = 0;
    while let [cycle] = outbox.to_read(1)[..] {
        outbox.on_read(large(cycle));
        read += 1;
    }
    assert!(each > 100_000 && (read * each).abs_diff(MAX_LOADED_BYTES) <= each, "{read} of {each} bytes");
    outbox.add(large(1_001));
    let counts = (outbox.waiting(), outbox.loaded.len());
    assert_eq!(counts, (1_001, read), "a new report stays out of memory as well");
    // Delivered reports make room for the others, which are read in order.
    let (mut now, mut settled) = (0, Vec::new());
    while let Some((key, _)) = send(&mut outbox, &mut now) {
        settled.extend(finished_by(&mut outbox, key, Outcome::Accepted));
        settled.iter().for_each(|cycle| outbox.on_finished(*cycle));
        outbox.to_read(1).into_iter().for_each(|cycle| outbox.on_read(large(cycle)));
    }
    assert_eq!(settled, (1..=1_001).collect::<Vec<_>>());
    assert_eq!(outbox.loaded_bytes, 0);
}

proptest! {
    /// Each cycle is finished once, or still waits.
    #[test]
    fn outbox_finishes_each_cycle_once(acts in prop::collection::vec((0u8..6, 1u64..8), 0..200)) {
        let (mut outbox, mut now) = (outbox([]), 0);
        let (mut written, mut ended): (BTreeSet<u64>, Vec<u64>) = Default::default();
        let mut seen = BTreeSet::new();
        for (act, cycle) in acts {
            now += 10;
            match act {
                0 if seen.insert(cycle) => { outbox.add(two_averages(cycle)); written.insert(cycle); }
                1 => outbox.queue.on_interrupted(),
                2 => {
                    let known = outbox.cycles();
                    outbox.set_listed(&known, &written);
                }
                _ => if let Some((key, _)) = send(&mut outbox, &mut now) {
                    let outcome = match act {
                        3 => Outcome::Accepted,
                        4 => Outcome::Rejected("no".into()),
                        _ => Outcome::Failed("no".into()),
                    };
                    if let Some(cycle) = finished_by(&mut outbox, key, outcome) {
                        prop_assert!(outbox.disposition(cycle).is_some());
                        outbox.on_finished(cycle);
                        written.remove(&cycle);
                        ended.push(cycle);
                    }
                },
            }
            prop_assert_eq!(outbox.waiting(), written.len());
        }
        let count = ended.len();
        ended.sort_unstable();
        ended.dedup();
        prop_assert_eq!(ended.len(), count);
    }
}

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

fn endings(outbox: &Outbox) -> Vec<u64> {
    outbox.endings().collect()
}

/// A cycle with averages of two units.
fn double(cycle: u64) -> CycleReport {
    let mut report = cycle_report(1, cycle, Some("Cel"));
    report.averages.extend(cycle_report(1, cycle, Some("%RH")).averages);
    report
}

/// Sends the next one at `now`, or as soon as it may be sent.
fn send(outbox: &mut Outbox, now: &mut u64) -> Option<(Key, Report)> {
    for _ in 0..60_000 {
        match outbox.next(ms(*now)) {
            Next::Send(key, report) => return Some((key, report)),
            Next::Wait(_) => *now += 1,
            Next::Idle => return None,
        }
    }
    panic!("it waits for ever")
}

#[test]
fn a_cycle_ends_with_its_last_average() {
    let (mut outbox, mut now) = (outbox([]), 0);
    outbox.add(double(7));
    let (key, report) = send(&mut outbox, &mut now).unwrap();
    assert_eq!(
        (report.idempotency_key(), outbox.done(key, Outcome::Accepted)),
        ("1-7-Cel".to_owned(), (None, None))
    );
    let (key, report) = send(&mut outbox, &mut now).unwrap();
    assert_eq!(
        (report.idempotency_key(), outbox.done(key, Outcome::Accepted)),
        ("1-7-%RH".to_owned(), (Some(7), None))
    );
    assert_eq!((outbox.ending(7), outbox.waiting()), (Some(&Ending::Delivered), 0));
    // It is there for as long as it is not deleted, and not sent again.
    outbox.add(double(7));
    assert_eq!((send(&mut outbox, &mut now), endings(&outbox)), (None, vec![7]));
    outbox.ended(7);
    assert!(!outbox.knows(7));
}

#[test]
fn only_what_was_rejected_is_set_aside() {
    let (mut outbox, mut now) = (outbox([]), 0);
    outbox.add(double(7));
    let (key, _) = send(&mut outbox, &mut now).unwrap();
    outbox.done(key, Outcome::Accepted);
    while outbox.ending(7).is_none() {
        let (key, report) = send(&mut outbox, &mut now).unwrap();
        assert_eq!(report.idempotency_key(), "1-7-%RH");
        outbox.done(key, Outcome::Rejected("400".into()));
    }
    let Some(Ending::Aside(aside)) = outbox.ending(7) else { panic!() };
    assert_eq!((aside.averages.len(), aside.averages[0].unit.as_deref()), (1, Some("%RH")));
    assert_eq!(aside.reason.as_deref(), Some("400"));
}

#[test]
fn what_somebody_has_deleted_is_not_sent() {
    let (mut outbox, mut now) = (outbox([1, 2, 3]), 0);
    let before = outbox.known();
    outbox.keep_only(&before, &BTreeSet::from([2]));
    assert_eq!(send(&mut outbox, &mut now).unwrap().0.0, 2);
    assert_eq!(outbox.waiting(), 1);
}

#[test]
fn what_is_written_down_while_somebody_looks_stays() {
    let (mut outbox, mut now) = (outbox([1, 2]), 0);
    let before = outbox.known();
    // The list was read already.
    outbox.add(cycle_report(1, 3, None));
    outbox.keep_only(&before, &BTreeSet::from([2]));
    let mut settled = Vec::new();
    while let Some((key, _)) = send(&mut outbox, &mut now) {
        settled.extend(outbox.done(key, Outcome::Accepted).0);
    }
    assert_eq!(settled, [2, 3]);
    // So does what is still to be deleted.
    let before = BTreeSet::from([2]);
    outbox.keep_only(&before, &BTreeSet::new());
    assert_eq!(endings(&outbox), [3]);
}

#[test]
fn there_is_room_for_so_many_and_the_oldest_makes_room() {
    let mut outbox = outbox(1..=LARGEST as u64 - 1);
    assert_eq!(outbox.too_many(), None);
    outbox.add(cycle_report(1, 20_000, None));
    let mut now = 0;
    assert_eq!(send(&mut outbox, &mut now).unwrap().0.0, 1);
    assert_eq!(outbox.too_many(), Some(2), "the first is being sent");
    outbox.dropped(2);
    assert_eq!((outbox.too_many(), outbox.knows(2)), (None, false));
    let news = outbox.done((1, 0), Outcome::CommitError("refused".into())).1;
    assert!(matches!(news, Some(News::Failing(_))));
    let (key, _) = send(&mut outbox, &mut now).unwrap();
    assert_eq!(outbox.done(key, Outcome::Accepted).1, Some(News::Accepting { dropped: 1 }));
}

const OWN: Fence = Fence { epoch: 9, cycle: 20, skipped: None };

/// An outbox of the leader of epoch 9 with the report of cycle 7 in epoch 8 or 9, which a collector refuses because
/// of `later`.
fn refused_because_of(own: Fence, epoch: i64, later: i64) -> (Outbox, Option<News>) {
    let (mut outbox, mut now) = (outbox([]), 0);
    outbox.set_term(own);
    outbox.add(cycle_report(epoch, 7, None));
    let (key, _) = send(&mut outbox, &mut now).unwrap();
    let news = outbox.done(key, Outcome::Stale(Stale { epoch: later, first_cycle: 3 })).1;
    (outbox, news)
}

#[test]
fn outbox_keeps_a_report_that_an_epoch_above_the_leaders_makes_stale() {
    for epoch in [8, 9] {
        let (mut outbox, news) = refused_because_of(OWN, epoch, 99);
        assert_eq!((outbox.outranked(), outbox.waiting(), endings(&outbox)), (Some(99), 1, vec![]));
        assert!(matches!(news, Some(News::Failing(reason)) if reason.contains("99")));
        let mut now = 1_000;
        assert!(
            send(&mut outbox, &mut now).is_some(),
            "it is tried again, for a collector that is put right"
        );
    }
}

#[test]
fn outbox_sends_a_report_again_in_the_leaders_epoch_if_a_skipped_epoch_makes_it_stale() {
    let own = Fence { epoch: 100, skipped: Some((10, 99)), ..OWN };
    let (mut outbox, _) = refused_because_of(own, 9, 99);
    let again = CycleReport { epoch: 100, ..cycle_report(9, 7, None) };
    assert_eq!((outbox.ending(7), outbox.outranked()), (Some(&Ending::Again(again)), None));
    outbox.ended(7);
    let mut now = 1_000;
    let (key, report) = send(&mut outbox, &mut now).unwrap();
    assert_eq!(report.idempotency_key(), "100-7");
    // In the current epoch no later one makes it stale; an API that still says so is not asked again and again.
    outbox.done(key, Outcome::Stale(Stale { epoch: 99, first_cycle: 3 }));
    assert!(matches!(outbox.ending(7), Some(Ending::Aside(_))));
}

#[test]
fn outbox_sends_only_the_stale_averages_of_a_cycle_again() {
    let (mut outbox, mut now) = (outbox([]), 0);
    outbox.set_term(Fence { epoch: 100, skipped: Some((10, 99)), ..OWN });
    outbox.add(double(7));
    let (key, _) = send(&mut outbox, &mut now).unwrap();
    outbox.done(key, Outcome::Accepted);
    let (key, _) = send(&mut outbox, &mut now).unwrap();
    assert_eq!(outbox.done(key, Outcome::Stale(Stale { epoch: 99, first_cycle: 3 })).0, Some(7));
    let Some(Ending::Again(report)) = outbox.ending(7) else { panic!() };
    assert_eq!((report.averages.len(), report.averages[0].unit.as_deref()), (1, Some("%RH")));
}

#[test]
fn outbox_sets_a_report_aside_that_an_epoch_of_the_fleet_makes_stale() {
    let (outbox, news) = refused_because_of(OWN, 8, 9);
    let Some(Ending::Aside(report)) = outbox.ending(7) else { panic!("it is not deleted") };
    assert!(report.reason.as_deref().unwrap().contains("later epoch 9"), "{:?}", report.reason);
    assert!(matches!(news, Some(News::Invalid(_))));
}

#[test]
fn outbox_refuses_reports_of_cycles_that_the_fleet_has_not_reached() {
    let mut outbox = outbox([1, 2, 3]);
    assert_eq!((outbox.refuse_above(2), outbox.waiting(), endings(&outbox)), (1, 2, vec![3]));
    let Some(Ending::Refused(data)) = outbox.ending(3) else { panic!() };
    assert!(String::from_utf8_lossy(data).contains("above 2"));
    assert_eq!(outbox.refuse_above(u64::MAX), 0);
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
    outbox.listed(&(1..=1_000).collect());
    let mut read = 0;
    while let [cycle] = outbox.to_read(1)[..] {
        outbox.read(large(cycle));
        read += 1;
    }
    assert!(each > 100_000 && (read * each).abs_diff(LARGEST_LOADED) <= each, "{read} of {each} bytes");
    outbox.add(large(1_001));
    assert_eq!((outbox.waiting(), outbox.open.len()), (1_001, read), "a new one is not kept either");
    // As reports are delivered there is room for others, in order, and in the end all have been read.
    let (mut now, mut settled) = (0, Vec::new());
    while let Some((key, _)) = send(&mut outbox, &mut now) {
        settled.extend(outbox.done(key, Outcome::Accepted).0);
        settled.iter().for_each(|cycle| outbox.ended(*cycle));
        outbox.to_read(1).into_iter().for_each(|cycle| outbox.read(large(cycle)));
    }
    assert_eq!(settled, (1..=1_001).collect::<Vec<_>>());
    assert_eq!(outbox.loaded, 0);
}

proptest! {
    /// Whatever happens, each cycle ends once, or still waits.
    #[test]
    fn each_cycle_ends_once(acts in prop::collection::vec((0u8..6, 1u64..8), 0..200)) {
        let (mut outbox, mut now) = (outbox([]), 0);
        let (mut written, mut ended): (BTreeSet<u64>, Vec<u64>) = Default::default();
        let mut seen = BTreeSet::new();
        for (act, cycle) in acts {
            now += 10;
            match act {
                0 if seen.insert(cycle) => { outbox.add(double(cycle)); written.insert(cycle); }
                1 => outbox.interrupted(),
                2 => {
                    let known = outbox.known();
                    outbox.keep_only(&known, &written);
                }
                _ => if let Some((key, _)) = send(&mut outbox, &mut now) {
                    let outcome = match act {
                        3 => Outcome::Accepted,
                        4 => Outcome::Rejected("no".into()),
                        _ => Outcome::CommitError("no".into()),
                    };
                    if let (Some(cycle), _) = outbox.done(key, outcome) {
                        prop_assert!(outbox.ending(cycle).is_some());
                        outbox.ended(cycle);
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

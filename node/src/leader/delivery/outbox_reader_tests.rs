use proptest::prelude::*;
use tokio::sync::watch;

use super::*;
use crate::leader::outbox_store::OutboxPaths;
use crate::leader::test_support::{as_leader, config, handles};
use crate::model::leader_state::LeaderState;
use crate::model::report::tests::cycle_report;

const NEWEST: Fence = Fence { epoch: 9, cycle: 20, skipped: None };

fn undeliverable(data: Vec<u8>, cycle: u64) -> (String, Vec<u8>) {
    check(data, cycle, NEWEST).expect_err("it is accepted")
}

#[tokio::test]
async fn report_that_was_put_back_before_the_outbox_is_watched_is_read() {
    as_leader(async |leadership| {
        let report = cycle_report(NEWEST.epoch, 7, None);
        let path = OutboxPaths::api().report(7);
        leadership.connection().ensure(&path).await.unwrap();
        leadership.connection().set(&path, &report.data(), None).await.unwrap();
        let handles = handles(watch::channel(config()).1);
        let leading = LeaderState::new(NEWEST.epoch, NEWEST.cycle, jiff::Timestamp::UNIX_EPOCH);
        handles.state.send_replace(Some(leading));
        let outbox = SharedOutbox::new(&handles);
        let reader = OutboxReader { outbox: &outbox, leadership: &leadership, handles: &handles };
        let read = async {
            while outbox.lock().await.waiting() == 0 {
                outbox.changed.notified().await;
            }
        };
        tokio::select! {
            () = reader.follow_changes() => panic!("the reader ended"),
            read = tokio::time::timeout(Duration::from_secs(30), read) => read.expect("the report is read"),
        }
    })
    .await;
}

#[test]
fn outbox_reader_accepts_only_reports_up_to_the_leaders_epoch_and_cycle() {
    for (epoch, cycle) in [(1, 0), (9, 20), (8, 20), (9, 1)] {
        assert!(check(cycle_report(epoch, cycle, None).data(), cycle, NEWEST).is_ok(), "{epoch} {cycle}");
    }
    for (epoch, cycle, expected) in
        [(10, 0, "epoch is 10"), (250_000_000_000, 3, "above 9"), (9, 21, "cycle is above 20")]
    {
        let (reason, data) = undeliverable(cycle_report(epoch, cycle, None).data(), cycle);
        assert!(reason.contains(expected), "{reason}");
        let rejected = CycleReport::parse(&data, cycle).unwrap();
        assert_eq!((rejected.epoch, rejected.reason), (epoch, Some(reason)), "the whole report is kept");
    }
}

#[test]
fn outbox_reader_keeps_data_that_is_not_a_report_unless_it_is_too_large() {
    let (_, data) = undeliverable(b"not a report".to_vec(), 3);
    assert_eq!(data, b"not a report");
    let (reason, data) = undeliverable(vec![b'7'; 900_000], 3);
    assert!(reason.contains("900000 bytes") && data.len() < 200, "{reason}");
    assert!(String::from_utf8(data).unwrap().contains(&reason));
}

proptest! {
    #[test]
    fn outbox_reader_checks_any_bytes_and_keeps_at_most_twice_the_size_of_a_report(data in crate::model::foreign_input::bytes(), cycle in any::<u64>()) {
        if let Err((_, data)) = check(data, cycle, NEWEST) {
            prop_assert!(data.len() <= 2 * report::MAX_SIZE);
        }
    }
}

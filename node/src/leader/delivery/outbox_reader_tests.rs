use proptest::prelude::*;

use super::*;
use crate::model::report::tests::cycle_report;

const NEWEST: Fence = Fence { epoch: 9, cycle: 20, skipped: None };

fn refusal(data: Vec<u8>, cycle: u64) -> (String, Vec<u8>) {
    let Err(Refused { reason, data }) = judge(data, cycle, NEWEST) else { panic!("it is accepted") };
    (reason, data)
}

#[test]
fn leader_takes_only_reports_up_to_its_own_epoch_and_cycle() {
    for (epoch, cycle) in [(1, 0), (9, 20), (8, 20), (9, 1)] {
        assert!(judge(cycle_report(epoch, cycle, None).data(), cycle, NEWEST).is_ok(), "{epoch} {cycle}");
    }
    for (epoch, cycle, why) in
        [(10, 0, "epoch is 10"), (250_000_000_000, 3, "above 9"), (9, 21, "cycle is above 20")]
    {
        let (reason, data) = refusal(cycle_report(epoch, cycle, None).data(), cycle);
        assert!(reason.contains(why), "{reason}");
        let aside = CycleReport::parse(&data, cycle).unwrap();
        assert_eq!((aside.epoch, aside.reason), (epoch, Some(reason)), "nothing of it is lost");
    }
}

#[test]
fn leader_sets_aside_the_data_of_what_is_no_report_unless_it_is_too_large() {
    let (_, data) = refusal(b"what is this".to_vec(), 3);
    assert_eq!(data, b"what is this");
    let (reason, data) = refusal(vec![b'7'; 900_000], 3);
    assert!(reason.contains("900000 bytes") && data.len() < 200, "{reason}");
    assert!(String::from_utf8(data).unwrap().contains(&reason));
}

proptest! {
    #[test]
    fn leader_judges_any_bytes_and_sets_aside_no_more_than_a_report_may_have(data in crate::model::foreign_input::bytes(), cycle in any::<u64>()) {
        if let Err(Refused { data, .. }) = judge(data, cycle, NEWEST) {
            prop_assert!(data.len() <= 2 * report::MAX_SIZE);
        }
    }
}

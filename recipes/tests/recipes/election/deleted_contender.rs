use atalaya_recipes::Standing;

use crate::support::election::{ELECTION, TestBed, wait_until};

#[test]
fn contender_whose_znode_is_deleted_goes_to_the_end_and_no_other_leads_early() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let observer = bed.connection();
    let first = bed.direct_contender("first");
    let leader_run = first.until_leading();
    let second = bed.direct_contender("second");
    second.until(Standing::Waiting { ahead: 1 });
    let third = bed.direct_contender("third");
    third.until(Standing::Waiting { ahead: 2 });

    let line = bed.line(&observer);
    assert_eq!(line[0], leader_run.znode);
    probe.delete(&line[1]).unwrap();
    third.until(Standing::Waiting { ahead: 1 });
    wait_until("the deleted contender is at the end of the queue", || {
        probe.contenders(ELECTION) == ["first", "third", "second"]
    });
    second.until(Standing::Waiting { ahead: 2 });
    assert_eq!((second.run_log.runs().len(), third.run_log.runs().len()), (0, 0));
    assert_eq!(first.until_leading().fencing_token, leader_run.fencing_token);
    assert_eq!(first.run_log.runs().len(), 1, "the leader was interrupted");

    first.finish(&bed);
    third.until_leading();
    third.finish(&bed);
    second.until_leading();
}

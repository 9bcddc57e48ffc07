//! Curator issue 171: a leader whose znode was deleted continued to lead beside its successor.

use atalaya_recipes::Standing;

use crate::support::election::{ELECTION, TestBed};

#[test]
fn curator_171_leader_without_its_znode_stops_and_contends_again() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let one = bed.direct_contender("one");
    let leader_run = one.until_leading();
    let two = bed.direct_contender("two");
    two.until(Standing::Waiting { ahead: 1 });

    probe.delete(&leader_run.znode).unwrap();
    one.until_ended(1);
    assert!(two.until_leading().fencing_token > leader_run.fencing_token);
    one.until(Standing::Waiting { ahead: 1 });
    assert_eq!(probe.contenders(ELECTION), ["two", "one"]);

    // Without another contender, it leads again at once, with a higher fencing token.
    two.finish(&bed);
    let again = one.until_leading();
    probe.delete(&again.znode).unwrap();
    one.until_ended(2);
    let third = one.until_leading();
    assert!(third.fencing_token > again.fencing_token && third.znode != again.znode);
    assert_eq!(probe.contenders(ELECTION), ["one"]);
}

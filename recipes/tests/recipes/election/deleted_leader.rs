//! Curator's bug 171: a leader whose znode somebody had deleted led on, beside the next one.

use atalaya_recipes::Standing;

use crate::support::election::{Bed, ELECTION};

#[test]
fn curator_171_leader_without_its_znode_stops_and_contends_again() {
    let bed = Bed::start();
    let probe = bed.probe();
    let one = bed.contender_beside("one");
    let reign = one.until_leading();
    let two = bed.contender_beside("two");
    two.until(Standing::Waiting { ahead: 1 });

    probe.delete(&reign.znode).unwrap();
    one.until_ended(1);
    assert!(two.until_leading().term > reign.term);
    one.until(Standing::Waiting { ahead: 1 });
    assert_eq!(probe.contenders(ELECTION), ["two", "one"]);

    // Deleted when nobody is behind: it leads again at once, in a later term.
    two.finish(&bed);
    let again = one.until_leading();
    probe.delete(&again.znode).unwrap();
    one.until_ended(2);
    let third = one.until_leading();
    assert!(third.term > again.term && third.znode != again.znode);
    assert_eq!(probe.contenders(ELECTION), ["one"]);
}

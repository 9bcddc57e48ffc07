use atalaya_recipes::Standing;
use atalaya_testbed::eventually;

use crate::support::election::{Bed, ELECTION, SOON};

#[test]
fn contender_whose_znode_is_deleted_goes_to_the_end_and_no_other_leads_early() {
    let bed = Bed::start();
    let probe = bed.probe();
    let witness = bed.connection();
    let first = bed.contender_beside("first");
    let reign = first.until_leading();
    let second = bed.contender_beside("second");
    second.until(Standing::Waiting { ahead: 1 });
    let third = bed.contender_beside("third");
    third.until(Standing::Waiting { ahead: 2 });

    let line = bed.line(&witness);
    assert_eq!(line[0], reign.znode);
    probe.delete(&line[1]).unwrap();
    third.until(Standing::Waiting { ahead: 1 });
    eventually("the one that was deleted is back, at the end", SOON, || {
        (probe.contenders(ELECTION) == ["first", "third", "second"]).then_some(())
    });
    second.until(Standing::Waiting { ahead: 2 });
    assert_eq!((second.journal.reigns().len(), third.journal.reigns().len()), (0, 0));
    assert_eq!(first.until_leading().term, reign.term);
    assert_eq!(first.journal.reigns().len(), 1, "the leader was not disturbed");

    first.finish(&bed);
    third.until_leading();
    third.finish(&bed);
    second.until_leading();
}

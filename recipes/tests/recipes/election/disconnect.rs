use atalaya_recipes::{Phase, Standing};

use crate::support::election::{TestBed, until_phase};

#[test]
fn leader_is_interrupted_by_a_disconnect_and_resumes_with_the_same_fencing_token() {
    let (bed, proxy) = TestBed::behind_proxy();
    let leader = bed.contender("leader", &proxy);
    let before = leader.until_leading();
    let next = bed.direct_contender("next");
    next.until(Standing::Waiting { ahead: 1 });

    proxy.refuse(true);
    proxy.cut();
    until_phase(&leader.session, Phase::Suspended);
    leader.until_ended(1);
    leader.until(Standing::Inactive);
    proxy.refuse(false);

    let after = leader.until_leading();
    assert_eq!(leader.run_log.runs().len(), 2, "the leader code ran again");
    assert_eq!((after.fencing_token, &after.znode), (before.fencing_token, &before.znode));
    assert!(next.run_log.runs().is_empty(), "no other contender led");
    assert!(next.is(Standing::Waiting { ahead: 1 }));
    leader.finish(&bed);
    assert!(next.until_leading().fencing_token > after.fencing_token);
}

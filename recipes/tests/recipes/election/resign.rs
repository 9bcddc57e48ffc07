use atalaya_recipes::{Election, Phase, Standing};
use atalaya_testbed::Proxy;

use crate::support::election::{DELETE, ELECTION, SharedCount, TestBed, wait_until};

#[test]
fn contender_deletes_its_znode_before_run_returns() {
    let (bed, proxy) = TestBed::behind_proxy();
    withdraws_with(&bed, &proxy);
}

#[test]
fn contender_deletes_its_znode_although_the_request_is_lost() {
    let (bed, proxy) = TestBed::behind_proxy();
    proxy.cut_before_request(DELETE);
    withdraws_with(&bed, &proxy);
    assert!(!proxy.is_armed());
}

#[test]
fn contender_deletes_its_znode_although_the_reply_is_lost() {
    let (bed, proxy) = TestBed::behind_proxy();
    proxy.cut_after_request(DELETE);
    withdraws_with(&bed, &proxy);
    assert!(!proxy.is_armed());
}

/// Runs leader code that returns at once: its value is returned, no znode is left, and the session continues.
#[track_caller]
fn withdraws_with(bed: &TestBed, proxy: &Proxy) {
    let observer = bed.connection();
    let session = bed.session_to(&proxy.connect_string());
    let election = Election::new(session.clone(), ELECTION, "a", Default::default());
    let standing = election.standing();
    let begun = SharedCount::default();
    let counted = begun.clone();
    let run = bed.spawn(election.run(move |leadership| {
        counted.up();
        async move { leadership.fencing_token() }
    }));
    let token = bed.wait(run).unwrap();
    assert!(token > 0);
    assert_eq!(bed.line(&observer), [""; 0]);
    assert_eq!(begun.get(), 1, "leader code that has returned was begun again");
    assert_eq!(*standing.borrow(), Standing::Inactive);
    wait_until("the session goes on", || session.state().phase == Phase::Connected);
}

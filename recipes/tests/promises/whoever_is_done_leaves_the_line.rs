use atalaya_recipes::{Election, Phase, Standing};
use atalaya_testbed::{Proxy, eventually};

use crate::support::{Bed, Count, DELETE, ELECTION, SOON};

#[test]
fn before_run_returns() {
    let bed = Bed::start();
    let proxy = bed.proxy();
    withdraws_with(&bed, &proxy);
}

#[test]
fn even_if_the_request_to_withdraw_is_lost() {
    let bed = Bed::start();
    let proxy = bed.proxy();
    proxy.cut_before_request(DELETE);
    withdraws_with(&bed, &proxy);
    assert!(!proxy.is_armed());
}

#[test]
fn even_if_the_reply_is_lost() {
    let bed = Bed::start();
    let proxy = bed.proxy();
    proxy.cut_after_request(DELETE);
    withdraws_with(&bed, &proxy);
    assert!(!proxy.is_armed());
}

/// The leader's code runs once, its value is returned, and then no znode is in line, while the session goes on.
#[track_caller]
fn withdraws_with(bed: &Bed, proxy: &Proxy) {
    let witness = bed.connection();
    let session = bed.session(&proxy.connect_string());
    let election = Election::new(session.clone(), ELECTION, "a", Default::default());
    let standing = election.standing();
    let begun = Count::default();
    let counted = begun.clone();
    let run = bed.spawn(election.run(move |leadership| {
        counted.up();
        async move { leadership.fencing_token() }
    }));
    let term = bed.wait(run).unwrap();
    assert!(term > 0);
    assert_eq!(bed.line(&witness), [""; 0]);
    assert_eq!(begun.get(), 1, "leader code that has returned was begun again");
    assert_eq!(*standing.borrow(), Standing::Inactive);
    eventually("the session goes on", SOON, || (session.state().phase == Phase::Connected).then_some(()));
}

//! Ghosts in line were Kazoo's bug 732 and Curator's 79: a create whose reply is lost leaves a znode that nobody knows
//! is its own, and everyone waits for it.

use atalaya_recipes::Standing;
use atalaya_testbed::{Probe, eventually};

use crate::support::{Bed, CREATE, SOON};

#[test]
fn kazoo_732_the_reply_to_its_create_was_lost() {
    let bed = Bed::start();
    let probe = bed.probe();
    probe.create("/election", b"", false).unwrap();
    let proxy = bed.proxy();
    proxy.cut_after_request(CREATE);
    let contender = bed.contender("a", &proxy);
    let reign = contender.until_leading();
    assert!(!proxy.is_armed(), "no reply was lost");
    assert_eq!(probe.contenders("/election"), ["a"]);
    never_made_another(&probe, 1);
    assert_eq!(probe.exists(&reign.znode).unwrap().ephemeral_owner, contender.session.state().session);
}

#[test]
fn curator_79_the_reply_was_lost_while_another_led() {
    let bed = Bed::start();
    let probe = bed.probe();
    let first = bed.contender_beside("first");
    first.until_leading();
    let proxy = bed.proxy();
    proxy.cut_after_request(CREATE);
    let second = bed.contender("second", &proxy);
    second.until(Standing::Waiting { ahead: 1 });
    assert!(!proxy.is_armed(), "no reply was lost");
    let third = bed.contender_beside("third");
    third.until(Standing::Waiting { ahead: 2 });
    assert_eq!(probe.contenders("/election"), ["first", "second", "third"]);
    never_made_another(&probe, 3);
    first.finish(&bed);
    second.until_leading();
    second.finish(&bed);
    third.until_leading();
    assert_eq!(probe.contenders("/election"), ["third"]);
}

#[test]
fn its_create_was_lost() {
    let bed = Bed::start();
    let probe = bed.probe();
    let proxy = bed.proxy();
    proxy.cut_before_request(CREATE);
    let contender = bed.contender("a", &proxy);
    contender.until_leading();
    assert!(!proxy.is_armed(), "no request was lost");
    assert_eq!(probe.contenders("/election"), ["a"]);
}

#[test]
fn its_reply_never_came_and_the_connection_stood() {
    let bed = Bed::start();
    let probe = bed.probe();
    probe.create("/election", b"", false).unwrap();
    let proxy = bed.proxy();
    proxy.mute(Some(CREATE));
    let contender = bed.contender("a", &proxy);
    eventually("the create took effect", SOON, || (probe.contenders("/election") == ["a"]).then_some(()));
    proxy.mute(None);
    contender.until_leading();
    assert_eq!(probe.contenders("/election"), ["a"]);
    never_made_another(&probe, 1);
}

/// Adopted, not made anew: every child that was ever made or deleted counts.
#[track_caller]
fn never_made_another(probe: &Probe, count: i32) {
    assert_eq!(probe.exists("/election").unwrap().cversion, count);
}

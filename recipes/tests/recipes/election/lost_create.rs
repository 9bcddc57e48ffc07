//! Lost replies to a create (Kazoo issue 732, Curator issue 79): the znode stays, its creator does not recognise it,
//! and all contenders wait for it.

use atalaya_recipes::Standing;
use atalaya_testbed::ZkProbe;

use crate::support::election::{CREATE, TestBed, wait_until};

#[test]
fn kazoo_732_contender_adopts_its_znode_after_a_lost_reply() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    probe.create("/election", b"", false).unwrap();
    let proxy = bed.proxy();
    proxy.cut_after_request(CREATE);
    let contender = bed.contender("a", &proxy);
    let leader_run = contender.until_leading();
    assert!(!proxy.is_armed(), "no reply was lost");
    assert_eq!(probe.contenders("/election"), ["a"]);
    assert_cversion(&probe, 1);
    assert_eq!(probe.exists(&leader_run.znode).unwrap().ephemeral_owner, contender.session.state().session);
}

#[test]
fn curator_79_contender_adopts_its_znode_while_another_leads() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let first = bed.direct_contender("first");
    first.until_leading();
    let proxy = bed.proxy();
    proxy.cut_after_request(CREATE);
    let second = bed.contender("second", &proxy);
    second.until(Standing::Waiting { ahead: 1 });
    assert!(!proxy.is_armed(), "no reply was lost");
    let third = bed.direct_contender("third");
    third.until(Standing::Waiting { ahead: 2 });
    assert_eq!(probe.contenders("/election"), ["first", "second", "third"]);
    assert_cversion(&probe, 3);
    first.finish(&bed);
    second.until_leading();
    second.finish(&bed);
    third.until_leading();
    assert_eq!(probe.contenders("/election"), ["third"]);
}

#[test]
fn contender_creates_its_znode_again_after_a_lost_request() {
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    proxy.cut_before_request(CREATE);
    let contender = bed.contender("a", &proxy);
    contender.until_leading();
    assert!(!proxy.is_armed(), "no request was lost");
    assert_eq!(probe.contenders("/election"), ["a"]);
}

#[test]
fn contender_adopts_its_znode_after_a_reply_that_timed_out() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    probe.create("/election", b"", false).unwrap();
    let proxy = bed.proxy();
    proxy.mute(Some(CREATE));
    let contender = bed.contender("a", &proxy);
    wait_until("the create took effect", || probe.contenders("/election") == ["a"]);
    proxy.mute(None);
    contender.until_leading();
    assert_eq!(probe.contenders("/election"), ["a"]);
    assert_cversion(&probe, 1);
}

/// Asserts that the znode was adopted and not created again: `cversion` counts all creations and deletions.
#[track_caller]
fn assert_cversion(probe: &ZkProbe, count: i32) {
    assert_eq!(probe.exists("/election").unwrap().cversion, count);
}

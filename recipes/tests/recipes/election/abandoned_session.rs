//! The client abandons a session after 7/5 of its timeout, but servers that come back may still have it, and its znode
//! is ahead of the new one.

use std::sync::{Arc, Mutex};

use atalaya_recipes::{Phase, Standing};

use crate::support::election::{Contender, TestBed, until_phase};

#[test]
fn contender_removes_the_znode_of_its_abandoned_session_after_a_server_restart() {
    let mut bed = TestBed::apache();
    let leader = bed.direct_contender("leader");
    let old = leader.until_leading();
    bed.zookeeper().kill();
    leader.until_ended(1);
    until_phase(&leader.session, Phase::Connecting);
    let standings = standings(&bed, &leader);
    bed.zookeeper().restart();
    leads_alone_and_at_once(&bed, &leader, &old.znode, &standings);
}

#[test]
fn contender_removes_the_znode_of_its_abandoned_session_after_a_server_freeze() {
    let mut bed = TestBed::apache();
    let leader = bed.direct_contender("leader");
    let old = leader.until_leading();
    bed.zookeeper().stop_process();
    leader.until_ended(1);
    until_phase(&leader.session, Phase::Connecting);
    let standings = standings(&bed, &leader);
    bed.zookeeper().continue_process();
    leads_alone_and_at_once(&bed, &leader, &old.znode, &standings);
}

/// The same situation, made by hand: the znode has the expected name and another owner.
#[test]
fn contender_never_leads_with_a_znode_of_another_session() {
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    let leader = bed.contender("leader", &proxy);
    let old = leader.until_leading();
    proxy.refuse(true);
    proxy.cut();
    leader.until_ended(1);
    probe.delete(&old.znode).unwrap();
    probe.create(&old.znode, b"", true).unwrap();
    proxy.refuse(false);
    let new = leader.until_leading();
    assert_ne!(new.znode, old.znode);
    assert!(new.fencing_token > old.fencing_token);
    assert_eq!(probe.contenders("/election"), ["leader"]);
}

type Standings = Arc<Mutex<Vec<Standing>>>;

/// Records every standing from now on.
fn standings(bed: &TestBed, contender: &Contender) -> Standings {
    let standings = Standings::default();
    let (seen, mut standing) = (Arc::clone(&standings), contender.standing.clone());
    standing.mark_unchanged();
    bed.spawn(async move {
        while standing.changed().await.is_ok() {
            seen.lock().unwrap().push(*standing.borrow_and_update());
        }
    });
    standings
}

#[track_caller]
fn leads_alone_and_at_once(bed: &TestBed, leader: &Contender, old: &str, standings: &Standings) {
    let new = leader.until_leading();
    let observer = bed.connection();
    assert_eq!(bed.line(&observer), [new.znode.as_str()]);
    assert_ne!(new.znode, old);
    let standings = standings.lock().unwrap();
    let waited = standings.iter().any(|standing| matches!(standing, Standing::Waiting { .. }));
    assert!(!waited, "it waited for its own old znode: {standings:?}");
}

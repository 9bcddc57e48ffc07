//! Contenders of ours and of unmodified Kazoo lead in order of arrival.

use std::time::Duration;

use atalaya_recipes::Standing;
use atalaya_testbed::{Kazoo, Process, ZkProbe, eventually};

use crate::support::election::{DEADLINE, ELECTION, TestBed};

#[test]
fn election_with_kazoo_goes_in_order_of_arrival() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let a = bed.direct_contender("a");
    a.until_leading();
    let mut k = contend(&bed, "k");
    assert_queue(&probe, &["a", "k"]);
    let b = bed.direct_contender("b");
    b.until(Standing::Waiting { ahead: 2 });
    let l = contend(&bed, "l");
    assert_queue(&probe, &["a", "k", "b", "l"]);
    let c = bed.direct_contender("c");
    c.until(Standing::Waiting { ahead: 4 });
    assert!(!elected(&k) && !elected(&l));

    a.finish(&bed);
    k.wait_for_line("elected k", DEADLINE);
    assert!(b.run_log.runs().is_empty());
    k.shut_down(DEADLINE);
    b.until_leading();
    assert!(!elected(&l) && c.run_log.runs().is_empty());
    assert_eq!(probe.contenders(ELECTION), ["b", "l", "c"]);

    b.finish(&bed);
    l.wait_for_line("elected l", DEADLINE);
    assert!(c.run_log.runs().is_empty());
    l.term();
    c.until_leading();
    assert_eq!(probe.contenders(ELECTION), ["c"]);
}

/// Kazoo sends nothing when it is killed, so it counts as the leader until its session expires.
#[test]
fn election_waits_for_the_session_of_a_killed_kazoo_leader() {
    let bed = TestBed::apache();
    let mut k = contend(&bed, "k");
    k.wait_for_line("elected k", DEADLINE);
    let a = bed.direct_contender("a");
    a.until(Standing::Waiting { ahead: 1 });
    k.kill9();
    assert!(a.run_log.runs().is_empty());
    a.until_leading();
}

fn contend(bed: &TestBed, name: &str) -> Process {
    Kazoo::ready().script("contend.py", &[name, &bed.connect_string(), "--path", ELECTION])
}

fn elected(process: &Process) -> bool {
    process.log().iter().any(|line| line.text.starts_with("elected"))
}

#[track_caller]
fn assert_queue(probe: &ZkProbe, names: &[&str]) {
    eventually(&format!("{names:?} in line"), Duration::from_secs(30), || {
        (probe.contenders(ELECTION) == names).then_some(())
    });
}

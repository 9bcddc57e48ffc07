//! Contenders of ours and of Kazoo, as unmodified as it comes, take turns in the order of their coming.

use std::time::Duration;

use atalaya_recipes::Standing;
use atalaya_testbed::{Kazoo, Probe, Process, eventually};

use crate::support::election::{Bed, ELECTION, SOON};

#[test]
fn election_with_kazoo_goes_in_order_of_arrival() {
    let bed = Bed::start();
    let probe = bed.probe();
    let a = bed.contender_beside("a");
    a.until_leading();
    let mut k = contend(&bed, "k");
    line_is(&probe, &["a", "k"]);
    let b = bed.contender_beside("b");
    b.until(Standing::Waiting { ahead: 2 });
    let l = contend(&bed, "l");
    line_is(&probe, &["a", "k", "b", "l"]);
    let c = bed.contender_beside("c");
    c.until(Standing::Waiting { ahead: 4 });
    assert!(!elected(&k) && !elected(&l));

    a.finish(&bed);
    k.wait_for_line("elected k", SOON);
    assert!(b.journal.reigns().is_empty());
    k.term();
    assert!(k.wait_exit(SOON).success());
    b.until_leading();
    assert!(!elected(&l) && c.journal.reigns().is_empty());
    assert_eq!(probe.contenders(ELECTION), ["b", "l", "c"]);

    b.finish(&bed);
    l.wait_for_line("elected l", SOON);
    assert!(c.journal.reigns().is_empty());
    l.term();
    c.until_leading();
    assert_eq!(probe.contenders(ELECTION), ["c"]);
}

/// Kazoo is told by its session's end only: one that dies leads in name until then.
#[test]
fn election_waits_for_the_session_of_a_killed_kazoo_leader() {
    let bed = Bed::start();
    let mut k = contend(&bed, "k");
    k.wait_for_line("elected k", SOON);
    let a = bed.contender_beside("a");
    a.until(Standing::Waiting { ahead: 1 });
    k.kill9();
    assert!(a.journal.reigns().is_empty());
    a.until_leading();
}

fn contend(bed: &Bed, name: &str) -> Process {
    Kazoo::ready().script("contend.py", &[name, &bed.zookeeper.connect_string(), "--path", ELECTION])
}

fn elected(process: &Process) -> bool {
    process.log().iter().any(|line| line.text.starts_with("elected"))
}

#[track_caller]
fn line_is(probe: &Probe, names: &[&str]) {
    eventually(&format!("{names:?} in line"), Duration::from_secs(30), || {
        (probe.contenders(ELECTION) == names).then_some(())
    });
}

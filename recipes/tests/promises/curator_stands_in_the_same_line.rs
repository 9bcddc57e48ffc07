//! Contenders of ours and of Apache Curator, as unmodified as it comes, take turns in the order of their coming; and
//! Curator waits at our barrier.

use atalaya_recipes::node_names::{Naming, sorted_contenders};
use atalaya_recipes::{Barrier, Election, Lock, Session, Standing};
use atalaya_testbed::{Curator, Probe, Process, eventually};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{Bed, ELECTION, SOON};

const LOCK: &str = "/locks/crane";
const BARRIER: &str = "/gates/north";

#[test]
fn in_an_election_of_leader_latches() {
    elections_take_turns("latch", Naming::CuratorLatch);
}

#[test]
fn in_an_election_of_leader_selectors() {
    elections_take_turns("selector", Naming::CuratorLock);
}

/// Ours, theirs, ours, theirs, and each leads when the one before it has gone.
#[track_caller]
fn elections_take_turns(kind: &str, naming: Naming) {
    let bed = Bed::start();
    let a = Leader::stands(&bed, "a", naming);
    a.until(Standing::Leading);
    let c = curator(&bed, kind, "c", ELECTION);
    in_line_are(&bed, ELECTION, naming, 2);
    let b = Leader::stands(&bed, "b", naming);
    b.until(Standing::Waiting { ahead: 2 });
    let d = curator(&bed, kind, "d", ELECTION);
    in_line_are(&bed, ELECTION, naming, 4);
    assert!(!holds(&c) && !holds(&d));

    a.finish(&bed);
    c.wait_for_line("held c", SOON);
    assert!(!holds(&d) && !b.is(Standing::Leading));
    finish(c, "c");
    b.until(Standing::Leading);
    assert!(!holds(&d));
    b.finish(&bed);
    d.wait_for_line("held d", SOON);
    finish(d, "d");
    in_line_are(&bed, ELECTION, naming, 0);
}

#[test]
fn in_the_line_of_a_mutex() {
    let bed = Bed::start();
    let naming = Naming::CuratorLock;
    let acquire = |name: &str| {
        let lock = Lock::with_naming(session(&bed), LOCK, name, naming);
        bed.spawn(async move { lock.acquire().await })
    };
    let c = curator(&bed, "mutex", "c", LOCK);
    c.wait_for_line("held c", SOON);
    let b = acquire("b");
    in_line_are(&bed, LOCK, naming, 2);
    let d = curator(&bed, "mutex", "d", LOCK);
    in_line_are(&bed, LOCK, naming, 3);
    let e = acquire("e");
    in_line_are(&bed, LOCK, naming, 4);
    assert!(!b.is_finished() && !holds(&d));

    finish(c, "c");
    let b = bed.wait(b).unwrap().unwrap();
    assert!(b.holds() && !holds(&d) && !e.is_finished());
    assert!(bed.wait(b.release()));
    d.wait_for_line("held d", SOON);
    assert!(!e.is_finished());
    // Killed, it holds in name until its session is over.
    let mut d = d;
    d.kill9();
    let e = bed.wait(e).unwrap().unwrap();
    assert!(e.holds());
    in_line_are(&bed, LOCK, naming, 1);
}

#[test]
fn and_waits_at_our_barrier() {
    let bed = Bed::start();
    let barrier = Barrier::new(session(&bed), BARRIER);
    bed.wait(barrier.close()).unwrap();
    let mut c = curator(&bed, "barrier", "c", BARRIER);
    c.wait_for_line("waiting c", SOON);
    // It is seen to wait by its watch, of which the server tells.
    eventually("it watches the barrier", SOON, || {
        bed.zookeeper.four("wchp").lines().any(|path| path == BARRIER).then_some(())
    });
    assert!(!holds(&c));
    bed.wait(barrier.open()).unwrap();
    c.wait_for_line("held c", SOON);
    assert!(c.wait_exit(SOON).success());
}

struct Leader {
    standing: watch::Receiver<Standing>,
    stop: watch::Sender<bool>,
    run: JoinHandle<()>,
}

impl Leader {
    fn stands(bed: &Bed, name: &str, naming: Naming) -> Leader {
        let election = Election::new(session(bed), ELECTION, name, naming);
        let standing = election.standing();
        let (stop, stopped) = watch::channel(false);
        let lead = move |_| {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stop| *stop).await) }
        };
        let run = bed.spawn(election.run(lead));
        Leader { standing, stop, run }
    }

    fn is(&self, standing: Standing) -> bool {
        *self.standing.borrow() == standing
    }

    #[track_caller]
    fn until(&self, standing: Standing) {
        eventually(&format!("one of ours is {standing:?}"), SOON, || self.is(standing).then_some(()));
    }

    fn finish(self, bed: &Bed) {
        self.stop.send_replace(true);
        bed.wait(self.run).unwrap();
    }
}

fn session(bed: &Bed) -> Session {
    bed.connection().session().clone()
}

fn curator(bed: &Bed, kind: &str, id: &str, path: &str) -> Process {
    Curator::ready().hold(kind, id, &bed.zookeeper.connect_string(), path)
}

fn holds(process: &Process) -> bool {
    process.log().iter().any(|line| line.text.starts_with("held"))
}

/// Lets it give back what it holds, and go.
#[track_caller]
fn finish(mut process: Process, id: &str) {
    process.write_line("enough");
    process.wait_for_line(&format!("left {id}"), SOON);
    assert!(process.wait_exit(SOON).success());
}

/// Waits until so many stand in line, by this naming.
#[track_caller]
fn in_line_are(bed: &Bed, path: &str, naming: Naming, count: usize) {
    let probe: Probe = bed.probe();
    eventually(&format!("{count} in line"), SOON, || {
        (sorted_contenders(naming, &probe.ls(path)).len() == count).then_some(())
    });
}

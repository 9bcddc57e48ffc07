//! Contenders of ours and of unmodified Apache Curator lead in order of arrival, and Curator waits at our barrier.

use atalaya_recipes::node_names::{Naming, sorted_contenders};
use atalaya_recipes::{Barrier, Election, Lock, Session, Standing};
use atalaya_testbed::{Curator, Process, ZkProbe};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::election::{DEADLINE, ELECTION, TestBed, wait_until};

const LOCK: &str = "/locks/crane";
const BARRIER: &str = "/gates/north";

#[test]
fn election_with_curator_leader_latch_goes_in_order_of_arrival() {
    elections_take_turns("latch", Naming::CuratorLatch);
}

#[test]
fn election_with_curator_leader_selector_goes_in_order_of_arrival() {
    elections_take_turns("selector", Naming::CuratorLock);
}

/// Queues ours, Curator's, ours, Curator's. Each leads once the one before it has left.
#[track_caller]
fn elections_take_turns(kind: &str, naming: Naming) {
    let bed = TestBed::apache();
    let a = Leader::is_queued(&bed, "a", naming);
    a.until(Standing::Leading);
    let c = curator(&bed, kind, "c", ELECTION);
    wait_for_contenders(&bed, ELECTION, naming, 2);
    let b = Leader::is_queued(&bed, "b", naming);
    b.until(Standing::Waiting { ahead: 2 });
    let d = curator(&bed, kind, "d", ELECTION);
    wait_for_contenders(&bed, ELECTION, naming, 4);
    assert!(!holds(&c) && !holds(&d));

    a.finish(&bed);
    c.wait_for_line("held c", DEADLINE);
    assert!(!holds(&d) && !b.is(Standing::Leading));
    finish(c, "c");
    b.until(Standing::Leading);
    assert!(!holds(&d));
    b.finish(&bed);
    d.wait_for_line("held d", DEADLINE);
    finish(d, "d");
    wait_for_contenders(&bed, ELECTION, naming, 0);
}

#[test]
fn lock_with_curator_mutex_goes_in_order_of_arrival() {
    let bed = TestBed::apache();
    let naming = Naming::CuratorLock;
    let acquire = |name: &str| {
        let lock = Lock::with_naming(session(&bed), LOCK, name, naming);
        bed.spawn(async move { lock.acquire().await })
    };
    let c = curator(&bed, "mutex", "c", LOCK);
    c.wait_for_line("held c", DEADLINE);
    let b = acquire("b");
    wait_for_contenders(&bed, LOCK, naming, 2);
    let d = curator(&bed, "mutex", "d", LOCK);
    wait_for_contenders(&bed, LOCK, naming, 3);
    let e = acquire("e");
    wait_for_contenders(&bed, LOCK, naming, 4);
    assert!(!b.is_finished() && !holds(&d));

    finish(c, "c");
    let b = bed.wait(b).unwrap().unwrap();
    assert!(b.holds() && !holds(&d) && !e.is_finished());
    assert!(bed.wait(b.release()));
    d.wait_for_line("held d", DEADLINE);
    assert!(!e.is_finished());
    // A killed holder keeps the lock until its session expires.
    let mut d = d;
    d.kill9();
    let e = bed.wait(e).unwrap().unwrap();
    assert!(e.holds());
    wait_for_contenders(&bed, LOCK, naming, 1);
}

#[test]
fn curator_waits_at_our_barrier() {
    let mut bed = TestBed::apache();
    let barrier = Barrier::new(session(&bed), BARRIER);
    bed.wait(barrier.close()).unwrap();
    let mut c = curator(&bed, "barrier", "c", BARRIER);
    c.wait_for_line("waiting c", DEADLINE);
    // The server lists the watch of a waiting client.
    wait_until("it watches the barrier", || bed.zookeeper().four("wchp").lines().any(|path| path == BARRIER));
    assert!(!holds(&c));
    bed.wait(barrier.open()).unwrap();
    c.wait_for_line("held c", DEADLINE);
    assert!(c.wait_exit(DEADLINE).success());
}

struct Leader {
    standing: watch::Receiver<Standing>,
    stop: watch::Sender<bool>,
    run: JoinHandle<()>,
}

impl Leader {
    fn is_queued(bed: &TestBed, name: &str, naming: Naming) -> Leader {
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
        wait_until(&format!("one of ours is {standing:?}"), || self.is(standing));
    }

    fn finish(self, bed: &TestBed) {
        self.stop.send_replace(true);
        bed.wait(self.run).unwrap();
    }
}

fn session(bed: &TestBed) -> Session {
    bed.connection().session().clone()
}

fn curator(bed: &TestBed, kind: &str, id: &str, path: &str) -> Process {
    Curator::ready().hold(kind, id, &bed.connect_string(), path)
}

fn holds(process: &Process) -> bool {
    process.log().iter().any(|line| line.text.starts_with("held"))
}

/// Lets the process release what it holds, and waits until it exits.
#[track_caller]
fn finish(mut process: Process, id: &str) {
    process.write_line("enough");
    process.wait_for_line(&format!("left {id}"), DEADLINE);
    assert!(process.wait_exit(DEADLINE).success());
}

/// Waits until `count` contenders with this naming are queued.
#[track_caller]
fn wait_for_contenders(bed: &TestBed, path: &str, naming: Naming, count: usize) {
    let probe: ZkProbe = bed.probe();
    wait_until(&format!("{count} in line"), || sorted_contenders(naming, &probe.ls(path)).len() == count);
}

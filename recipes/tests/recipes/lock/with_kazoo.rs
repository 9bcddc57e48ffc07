//! Locks, read-write locks and semaphores of ours and of unmodified Kazoo exclude each other and pass to each other.

use atalaya_recipes::{AcquireError, Guard, Lock, ReadWriteLock, Semaphore, Session};
use atalaya_testbed::{Kazoo, Process, ZkProbe};
use tokio::task::JoinHandle;

use crate::support::election::{DEADLINE, TestBed, wait_until};

const LOCK: &str = "/locks/crane";
const POOL: &str = "/pools/crane";

type Acquiring = JoinHandle<Result<Guard, AcquireError>>;

#[test]
fn lock_passes_between_kazoo_and_us() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let a = held(&bed, lock(&bed, "a"));
    let k = kazoo(&bed, &["lock", "k"], LOCK, &[]);
    assert_queue(&probe, &["a", "k"]);
    let b = lock(&bed, "b");
    assert_queue(&probe, &["a", "k", "b"]);
    assert!(!holds(&k) && a.holds());

    assert!(bed.wait(a.release()));
    k.wait_for_line("held k", DEADLINE);
    assert!(!b.is_finished());
    assert!(bed.wait(Lock::new(session(&bed), LOCK, "c").try_acquire()).unwrap().is_none());
    k.term();
    let b = held(&bed, b);
    assert!(b.holds());
    assert_queue(&probe, &["b"]);
}

#[test]
fn lock_of_a_killed_kazoo_holder_passes_to_us() {
    let bed = TestBed::apache();
    let mut k = kazoo(&bed, &["lock", "k"], LOCK, &[]);
    k.wait_for_line("held k", DEADLINE);
    let a = lock(&bed, "a");
    assert_queue(&bed.probe(), &["k", "a"]);
    k.kill9();
    assert!(held(&bed, a).holds());
}

#[test]
fn read_and_write_locks_work_with_kazoo() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let reads = kazoo(&bed, &["read", "k"], LOCK, &[]);
    reads.wait_for_line("held k", DEADLINE);
    let read = ReadWriteLock::new(session(&bed), LOCK, "r").read_lock();
    let also = bed.wait(read.try_acquire()).unwrap().expect("readers hold together");
    let writer = ReadWriteLock::new(session(&bed), LOCK, "w").write_lock();
    assert!(bed.wait(writer.try_acquire()).unwrap().is_none());
    let waits = bed.spawn(async move { writer.acquire().await });
    assert_queue(&probe, &["w"]);
    let late = kazoo(&bed, &["read", "l"], LOCK, &[]);
    late.wait_for_line("waiting l", DEADLINE);
    wait_until("four in line", || probe.ls(LOCK).len() == 4);
    reads.term();
    wait_until("three in line", || probe.ls(LOCK).len() == 3);
    assert!(!waits.is_finished() && !holds(&late));

    assert!(bed.wait(also.release()));
    let writer = held(&bed, waits);
    let writes = kazoo(&bed, &["write", "v"], LOCK, &[]);
    assert_queue(&probe, &["w", "v"]);
    assert!(!holds(&late) && writer.holds());
    assert!(bed.wait(writer.release()));
    late.wait_for_line("held l", DEADLINE);
    assert!(!holds(&writes));
    // Kazoo writes now; our reader is next.
    let behind = bed.spawn(async move { read.acquire().await });
    wait_until("three in line", || probe.ls(LOCK).len() == 3);
    late.term();
    writes.wait_for_line("held v", DEADLINE);
    assert!(!behind.is_finished());
    writes.term();
    assert!(held(&bed, behind).holds());
}

#[test]
fn semaphore_is_shared_with_kazoo() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let k = kazoo(&bed, &["semaphore", "k"], POOL, &["--leases", "2"]);
    k.wait_for_line("held k", DEADLINE);
    assert_eq!(probe.text(POOL).as_deref(), Some("2"));
    let ours = Semaphore::new(session(&bed), POOL, "a", 2);
    let a = bed.wait(ours.acquire()).unwrap();
    assert!(bed.wait(ours.try_acquire()).unwrap().is_none());
    let other = bed.wait(Semaphore::new(session(&bed), POOL, "a", 3).acquire());
    assert!(matches!(other, Err(AcquireError::Inconsistent { stored: 2, expected: 3, .. })), "{other:?}");

    // Kazoo waits for our permit, and we wait for Kazoo's.
    let l = kazoo(&bed, &["semaphore", "l"], POOL, &["--leases", "2"]);
    let entry = format!("{POOL}-__lock__");
    wait_until("the process waits for a permit", || probe.ls(&entry).len() == 1);
    let waits = bed.spawn(async move { ours.acquire().await });
    // Kazoo's identifier there is Python's text form of a bytes object.
    wait_until("both do", || probe.contenders(&entry) == ["b'l'", "a"]);
    assert!(!holds(&l));
    assert!(bed.wait(a.release()));
    l.wait_for_line("held l", DEADLINE);
    assert!(!waits.is_finished());
    k.term();
    let again = held(&bed, waits);
    assert!(again.holds());
    assert_eq!(probe.ls(POOL).len(), 2);
}

#[test]
fn semaphore_that_we_created_is_shared_with_kazoo() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let ours = Semaphore::new(session(&bed), POOL, "a", 1);
    let a = bed.wait(ours.acquire()).unwrap();
    let mut wrong = kazoo(&bed, &["semaphore", "k"], POOL, &["--leases", "2"]);
    assert!(!wrong.wait_exit(DEADLINE).success(), "Kazoo does not see how many places there are");
    let k = kazoo(&bed, &["semaphore", "k"], POOL, &["--leases", "1"]);
    let entry = format!("{POOL}-__lock__");
    wait_until("the process waits for a permit", || probe.ls(&entry).len() == 1);
    assert!(!holds(&k));
    drop(a);
    k.wait_for_line("held k", DEADLINE);
}

fn session(bed: &TestBed) -> Session {
    bed.connection().session().clone()
}

fn lock(bed: &TestBed, name: &str) -> Acquiring {
    let lock = Lock::new(session(bed), LOCK, name);
    bed.spawn(async move { lock.acquire().await })
}

#[track_caller]
fn held(bed: &TestBed, acquiring: Acquiring) -> Guard {
    bed.wait(acquiring).unwrap().unwrap()
}

fn kazoo(bed: &TestBed, who: &[&str], path: &str, more: &[&str]) -> Process {
    let servers = bed.connect_string();
    Kazoo::ready().script("hold.py", &[who, &[&servers, path], more].concat())
}

fn holds(process: &Process) -> bool {
    process.log().iter().any(|line| line.text.starts_with("held"))
}

#[track_caller]
fn assert_queue(probe: &ZkProbe, names: &[&str]) {
    wait_until(&format!("{names:?} in line"), || probe.contenders(LOCK) == names);
}

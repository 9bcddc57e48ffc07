//! Acquiring and releasing: one holder, and the waiters follow in order.

use std::time::Duration;

use atalaya_recipes::election::leader;
use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Lock, ReadWriteLock, Standing};

use crate::support::memory::{PATH, TestBed, poll_once, soon};

#[tokio::test]
async fn lock_is_held_by_one_and_passes_to_the_next_in_line() {
    for naming in [Naming::Kazoo, Naming::CuratorLatch, Naming::CuratorLock] {
        let bed = TestBed::start().await;
        let lock = |session| Lock::with_naming(session, PATH, "x", naming);
        let (a, b, c) = (
            lock(bed.session().await),
            lock(bed.session().await),
            // Two locks of one session are two contenders.
            lock(bed.session().await),
        );
        let first = soon("the first", a.acquire()).await.unwrap();
        assert!(first.holds());
        let mut second = Box::pin(b.acquire());
        poll_once(&mut second).await;
        bed.wait_for_contenders(PATH, 2).await;
        let mut third = Box::pin(c.acquire());
        poll_once(&mut third).await;
        bed.wait_for_contenders(PATH, 3).await;
        assert!(b.try_acquire().await.unwrap().is_none());
        assert_eq!(bed.changes(PATH).await, 3, "a try at a lock that is taken writes nothing");

        let fence = first.fencing_token();
        assert!(first.release().await);
        let second = soon("the second", second).await.unwrap();
        assert!(second.holds() && second.fencing_token() > fence);
        poll_once(&mut third).await;
        let fence = second.fencing_token();
        drop(second);
        let third = soon("the third", third).await.unwrap();
        assert!(third.fencing_token() > fence);
        assert!(third.release().await);
        assert_eq!(bed.children(PATH).await, [""; 0]);
        let again = a.try_acquire().await.unwrap().expect("the lock is free");
        assert!(again.holds());
    }
}

#[tokio::test]
async fn read_locks_are_shared_and_write_locks_are_exclusive() {
    let (bed, session) = TestBed::with_session().await;
    let read = ReadWriteLock::new(session.clone(), PATH, "r").read_lock();
    let write = ReadWriteLock::new(bed.session().await, PATH, "w").write_lock();
    let one = soon("a reader", read.acquire()).await.unwrap();
    let two = soon("another", read.acquire()).await.unwrap();
    assert!(write.try_acquire().await.unwrap().is_none());
    let mut writer = Box::pin(write.acquire());
    poll_once(&mut writer).await;
    bed.wait_for_contenders(PATH, 3).await;
    // A reader behind a waiting writer waits; otherwise writers would starve.
    assert!(read.try_acquire().await.unwrap().is_none());
    let mut three = Box::pin(read.acquire());
    poll_once(&mut three).await;
    bed.wait_for_contenders(PATH, 4).await;
    assert!(one.release().await);
    poll_once(&mut writer).await;
    assert!(two.holds() && two.release().await);
    let writer = soon("the writer", writer).await.unwrap();
    poll_once(&mut three).await;
    assert!(writer.holds() && writer.release().await);
    let three = soon("the third reader", three).await.unwrap();
    assert!(three.holds());
}

#[tokio::test]
async fn acquire_that_times_out_leaves_the_line() {
    let bed = TestBed::start().await;
    let lock = Lock::new(bed.session().await, PATH, "a");
    let guard = lock.acquire().await.unwrap();
    let other = Lock::new(bed.session().await, PATH, "b");
    let timeout = Duration::from_millis(50);
    assert!(soon("the end of it", other.acquire_within(timeout)).await.unwrap().is_none());
    assert_eq!(bed.children(PATH).await.len(), 1, "it left something in line");
    assert!(guard.release().await);
    let guard =
        soon("the lock", other.acquire_within(timeout * 100)).await.unwrap().expect("the lock is free");
    assert!(guard.holds());
}

#[tokio::test]
async fn acquire_returns_an_error_when_zookeeper_refuses() {
    let bed = TestBed::start().await;
    let lock = Lock::new(bed.session().await, "no/path", "a");
    assert!(soon("an answer", lock.acquire()).await.is_err());
    assert!(soon("an answer", lock.try_acquire()).await.is_err());
    let session = bed.session().await;
    let lock = Lock::new(session.clone(), PATH, "a");
    let guard = lock.acquire().await.unwrap();
    let mut waits = Box::pin(lock.acquire());
    poll_once(&mut waits).await;
    assert!(session.close(crate::support::memory::DEADLINE).await);
    assert!(matches!(soon("an answer", waits).await, Err(atalaya_recipes::AcquireError::Closed)));
    assert!(soon("an answer", lock.try_acquire()).await.is_err(), "no connection");
    assert!(!guard.holds());
    soon("it says so", guard.lost()).await;
    assert_eq!(bed.children(PATH).await, [""; 0]);
}

/// Curator's naming, and container parents that ZooKeeper removes.
#[tokio::test]
async fn lock_with_curator_names_creates_container_parents() {
    for (naming, marker) in [(Naming::CuratorLatch, "-latch-"), (Naming::CuratorLock, "-lock-")] {
        let bed = TestBed::start().await;
        // A contender of Curator, created earlier.
        let session = bed.session().await;
        session.connection().await.ensure_container(PATH).await.unwrap();
        let theirs = format!("{PATH}/_c_0b7b2b3a-5b0e-4b0e-9d7e-2f6f3f1f0a11{marker}");
        let theirs = session.connection().await.create_sequential(&theirs, b"theirs").await.unwrap();
        let election = Election::new(bed.session().await, PATH, "ours", naming);
        let mut standing = election.standing();
        let mut run = Box::pin(election.run(async |leadership| leadership.znode().to_owned()));
        poll_once(&mut run).await;
        let behind = standing.wait_for(|standing| *standing == Standing::Waiting { ahead: 1 });
        tokio::select! {
            _ = &mut run => panic!("it led beside another"),
            waiting = soon("the second contender waits", behind) => drop(waiting.unwrap()),
        }
        assert_eq!(leader(&bed.observer, PATH, naming).await.unwrap().as_deref(), Some(&b"theirs"[..]));
        bed.observer.delete(&theirs, None).await.unwrap();
        let znode = soon("it leads", run).await;
        assert!(znode.starts_with(&format!("{PATH}/_c_")) && znode.contains(marker), "{znode}");
        assert_eq!(bed.children(PATH).await, [""; 0]);
        // All sessions have expired by the time ZooKeeper checks its containers.
        bed.faults.advance_clock(Duration::from_secs(61)).await;
        let connection =
            soon("another session", bed.observer.session().connection_after(bed.observer.number())).await;
        assert!(connection.stat(PATH).await.unwrap().is_none(), "not a container");
    }
}

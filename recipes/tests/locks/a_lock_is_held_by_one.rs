//! One holds, the others wait for their turn, and get it.

use std::time::Duration;

use atalaya_recipes::election::leader;
use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Lock, ReadLock, Standing, WriteLock};

use crate::bed::{Bed, PATH, begin, soon};

#[tokio::test]
async fn and_the_next_in_line_follows() {
    for naming in [Naming::Kazoo, Naming::CuratorLatch, Naming::CuratorLock] {
        let bed = Bed::start().await;
        let lock = |session| Lock::with_naming(session, PATH, "x", naming);
        let (a, b, c) = (
            lock(bed.session().await),
            lock(bed.session().await),
            // The same session twice: two contenders all the same.
            lock(bed.session().await),
        );
        let first = soon("the first", a.acquire()).await.unwrap();
        assert!(first.holds());
        let mut second = Box::pin(b.acquire());
        begin(&mut second).await;
        bed.until_in_line(PATH, 2).await;
        let mut third = Box::pin(c.acquire());
        begin(&mut third).await;
        bed.until_in_line(PATH, 3).await;
        assert!(b.try_acquire().await.unwrap().is_none());
        assert_eq!(bed.changes(PATH).await, 3, "a try at a lock that is taken writes nothing");

        let fence = first.fencing_token();
        assert!(first.release().await);
        let second = soon("the second", second).await.unwrap();
        assert!(second.holds() && second.fencing_token() > fence);
        begin(&mut third).await;
        let fence = second.fencing_token();
        drop(second);
        let third = soon("the third", third).await.unwrap();
        assert!(third.fencing_token() > fence);
        assert!(third.release().await);
        assert_eq!(bed.children(PATH).await, [""; 0]);
        let again = a.try_acquire().await.unwrap().expect("it is free");
        assert!(again.holds());
    }
}

#[tokio::test]
async fn readers_hold_together_and_writers_alone() {
    let bed = Bed::start().await;
    let session = bed.session().await;
    let read = ReadLock::new(session.clone(), PATH, "r");
    let write = WriteLock::new(bed.session().await, PATH, "w");
    let one = soon("a reader", read.acquire()).await.unwrap();
    let two = soon("another", read.acquire()).await.unwrap();
    assert!(write.try_acquire().await.unwrap().is_none());
    let mut writer = Box::pin(write.acquire());
    begin(&mut writer).await;
    bed.until_in_line(PATH, 3).await;
    // A reader behind a writer waits, or writers would never have their turn.
    assert!(read.try_acquire().await.unwrap().is_none());
    let mut three = Box::pin(read.acquire());
    begin(&mut three).await;
    bed.until_in_line(PATH, 4).await;
    assert!(one.release().await);
    begin(&mut writer).await;
    assert!(two.holds() && two.release().await);
    let writer = soon("the writer", writer).await.unwrap();
    begin(&mut three).await;
    assert!(writer.holds() && writer.release().await);
    let three = soon("the third reader", three).await.unwrap();
    assert!(three.holds());
}

#[tokio::test]
async fn whoever_has_no_patience_leaves_the_line() {
    let bed = Bed::start().await;
    let lock = Lock::new(bed.session().await, PATH, "a");
    let guard = lock.acquire().await.unwrap();
    let other = Lock::new(bed.session().await, PATH, "b");
    let patience = Duration::from_millis(50);
    assert!(soon("the end of it", other.acquire_within(patience)).await.unwrap().is_none());
    assert_eq!(bed.children(PATH).await.len(), 1, "it left something in line");
    assert!(guard.release().await);
    let guard = soon("its turn", other.acquire_within(patience * 100)).await.unwrap().expect("it is free");
    assert!(guard.holds());
}

#[tokio::test]
async fn what_zookeeper_refuses_is_an_error() {
    let bed = Bed::start().await;
    let lock = Lock::new(bed.session().await, "no/path", "a");
    assert!(soon("an answer", lock.acquire()).await.is_err());
    assert!(soon("an answer", lock.try_acquire()).await.is_err());
    let session = bed.session().await;
    let lock = Lock::new(session.clone(), PATH, "a");
    let guard = lock.acquire().await.unwrap();
    let mut waits = Box::pin(lock.acquire());
    begin(&mut waits).await;
    assert!(session.close(crate::bed::SOON).await);
    assert!(matches!(soon("an answer", waits).await, Err(atalaya_recipes::AcquireError::Closed)));
    assert!(soon("an answer", lock.try_acquire()).await.is_err(), "there is no connection to try over");
    assert!(!guard.holds());
    soon("it says so", guard.lost()).await;
    assert_eq!(bed.children(PATH).await, [""; 0]);
}

/// An election of Curator's: its name, and parents that go by themselves.
#[tokio::test]
async fn and_so_is_an_election_of_curators() {
    for (naming, marker) in [(Naming::CuratorLatch, "-latch-"), (Naming::CuratorLock, "-lock-")] {
        let bed = Bed::start().await;
        // A contender of theirs, from before.
        let session = bed.session().await;
        session.connection().await.ensure_container(PATH).await.unwrap();
        let theirs = format!("{PATH}/_c_0b7b2b3a-5b0e-4b0e-9d7e-2f6f3f1f0a11{marker}");
        let theirs = session.connection().await.create_sequential(&theirs, b"theirs").await.unwrap();
        let election = Election::new(bed.session().await, PATH, "ours", naming);
        let mut standing = election.standing();
        let mut run = Box::pin(election.run(async |leadership| leadership.znode().to_owned()));
        begin(&mut run).await;
        let behind = standing.wait_for(|standing| *standing == Standing::Waiting { ahead: 1 });
        tokio::select! {
            _ = &mut run => panic!("it led beside another"),
            waiting = soon("it stands behind", behind) => drop(waiting.unwrap()),
        }
        assert_eq!(leader(&bed.witness, PATH, naming).await.unwrap().as_deref(), Some(&b"theirs"[..]));
        bed.witness.delete(&theirs, None).await.unwrap();
        let znode = soon("it leads", run).await;
        assert!(znode.starts_with(&format!("{PATH}/_c_")) && znode.contains(marker), "{znode}");
        assert_eq!(bed.children(PATH).await, [""; 0]);
        // By the time that containers are looked at, everyone's session is over.
        bed.faults.advance_clock(Duration::from_secs(61)).await;
        let connection =
            soon("another session", bed.witness.session().connection_after(bed.witness.number())).await;
        assert!(connection.stat(PATH).await.unwrap().is_none(), "it was no container");
    }
}

//! Semaphores: at most N permits are held, and a waiter gets a released permit.

use atalaya_recipes::{AcquireError, Semaphore};
use atalaya_zookeeper::{Disconnect, Operation};

use crate::support::memory::{TestBed, completes_within, poll_once, soon};

const POOL: &str = "/pools/downloads";
const ENTRY: &str = "/pools/downloads-__lock__";

#[tokio::test]
async fn semaphore_permit_that_is_released_goes_to_a_waiter() {
    let (bed, session) = TestBed::with_session().await;
    let (a, b) =
        (Semaphore::new(session.clone(), POOL, "a", 2), Semaphore::new(bed.session().await, POOL, "b", 2));
    let first = soon("a place", a.acquire()).await.unwrap();
    let second = soon("another", a.acquire()).await.unwrap();
    assert!(first.holds() && second.holds());
    assert_eq!(bed.observer.get(POOL).await.unwrap().0, b"2");
    assert_eq!(bed.children(ENTRY).await, [""; 0], "a holder has left the queue");
    let made = bed.changes(POOL).await;
    assert!(soon("an answer", b.try_acquire()).await.unwrap().is_none());
    assert_eq!((bed.changes(POOL).await, bed.children(ENTRY).await.len()), (made, 0));
    let mut third = Box::pin(b.acquire());
    poll_once(&mut third).await;
    bed.wait_for_contenders(ENTRY, 1).await;
    let mut fourth = Box::pin(a.acquire());
    poll_once(&mut fourth).await;
    bed.wait_for_contenders(ENTRY, 2).await;
    drop(first);
    let third = soon("a place", third).await.unwrap();
    poll_once(&mut fourth).await;
    assert!(second.release().await);
    let fourth = soon("a place", fourth).await.unwrap();
    assert!(third.holds() && fourth.holds());
    drop((third, fourth));
    bed.wait_for_contenders(POOL, 0).await;
    bed.wait_for_contenders(ENTRY, 0).await;
}

#[tokio::test]
async fn semaphore_refuses_a_different_number_of_permits() {
    let (bed, session) = TestBed::with_session().await;
    let guard = soon("a place", Semaphore::new(session.clone(), POOL, "a", 2).acquire()).await.unwrap();
    let other = soon("an answer", Semaphore::new(session.clone(), POOL, "b", 3).acquire()).await;
    assert!(matches!(other, Err(AcquireError::Inconsistent { stored: 2, expected: 3, .. })), "{other:?}");
    assert_eq!(bed.children(ENTRY).await, [""; 0]);
    assert!(guard.holds());
    // As in Kazoo, data that is not a number belongs to another use of the znode.
    bed.observer.ensure("/pools/other").await.unwrap();
    bed.observer.set("/pools/other", b"{}", None).await.unwrap();
    let other = Semaphore::new(session, "/pools/other", "b", 3);
    assert!(soon("a place", other.acquire()).await.unwrap().holds());
    assert_eq!(bed.observer.get("/pools/other").await.unwrap().0, b"{}");
}

/// Whatever request or reply is lost, the permit is acquired and leaves no znode after its release.
#[tokio::test]
async fn semaphore_is_acquired_whatever_is_lost_and_leaves_no_znode() {
    use Operation::{Create2, Delete, Exists, GetChildren, GetData, Multi, SetData, Sync};
    for cut in [Disconnect::BeforeEffect, Disconnect::BeforeReply] {
        for kind in [Create2, Delete, Exists, GetChildren, GetData, Multi, SetData, Sync] {
            let (bed, session) = TestBed::with_session().await;
            let armed = bed.cut(&session, cut, kind).await;
            let semaphore = Semaphore::new(session.clone(), POOL, "a", 1);
            let guard = soon("a place", semaphore.acquire()).await.unwrap();
            if guard.holds() {
                assert_eq!(bed.children(POOL).await.len(), 1, "{cut:?} {kind:?}");
                assert_eq!(bed.children(ENTRY).await, [""; 0], "{cut:?} {kind:?}");
            }
            drop(guard);
            bed.wait_for_contenders(POOL, 0).await;
            let again = soon("a place", semaphore.acquire()).await.unwrap();
            drop((again, armed));
            bed.wait_for_contenders(POOL, 0).await;
        }
    }
}

#[tokio::test]
async fn semaphore_acquire_that_is_dropped_at_any_await_leaves_no_znode() {
    let bed = TestBed::start().await;
    for taken in [false, true] {
        let holder = Semaphore::new(bed.session().await, POOL, "holder", 1);
        let semaphore = Semaphore::new(bed.session().await, POOL, "a", 1);
        let mut turns = 0;
        let mut done = false;
        // On a busy machine, replies take more turns.
        let most = if taken { 80 } else { 2_000 };
        while !done && turns < most {
            let guard = if taken { Some(soon("a place", holder.acquire()).await.unwrap()) } else { None };
            let mut acquiring = Box::pin(semaphore.acquire());
            poll_once(&mut acquiring).await;
            done = completes_within(turns, acquiring).await;
            bed.wait_for_contenders(ENTRY, 0).await;
            drop(guard);
            bed.wait_for_contenders(POOL, 0).await;
            turns += 1;
        }
        assert!(done != taken && turns > 8, "{turns} turns");
    }
}

/// A holder whose reply was lost must not wait behind a contender that waits for its permit.
#[tokio::test]
async fn semaphore_holder_with_a_lost_reply_does_not_wait_behind_a_waiter() {
    let (bed, session) = TestBed::with_session().await;
    let armed = bed.cut(&session, Disconnect::BeforeReply, Operation::Multi).await;
    let semaphore = Semaphore::new(session.clone(), POOL, "a", 1);
    let mut acquiring = Box::pin(semaphore.acquire());
    poll_once(&mut acquiring).await;
    soon("the loss", armed.happened()).await.unwrap();
    let other = Semaphore::new(bed.session().await, POOL, "b", 1);
    let mut waiting = Box::pin(other.acquire());
    poll_once(&mut waiting).await;
    let guard = soon("its place", acquiring).await.unwrap();
    assert!(guard.holds());
    poll_once(&mut waiting).await;
    assert!(guard.release().await);
    assert!(soon("a place", waiting).await.unwrap().holds());
}

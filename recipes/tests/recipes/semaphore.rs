//! As many hold as there are places, the others wait for one, and get it.

use atalaya_recipes::{AcquireError, Semaphore};
use atalaya_sim::zookeeper::{Cut, Operation};

use crate::support::memory::{Bed, begin, is_done_after, soon};

const POOL: &str = "/pools/downloads";
const ENTRY: &str = "/pools/downloads-__lock__";

#[tokio::test]
async fn semaphore_permit_that_is_released_goes_to_a_waiter() {
    let bed = Bed::start().await;
    let session = bed.session().await;
    let (a, b) =
        (Semaphore::new(session.clone(), POOL, "a", 2), Semaphore::new(bed.session().await, POOL, "b", 2));
    let first = soon("a place", a.acquire()).await.unwrap();
    let second = soon("another", a.acquire()).await.unwrap();
    assert!(first.holds() && second.holds());
    assert_eq!(bed.witness.get(POOL).await.unwrap().0, b"2");
    assert_eq!(bed.children(ENTRY).await, [""; 0], "who has a place has left the entry");
    let made = bed.changes(POOL).await;
    assert!(soon("an answer", b.try_acquire()).await.unwrap().is_none());
    assert_eq!((bed.changes(POOL).await, bed.children(ENTRY).await.len()), (made, 0));
    let mut third = Box::pin(b.acquire());
    begin(&mut third).await;
    bed.until_in_line(ENTRY, 1).await;
    let mut fourth = Box::pin(a.acquire());
    begin(&mut fourth).await;
    bed.until_in_line(ENTRY, 2).await;
    drop(first);
    let third = soon("a place", third).await.unwrap();
    begin(&mut fourth).await;
    assert!(second.release().await);
    let fourth = soon("a place", fourth).await.unwrap();
    assert!(third.holds() && fourth.holds());
    drop((third, fourth));
    bed.until_in_line(POOL, 0).await;
    bed.until_in_line(ENTRY, 0).await;
}

#[tokio::test]
async fn semaphore_refuses_a_different_number_of_permits() {
    let bed = Bed::start().await;
    let session = bed.session().await;
    let guard = soon("a place", Semaphore::new(session.clone(), POOL, "a", 2).acquire()).await.unwrap();
    let other = soon("an answer", Semaphore::new(session.clone(), POOL, "b", 3).acquire()).await;
    assert!(matches!(other, Err(AcquireError::Inconsistent { stored: 2, expected: 3, .. })), "{other:?}");
    assert_eq!(bed.children(ENTRY).await, [""; 0]);
    assert!(guard.holds());
    // What is no number is for something else, as with Kazoo.
    bed.witness.ensure("/pools/other").await.unwrap();
    bed.witness.set("/pools/other", b"{}", None).await.unwrap();
    let other = Semaphore::new(session, "/pools/other", "b", 3);
    assert!(soon("a place", other.acquire()).await.unwrap().holds());
    assert_eq!(bed.witness.get("/pools/other").await.unwrap().0, b"{}");
}

/// Whatever request or reply is lost on the way in, it gets in, and leaves nothing when it goes.
#[tokio::test]
async fn semaphore_is_acquired_whatever_is_lost_and_leaves_no_znode() {
    use Operation::{Create2, Delete, Exists, GetChildren, GetData, Multi, SetData, Sync};
    for cut in [Cut::BeforeEffect, Cut::BeforeReply] {
        for kind in [Create2, Delete, Exists, GetChildren, GetData, Multi, SetData, Sync] {
            let bed = Bed::start().await;
            let session = bed.session().await;
            let armed = bed.cut(&session, cut, kind).await;
            let semaphore = Semaphore::new(session.clone(), POOL, "a", 1);
            let guard = soon("a place", semaphore.acquire()).await.unwrap();
            if guard.holds() {
                assert_eq!(bed.children(POOL).await.len(), 1, "{cut:?} {kind:?}");
                assert_eq!(bed.children(ENTRY).await, [""; 0], "{cut:?} {kind:?}");
            }
            drop(guard);
            bed.until_in_line(POOL, 0).await;
            let again = soon("a place", semaphore.acquire()).await.unwrap();
            drop((again, armed));
            bed.until_in_line(POOL, 0).await;
        }
    }
}

#[tokio::test]
async fn semaphore_acquire_that_is_dropped_at_any_await_leaves_no_znode() {
    let bed = Bed::start().await;
    for taken in [false, true] {
        let holder = Semaphore::new(bed.session().await, POOL, "holder", 1);
        let semaphore = Semaphore::new(bed.session().await, POOL, "a", 1);
        let mut turns = 0;
        let mut done = false;
        while !done && turns < 80 {
            let guard = if taken { Some(soon("a place", holder.acquire()).await.unwrap()) } else { None };
            let mut acquiring = Box::pin(semaphore.acquire());
            begin(&mut acquiring).await;
            done = is_done_after(turns, acquiring).await;
            bed.until_in_line(ENTRY, 0).await;
            drop(guard);
            bed.until_in_line(POOL, 0).await;
            turns += 1;
        }
        assert!(done != taken && turns > 8, "{turns} turns");
    }
}

/// One whose reply was lost has its place, and must not stand behind one who waits for it.
#[tokio::test]
async fn semaphore_holder_with_a_lost_reply_does_not_wait_behind_a_waiter() {
    let bed = Bed::start().await;
    let session = bed.session().await;
    let armed = bed.cut(&session, Cut::BeforeReply, Operation::Multi).await;
    let semaphore = Semaphore::new(session.clone(), POOL, "a", 1);
    let mut acquiring = Box::pin(semaphore.acquire());
    begin(&mut acquiring).await;
    soon("the loss", armed.happened()).await.unwrap();
    let other = Semaphore::new(bed.session().await, POOL, "b", 1);
    let mut waiting = Box::pin(other.acquire());
    begin(&mut waiting).await;
    let guard = soon("its place", acquiring).await.unwrap();
    assert!(guard.holds());
    begin(&mut waiting).await;
    assert!(guard.release().await);
    assert!(soon("a place", waiting).await.unwrap().holds());
}

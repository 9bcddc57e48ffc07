//! A contender that gives up leaves no znode for which others would wait.

use atalaya_recipes::Lock;
use atalaya_zookeeper::{Disconnect, Operation};

use crate::support::memory::{DEADLINE, PATH, TestBed, completes_within, poll_once, soon};

/// The requests of an acquisition in order, and those after a dropped guard or a cancelled wait.
const REQUESTS: [Operation; 6] = [
    Operation::Create2,
    Operation::Create,
    Operation::Sync,
    Operation::GetChildren,
    Operation::Exists,
    Operation::Delete,
];

#[tokio::test]
async fn failed_try_acquire_leaves_no_znode_whatever_reply_is_lost() {
    for cut in [Disconnect::BeforeEffect, Disconnect::BeforeReply] {
        for kind in REQUESTS {
            let bed = TestBed::start().await;
            let guard = Lock::new(bed.session().await, PATH, "a").acquire().await.unwrap();
            let session = bed.session().await;
            let _armed = bed.cut(&session, cut, kind).await;
            let tried = soon("an answer", Lock::new(session.clone(), PATH, "b").try_acquire()).await;
            assert!(tried.is_ok_and(|guard| guard.is_none()), "{cut:?} {kind:?}");
            assert_eq!(bed.wait_for_contenders(PATH, 1).await.len(), 1);
            assert!(guard.holds());
        }
    }
}

#[tokio::test]
async fn try_acquire_that_lost_a_reply_leaves_at_most_its_own_znode() {
    for kind in REQUESTS {
        let (bed, session) = TestBed::with_session().await;
        bed.observer.ensure(PATH).await.unwrap();
        let armed = bed.cut(&session, Disconnect::BeforeReply, kind).await;
        let guard = soon("an answer", Lock::new(session.clone(), PATH, "b").try_acquire()).await.unwrap();
        let guard = guard.expect("it was free");
        // A guard that was verified over a connection that is lost next does not hold.
        if guard.holds() {
            assert_eq!(bed.children(PATH).await.len(), 1, "{kind:?}");
        }
        drop(guard);
        bed.wait_for_contenders(PATH, 0).await;
        drop(armed);
    }
}

/// Drops the acquisition after N turns of all tasks, those of the server included: at every await point until it has
/// the lock by then, or, if another contender holds it, until long after it is queued.
#[tokio::test]
async fn acquire_that_is_dropped_at_any_await_leaves_no_znode() {
    let bed = TestBed::start().await;
    for taken in [false, true] {
        let holder = Lock::new(bed.session().await, PATH, "holder");
        let lock = Lock::new(bed.session().await, PATH, "a");
        let mut turns = 0;
        let mut done = false;
        // On a busy machine, replies take more turns.
        let most = if taken { 60 } else { 2_000 };
        while !done && turns < most {
            let guard = if taken { Some(holder.acquire().await.unwrap()) } else { None };
            let mut acquiring = Box::pin(lock.acquire());
            poll_once(&mut acquiring).await;
            done = completes_within(turns, acquiring).await;
            bed.wait_for_contenders(PATH, usize::from(taken)).await;
            drop(guard);
            bed.wait_for_contenders(PATH, 0).await;
            turns += 1;
        }
        assert!(done != taken && turns > 5, "{turns} turns");
    }
}

#[tokio::test]
async fn cancelled_create_with_a_lost_reply_leaves_no_znode() {
    let (bed, session) = TestBed::with_session().await;
    bed.observer.ensure(PATH).await.unwrap();
    let armed = bed.cut(&session, Disconnect::BeforeReply, Operation::Create2).await;
    let lock = Lock::new(session, PATH, "a");
    {
        let mut acquiring = Box::pin(lock.acquire());
        poll_once(&mut acquiring).await;
        soon("the loss", armed.happened()).await.unwrap();
    }
    bed.wait_for_contenders(PATH, 0).await;
    let guard = soon("a lock that is free", lock.acquire()).await.unwrap();
    assert_eq!(bed.changes(PATH).await, 3, "one made and deleted, one made");
    assert!(guard.holds());
}

#[tokio::test]
async fn release_leaves_no_znode_whatever_is_lost() {
    for cut in [Disconnect::BeforeEffect, Disconnect::BeforeReply] {
        let (bed, session) = TestBed::with_session().await;
        let guard = Lock::new(session.clone(), PATH, "a").acquire().await.unwrap();
        let armed = bed.cut(&session, cut, Operation::Delete).await;
        assert!(soon("it is confirmed", guard.release()).await);
        assert_eq!(bed.children(PATH).await, [""; 0]);
        soon("the loss", armed.happened()).await.unwrap();
    }
}

#[test]
fn guard_that_is_dropped_outside_a_runtime_leaves_no_znode() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (bed, session, guard) = runtime.block_on(async {
        let (bed, session) = TestBed::with_session().await;
        let guard = Lock::new(session.clone(), PATH, "a").acquire().await.unwrap();
        (bed, session, guard)
    });
    std::thread::spawn(move || drop(guard)).join().unwrap();
    runtime.block_on(bed.wait_for_contenders(PATH, 0));
    // A guard that outlives the runtime of its session.
    let guard = runtime.block_on(async { Lock::new(session, PATH, "a").acquire().await.unwrap() });
    drop(bed);
    runtime.shutdown_timeout(DEADLINE);
    assert!(!guard.holds());
    drop(guard);
}

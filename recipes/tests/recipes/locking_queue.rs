//! Locking queues: an entry has one holder at a time, is consumed once, and is free again after its holder ended.

use std::time::Duration;

use atalaya_recipes::queue::DEFAULT_PRIORITY;
use atalaya_recipes::{HeldEntry, LockingQueue, QueueError};
use atalaya_zookeeper::{Disconnect, Operation};

use crate::support::{DEADLINE, TestBed, soon};

const PATH: &str = "/queues/work";
const TAKEN: &str = "/queues/work/taken";

async fn take(queue: &LockingQueue) -> Option<String> {
    queue.take().await.unwrap().map(|taken| said(&taken))
}

fn said(taken: &HeldEntry) -> String {
    String::from_utf8(taken.data().to_vec()).unwrap()
}

#[test]
fn locking_queue_entry_is_held_then_consumed_or_released() {
    let bed = TestBed::memory();
    let (queue, other) = (LockingQueue::new(bed.session(), PATH), LockingQueue::new(bed.session(), PATH));
    bed.wait(async {
        assert!(queue.take().await.unwrap().is_none());
        queue.put_all(&[b"b", b"c"], DEFAULT_PRIORITY).await.unwrap();
        queue.put(b"a", 1).await.unwrap();
        let a = queue.take().await.unwrap().unwrap();
        assert!(a.holds());
        let b = other.take().await.unwrap().unwrap();
        assert_eq!((said(&a), said(&b)), ("a".into(), "b".into()));
        a.release().await;
        let a = other.take().await.unwrap().unwrap();
        assert_eq!(said(&a), "a");
        a.consume().await.unwrap();
        drop(b);
        let b = queue.take_within(DEADLINE).await.unwrap().unwrap();
        assert!(["b", "c"].contains(&&*said(&b)));
        b.consume().await.unwrap();
        queue.take_within(DEADLINE).await.unwrap().unwrap().consume().await.unwrap();
        assert!(queue.is_empty().await.unwrap());
        assert_eq!(take(&other).await, None);
    });
}

#[test]
fn locking_queue_take_waits_until_its_timeout() {
    let bed = TestBed::memory();
    let (queue, other) = (LockingQueue::new(bed.session(), PATH), LockingQueue::new(bed.session(), PATH));
    bed.wait(async {
        queue.put(b"only", DEFAULT_PRIORITY).await.unwrap();
        let held = queue.take().await.unwrap().unwrap();
        assert!(other.take_within(Duration::from_millis(50)).await.unwrap().is_none());
        let taking = tokio::spawn(async move { other.take_within(DEADLINE).await });
        held.release().await;
        assert_eq!(said(&taking.await.unwrap().unwrap().unwrap()), "only");
    });
}

#[test]
fn locking_queue_entry_of_an_expired_session_goes_to_another_and_is_not_consumed() {
    let (bed, session) = TestBed::memory_with_session();
    let (queue, other) = (LockingQueue::new(session.clone(), PATH), LockingQueue::new(bed.session(), PATH));
    bed.wait(async {
        queue.put(b"only", DEFAULT_PRIORITY).await.unwrap();
        let held = queue.take().await.unwrap().unwrap();
        bed.faults().expire(session.connection().await.session_id()).await;
        soon(held.lost()).await;
        assert!(!held.holds());
        let theirs = other.take_within(DEADLINE).await.unwrap().unwrap();
        assert!(matches!(held.consume().await, Err(QueueError::NotHeld { .. })));
        // The cleanup of our expired hold does not remove the new holder's.
        assert!(queue.take().await.unwrap().is_none());
        theirs.consume().await.unwrap();
        assert!(queue.is_empty().await.unwrap());
    });
}

#[test]
fn locking_queue_tolerates_lost_replies() {
    let (bed, session) = TestBed::memory_with_session();
    let queue = LockingQueue::new(session.clone(), PATH);
    bed.wait(async {
        for cut in [Disconnect::BeforeReply, Disconnect::BeforeEffect] {
            queue.put(b"only", DEFAULT_PRIORITY).await.unwrap();
            let armed = bed.cut(cut, &session, Operation::Multi, TAKEN).await;
            let held = queue.take().await.unwrap().unwrap();
            armed.happened().await.unwrap();
            let armed = bed.cut(cut, &session, Operation::Multi, TAKEN).await;
            held.consume().await.unwrap();
            armed.happened().await.unwrap();
            assert!(queue.is_empty().await.unwrap());
            let connection = session.connection().await;
            assert!(connection.children(TAKEN).await.unwrap().is_empty());
        }
    });
}

/// The outcome is determined although the session in which the request took effect has ended.
#[test]
fn locking_queue_knows_a_consumption_after_its_session_ended() {
    let (bed, session) = TestBed::memory_with_session();
    let queue = LockingQueue::new(session.clone(), PATH);
    bed.wait(async {
        for (cut, consumed) in [(Disconnect::BeforeReply, true), (Disconnect::BeforeEffect, false)] {
            queue.put(b"only", DEFAULT_PRIORITY).await.unwrap();
            let held = queue.take().await.unwrap().unwrap();
            let id = session.connection().await.session_id();
            let armed = bed.cut(cut, &session, Operation::Multi, TAKEN).await;
            let (result, ()) = tokio::join!(held.consume(), async {
                armed.happened().await.unwrap();
                bed.faults().expire(id).await;
            });
            match (consumed, result) {
                (true, Ok(())) | (false, Err(QueueError::NotHeld { .. })) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(queue.len().await.unwrap(), 1);
    });
}

#[test]
fn locking_queue_is_shared_with_kazoo() {
    let bed = TestBed::apache();
    let queue = LockingQueue::new(bed.session(), PATH);
    let mut kazoo = bed.kazoo("locking", PATH, &[]);
    bed.wait(async {
        queue.put(b"ours", DEFAULT_PRIORITY).await.unwrap();
    });
    kazoo.call("put 200 theirs");
    assert_eq!(kazoo.call("get 10"), "ours");
    let held = bed.wait(queue.take_within(DEADLINE)).unwrap().unwrap();
    assert_eq!(said(&held), "theirs");
    assert!(bed.wait(queue.take()).unwrap().is_none());
    assert_eq!(kazoo.call("release"), "True");
    let ours = bed.wait(queue.take_within(DEADLINE)).unwrap().unwrap();
    assert_eq!(said(&ours), "ours");
    assert_eq!(kazoo.call("get 0.2"), "None");
    bed.wait(held.release());
    assert_eq!(kazoo.call("get 10"), "theirs");
    assert_eq!(kazoo.call("holds"), "True");
    assert_eq!(kazoo.call("consume"), "True");
    bed.wait(ours.consume()).unwrap();
    assert_eq!(kazoo.call("count"), "0");
    assert!(bed.wait(queue.is_empty()).unwrap());
}

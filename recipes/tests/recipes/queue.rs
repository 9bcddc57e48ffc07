//! Queues: each entry is taken once, in order, over lost requests, replies, connections and sessions.

use std::time::Duration;

use atalaya_recipes::queue::DEFAULT_PRIORITY;
use atalaya_recipes::{Queue, QueueError};
use atalaya_zookeeper::{Disconnect, Operation};

use crate::support::{DEADLINE, TestBed};

const PATH: &str = "/queues/jobs";

pub(crate) fn text(value: Option<Vec<u8>>) -> String {
    value.map_or("-".into(), |value| String::from_utf8(value).unwrap())
}

#[test]
fn queue_is_ordered_by_priority_then_age() {
    let bed = TestBed::memory();
    let queue = Queue::new(bed.session(), PATH);
    bed.wait(async {
        assert_eq!(text(queue.take().await.unwrap()), "-");
        for (value, priority) in [("c", 100), ("d", 100), ("e", 999), ("a", 0), ("b", 99)] {
            queue.put(value.as_bytes(), priority).await.unwrap();
        }
        assert_eq!(queue.len().await.unwrap(), 5);
        for expected in ["a", "b", "c", "d", "e", "-"] {
            assert_eq!(text(queue.take().await.unwrap()), expected);
        }
        assert!(queue.is_empty().await.unwrap());
        assert!(matches!(queue.put(b"", 1000).await, Err(QueueError::Priority(1000))));
    });
}

#[test]
fn queue_take_waits_until_its_timeout() {
    let bed = TestBed::memory();
    let (queue, other) = (Queue::new(bed.session(), PATH), Queue::new(bed.session(), PATH));
    bed.wait(async {
        assert_eq!(text(queue.take_within(Duration::from_millis(50)).await.unwrap()), "-");
        let taking = tokio::spawn(async move { queue.take_within(DEADLINE).await });
        other.put(b"late", DEFAULT_PRIORITY).await.unwrap();
        assert_eq!(text(taking.await.unwrap().unwrap()), "late");
    });
}

/// Kazoo puts an entry twice when it repeats a request, and takes another one when its delete is not answered.
#[test]
fn queue_put_and_take_act_once_when_a_reply_is_lost() {
    let (bed, session) = TestBed::memory_with_session();
    let queue = Queue::new(session.clone(), PATH);
    bed.wait(async {
        queue.put(b"1", DEFAULT_PRIORITY).await.unwrap();
        for cut in [Disconnect::BeforeReply, Disconnect::BeforeEffect] {
            let armed = bed.cut(cut, &session, Operation::Multi, PATH).await;
            queue.put(b"2", DEFAULT_PRIORITY).await.unwrap();
            armed.happened().await.unwrap();
            assert_eq!(queue.len().await.unwrap(), 2);
            let armed = bed.cut(cut, &session, Operation::Multi, PATH).await;
            assert_eq!(text(queue.take().await.unwrap()), "1");
            armed.happened().await.unwrap();
            assert_eq!(text(queue.take().await.unwrap()), "2");
            queue.put(b"1", DEFAULT_PRIORITY).await.unwrap();
        }
    });
}

#[test]
fn queue_take_needs_two_requests_and_put_one() {
    let bed = TestBed::memory();
    // It pings seldom.
    let queue = Queue::new(bed.calm_session(), PATH);
    bed.wait(async {
        queue.put(b"", DEFAULT_PRIORITY).await.unwrap();
        queue.take().await.unwrap();
        let requests = async || bed.faults().stats().await.unwrap().requests;
        let before = requests().await;
        for _ in 0..64 {
            queue.put(b"", DEFAULT_PRIORITY).await.unwrap();
        }
        let between = requests().await;
        for _ in 0..64 {
            assert!(queue.take().await.unwrap().is_some());
        }
        let after = requests().await;
        // The list request, and one or two pings.
        assert!(between - before <= 67 && after - between <= 132, "{before} {between} {after}");
    });
}

#[test]
fn queue_is_shared_with_kazoo() {
    let bed = TestBed::apache();
    let queue = Queue::new(bed.session(), PATH);
    let mut kazoo = bed.kazoo("queue", PATH, &[]);
    bed.wait(queue.put(b"ours 1", DEFAULT_PRIORITY)).unwrap();
    kazoo.call("put 100 theirs 1");
    bed.wait(queue.put(b"ours first", 5)).unwrap();
    kazoo.call("put 200 theirs last");
    assert_eq!(kazoo.call("count"), "4");
    assert_eq!(kazoo.call("get"), "ours first");
    assert_eq!(text(bed.wait(queue.take()).unwrap()), "ours 1");
    assert_eq!(text(bed.wait(queue.take()).unwrap()), "theirs 1");
    assert_eq!(kazoo.call("get"), "theirs last");
    assert_eq!(kazoo.call("get"), "None");
    assert_eq!(text(bed.wait(queue.take()).unwrap()), "-");
}

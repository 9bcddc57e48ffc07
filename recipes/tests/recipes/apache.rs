//! Recipes on Apache ZooKeeper: lost replies, lost requests and disconnects, each once. The in-memory server covers the
//! details.

use atalaya_recipes::queue::DEFAULT_PRIORITY;
use atalaya_recipes::{Barrier, Counter, CounterError, DoubleBarrier, LockingQueue, Queue};
use atalaya_testbed::Proxy;

use crate::support::{DEADLINE, TestBed, until};

/// Operation codes, for the proxy.
const SET: i32 = 5;
const MULTI: i32 = 14;

fn cut(proxy: &Proxy, after: bool, operation: i32) {
    if after { proxy.cut_after_request(operation) } else { proxy.cut_before_request(operation) }
}

#[test]
fn counters_work_on_apache_zookeeper() {
    let (bed, proxy) = TestBed::behind_proxy();
    let session = bed.session_to(&proxy.connect_string());
    let exact = Counter::exact(session.clone(), "/counter");
    let compatible = Counter::compatible(session, "/counter");
    bed.wait(async {
        assert_eq!(exact.add(1).await.unwrap(), 1);
        for (after, sum) in [(true, 2), (false, 3)] {
            cut(&proxy, after, MULTI);
            assert_eq!(exact.add(1).await.unwrap(), sum);
            assert!(!proxy.is_armed());
        }
        cut(&proxy, false, SET);
        assert_eq!(compatible.add(1).await.unwrap(), 4);
        cut(&proxy, true, SET);
        let lost = compatible.add(1).await;
        assert!(matches!(lost, Err(CounterError::OutcomeUnknown { .. })), "{lost:?}");
        assert_eq!(compatible.get().await.unwrap(), 5);
    });
}

#[test]
fn queues_work_on_apache_zookeeper() {
    let (bed, proxy) = TestBed::behind_proxy();
    let session = bed.session_to(&proxy.connect_string());
    let (queue, locking) = (Queue::new(session.clone(), "/queue"), LockingQueue::new(session, "/locking"));
    bed.wait(async {
        queue.put(b"0", DEFAULT_PRIORITY).await.unwrap();
        locking.put(b"0", DEFAULT_PRIORITY).await.unwrap();
        for after in [true, false] {
            cut(&proxy, after, MULTI);
            queue.put(b"1", DEFAULT_PRIORITY).await.unwrap();
            cut(&proxy, after, MULTI);
            assert!(queue.take().await.unwrap().is_some());
            assert_eq!(queue.len().await.unwrap(), 1);

            cut(&proxy, after, MULTI);
            locking.put(b"1", DEFAULT_PRIORITY).await.unwrap();
            cut(&proxy, after, MULTI);
            let held = locking.take().await.unwrap().unwrap();
            cut(&proxy, after, MULTI);
            held.consume().await.unwrap();
            assert_eq!(locking.len().await.unwrap(), 1);
            assert!(!proxy.is_armed());
        }
    });
}

#[test]
fn barriers_work_on_apache_zookeeper() {
    let (bed, proxy) = TestBed::behind_proxy();
    let away = bed.calm_session_to(&proxy.connect_string());
    let here = bed.calm_session();
    let (barrier, waiting) = (Barrier::new(here.clone(), "/barrier"), Barrier::new(away.clone(), "/barrier"));
    let (one, other) = (
        DoubleBarrier::new(away.clone(), "/together", 2, "away"),
        DoubleBarrier::new(here.clone(), "/together", 2, "here"),
    );
    bed.wait(barrier.close()).unwrap();
    let waits = bed.spawn(async move { waiting.wait_within(DEADLINE).await });
    let enters = bed.spawn(async move { one.enter(DEADLINE).await });
    bed.wait(async {
        let connection = here.connection().await;
        let there = async || connection.children("/together").await.ok().filter(|all| all.len() == 1);
        until("one is there", there).await;
        let lost = away.connection().await;
        proxy.refuse(true);
        proxy.cut();
        lost.lost().await;
        assert!(!waits.is_finished() && !enters.is_finished());
        barrier.open().await.unwrap();
        let inside = other.enter(DEADLINE).await.unwrap();
        proxy.refuse(false);
        assert!(waits.await.unwrap().unwrap());
        let (left, entered) = tokio::join!(inside.leave(DEADLINE), async {
            enters.await.unwrap().unwrap().leave(DEADLINE).await
        });
        left.unwrap();
        entered.unwrap();
        assert!(connection.children("/together").await.unwrap().is_empty());
    });
}

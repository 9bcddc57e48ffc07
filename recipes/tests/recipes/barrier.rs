//! Barriers: no waiter passes a closed barrier, and none stays behind an open one, over lost connections and sessions.

use std::time::Duration;

use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::{Barrier, Error, Session};
use atalaya_zookeeper::{Disconnect, Operation};
use tokio::task::JoinHandle;

use crate::support::{DEADLINE, TestBed, until};

const PATH: &str = "/barriers/start";

/// Starts to wait in a task. The barrier has been read when this returns.
fn waiting(bed: &TestBed, session: &Session) -> JoinHandle<Result<bool, Error>> {
    let barrier = Barrier::new(session.clone(), PATH);
    let before = bed.wait(bed.faults().stats()).unwrap().watches;
    let waits = bed.spawn(async move { barrier.wait_within(DEADLINE).await });
    watched(bed, before + 1);
    waits
}

fn watched(bed: &TestBed, watches: usize) {
    let faults = bed.faults();
    bed.wait(until("a watch", async || (faults.stats().await.unwrap().watches >= watches).then_some(())));
}

#[test]
fn barrier_closes_and_opens() {
    let bed = TestBed::memory();
    let barrier = Barrier::new(bed.session(), PATH);
    bed.wait(async {
        assert_eq!(barrier.generation().await.unwrap(), None);
        assert!(!barrier.open().await.unwrap());
        barrier.wait().await.unwrap();
        let first = barrier.close().await.unwrap();
        assert_eq!(barrier.close().await.unwrap(), first);
        assert_eq!(barrier.generation().await.unwrap(), Some(first));
        assert!(!barrier.wait_within(Duration::from_millis(50)).await.unwrap());
        assert!(barrier.open().await.unwrap());
        barrier.wait_for_generation(first).await.unwrap();
        let second = barrier.close().await.unwrap();
        assert!(second > first);
        assert!(!barrier.open_generation(first).await.unwrap());
        barrier.wait_for_generation(first).await.unwrap();
        assert!(!barrier.wait_within(Duration::from_millis(50)).await.unwrap());
        assert!(barrier.open_generation(second).await.unwrap());
    });
}

#[test]
fn barrier_waiter_passes_although_it_is_closed_again_at_once() {
    let bed = TestBed::memory();
    let barrier = Barrier::new(bed.session(), PATH);
    bed.wait(barrier.close()).unwrap();
    let waits = waiting(&bed, &bed.session());
    let connection = bed.connection();
    let open = Write::Delete { path: PATH, version: None };
    let close = Write::Create { path: PATH, data: b"", mode: CreateMode::Persistent };
    bed.wait(async {
        // No client can read the barrier between the two.
        connection.multi(&[open, close]).await.unwrap();
        assert!(waits.await.unwrap().unwrap());
    });
}

#[test]
fn barrier_waiter_does_not_hang_after_a_disconnect() {
    let bed = TestBed::memory();
    let barrier = Barrier::new(bed.session(), PATH);
    bed.wait(barrier.close()).unwrap();
    let session = bed.session();
    let waits = waiting(&bed, &session);
    bed.wait(async {
        let faults = bed.faults();
        let connection = session.connection().await;
        // The barrier is opened while the waiter is disconnected.
        faults.refuse_connections(true);
        faults.disconnect(connection.session_id()).await;
        connection.lost().await;
        assert!(barrier.open().await.unwrap());
        faults.refuse_connections(false);
        assert!(waits.await.unwrap().unwrap());
    });
}

#[test]
fn barrier_waiter_does_not_pass_early_on_expiry_or_server_restart() {
    let bed = TestBed::memory();
    let barrier = Barrier::new(bed.session(), PATH);
    bed.wait(barrier.close()).unwrap();
    let session = bed.session();
    let waits = waiting(&bed, &session);
    bed.wait(async {
        let connection = session.connection().await;
        bed.faults().expire(connection.session_id()).await;
        connection.lost().await;
        let connection = session.connection_after(connection.number()).await;
        until("a watch", async || (bed.faults().stats().await.unwrap().watches >= 1).then_some(())).await;
        bed.faults().stop().await;
        connection.lost().await;
        bed.faults().restart().await;
        session.connection_after(connection.number()).await;
        until("a watch", async || (bed.faults().stats().await.unwrap().watches >= 1).then_some(())).await;
        assert!(!waits.is_finished());
        assert!(barrier.open().await.unwrap());
        assert!(waits.await.unwrap().unwrap());
    });
}

#[test]
fn barrier_open_with_a_lost_reply_opens_one_generation() {
    let (bed, session) = TestBed::memory_with_session();
    let barrier = Barrier::new(session.clone(), PATH);
    let other = Barrier::new(bed.session(), PATH);
    bed.wait(async {
        barrier.close().await.unwrap();
        let armed = bed.cut(Disconnect::BeforeReply, &session, Operation::Delete, PATH).await;
        let (opened, second) = tokio::join!(barrier.open(), async {
            armed.happened().await.unwrap();
            other.close().await.unwrap()
        });
        assert!(opened.unwrap());
        assert_eq!(other.generation().await.unwrap(), Some(second));
        let armed = bed.cut(Disconnect::BeforeReply, &session, Operation::Create2, PATH).await;
        other.open().await.unwrap();
        let third = barrier.close().await.unwrap();
        armed.happened().await.unwrap();
        assert_eq!(other.generation().await.unwrap(), Some(third));
    });
}

#[test]
fn barrier_is_shared_with_kazoo() {
    let bed = TestBed::apache();
    let barrier = Barrier::new(bed.session(), PATH);
    let mut kazoo = bed.kazoo("barrier", PATH, &[]);
    // Kazoo waits, we open.
    bed.wait(barrier.close()).unwrap();
    assert_eq!(kazoo.call("wait 0.2"), "False");
    let waits = kazoo.ask("wait 60");
    bed.wait(async {
        assert!(!kazoo.answered(waits));
        assert!(barrier.open().await.unwrap());
    });
    assert_eq!(kazoo.answer(waits), "True");
    // We wait, Kazoo opens.
    kazoo.call("create");
    assert!(!bed.wait(barrier.wait_within(Duration::from_millis(200))).unwrap());
    let ours = barrier.clone();
    let waits = bed.spawn(async move { ours.wait_within(DEADLINE).await });
    assert_eq!(kazoo.call("remove"), "True");
    assert!(bed.wait(waits).unwrap().unwrap());
    assert_eq!(kazoo.call("remove"), "False");
}

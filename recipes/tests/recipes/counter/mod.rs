//! Counters: each addition counts once, over lost requests, replies, connections and sessions.

mod with_kazoo;

use std::time::Duration;

use atalaya_recipes::{Counter, CounterError, Phase};
use atalaya_zookeeper::{Disconnect, Operation};

use crate::support::{TestBed, soon, until};

const PATH: &str = "/counters/reports";
const MARKERS: &str = "/counters/reports__adders__";

fn text(bed: &TestBed) -> String {
    let connection = bed.connection();
    let (data, _) = bed.wait(connection.get(PATH)).unwrap();
    String::from_utf8(data).unwrap()
}

#[test]
fn counter_adds_up() {
    let (bed, session) = TestBed::memory_with_session();
    for counter in [Counter::exact(session.clone(), PATH), Counter::compatible(session.clone(), PATH)] {
        bed.wait(async {
            let before = counter.get().await.unwrap();
            assert_eq!(counter.add(5).await.unwrap(), before + 5);
            assert_eq!(counter.add(-7).await.unwrap(), before - 2);
            assert_eq!(counter.add(0).await.unwrap(), before - 2);
            assert_eq!(counter.get().await.unwrap(), before - 2);
        });
    }
    assert_eq!(text(&bed), "-4");
}

#[test]
fn counter_without_data_has_its_default() {
    let bed = TestBed::memory();
    let connection = bed.connection();
    let counter = Counter::compatible(connection.session().clone(), PATH).with_default(100);
    bed.wait(async {
        assert_eq!(counter.get().await.unwrap(), 100);
        connection.ensure(PATH).await.unwrap();
        assert_eq!(counter.get().await.unwrap(), 100);
        assert_eq!(counter.add(1).await.unwrap(), 101);
    });
}

#[test]
fn counter_refuses_data_that_is_not_an_integer_and_keeps_it() {
    let bed = TestBed::memory();
    let connection = bed.connection();
    bed.wait(connection.ensure(PATH)).unwrap();
    let session = connection.session();
    for counter in [Counter::exact(session.clone(), PATH), Counter::compatible(session.clone(), PATH)] {
        for held in [&b"1.5"[..], b"1.0", b"9223372036854775808", b"five", b"\0\0\0\x05", b"\xff"] {
            bed.wait(async {
                connection.set(PATH, held, None).await.unwrap();
                assert!(matches!(counter.get().await, Err(CounterError::NotANumber { .. })), "{held:?}");
                assert!(matches!(counter.add(1).await, Err(CounterError::NotANumber { .. })), "{held:?}");
                assert_eq!(connection.get(PATH).await.unwrap().0, held);
            });
        }
        bed.wait(async {
            connection.set(PATH, b"9223372036854775807", None).await.unwrap();
            let refused = counter.add(1).await;
            assert!(matches!(refused, Err(CounterError::Overflow { value: i64::MAX, .. })), "{refused:?}");
            assert_eq!(counter.add(-1).await.unwrap(), i64::MAX - 1);
        });
    }
}

/// Kazoo counts twice here: one `+= 1` gives 2.
#[test]
fn exact_counter_counts_once_when_a_reply_is_lost() {
    let (bed, session) = TestBed::memory_with_session();
    let counter = Counter::exact(session.clone(), PATH);
    bed.wait(async {
        assert_eq!(counter.add(1).await.unwrap(), 1);
        let armed = bed.cut(Disconnect::BeforeReply, &session, Operation::Multi, PATH).await;
        assert_eq!(counter.add(1).await.unwrap(), 2);
        armed.happened().await.unwrap();
        let armed = bed.cut(Disconnect::BeforeEffect, &session, Operation::Multi, PATH).await;
        assert_eq!(counter.add(1).await.unwrap(), 3);
        armed.happened().await.unwrap();
    });
    assert_eq!(text(&bed), "3");
}

#[test]
fn exact_counter_counts_once_when_the_session_ends_while_others_add() {
    let (bed, session) = TestBed::memory_with_session();
    let counter = Counter::exact(session.clone(), PATH);
    let other = Counter::compatible(bed.session(), PATH);
    bed.wait(async {
        assert_eq!(counter.add(1).await.unwrap(), 1);
        let old = session.connection().await.session_id();
        let armed = bed.cut(Disconnect::BeforeReply, &session, Operation::Multi, PATH).await;
        let faults = bed.faults();
        let (added, ()) = tokio::join!(counter.add(1), async {
            armed.happened().await.unwrap();
            faults.expire(old).await;
            other.add(10).await.unwrap();
        });
        assert_eq!(added.unwrap(), 2);
        assert_ne!(session.connection().await.session_id(), old);
    });
    assert_eq!(text(&bed), "12");
}

#[test]
fn compatible_counter_returns_outcome_unknown_after_a_lost_reply() {
    let (bed, session) = TestBed::memory_with_session();
    let counter = Counter::compatible(session.clone(), PATH);
    bed.wait(async {
        assert_eq!(counter.add(1).await.unwrap(), 1);
        let armed = bed.cut(Disconnect::BeforeReply, &session, Operation::SetData, PATH).await;
        let lost = counter.add(1).await;
        assert!(matches!(lost, Err(CounterError::OutcomeUnknown { amount: 1, .. })), "{lost:?}");
        armed.happened().await.unwrap();
        // A request that certainly had no effect is repeated.
        let armed = bed.cut(Disconnect::BeforeEffect, &session, Operation::SetData, PATH).await;
        assert_eq!(counter.add(1).await.unwrap(), 3);
        armed.happened().await.unwrap();
    });
    assert_eq!(text(&bed), "3");
}

#[test]
fn counter_needs_one_request_without_contention() {
    let bed = TestBed::memory();
    for create in [Counter::exact, Counter::compatible] {
        // The sessions ping seldom.
        let counter = create(bed.calm_session(), PATH);
        bed.wait(async {
            counter.add(1).await.unwrap();
            counter.add(1).await.unwrap();
            let before = bed.faults().stats().await.unwrap();
            for _ in 0..100 {
                counter.add(1).await.unwrap();
            }
            let after = bed.faults().stats().await.unwrap();
            let asked = after.requests - before.requests;
            // One or two pings may come in addition.
            assert!(asked <= 104, "{asked} requests");
        });
    }
}

#[test]
fn counter_times_out() {
    let (bed, session) = TestBed::memory_with_session();
    bed.wait(async {
        let connection = session.connection().await;
        let counter = Counter::exact(session.clone(), PATH).with_timeout(Duration::from_millis(200));
        bed.faults().stop().await;
        connection.lost().await;
        let failed = counter.add(1).await;
        assert!(matches!(failed, Err(CounterError::Failed(_))), "{failed:?}");
        assert!(counter.get().await.is_err());
        bed.faults().restart().await;
    });
}

#[test]
fn dedup_records_are_removed_with_their_counters() {
    let bed = TestBed::memory();
    let connection = bed.connection();
    let session = bed.session();
    bed.wait(async {
        let closed = Counter::exact(session.clone(), PATH);
        let dropped = Counter::exact(session.clone(), PATH);
        closed.add(1).await.unwrap();
        dropped.add(1).await.unwrap();
        assert_eq!(connection.children(MARKERS).await.unwrap().len(), 2);
        closed.close().await;
        assert_eq!(connection.children(MARKERS).await.unwrap().len(), 1);
        drop(dropped);
        until("no marker", async || connection.children(MARKERS).await.unwrap().is_empty().then_some(()))
            .await;

        // The record of a dead process is removed by the next process that creates one, once it is old enough.
        connection
            .create(&format!("{MARKERS}/dead"), b"", atalaya_recipes::session::CreateMode::Persistent)
            .await
            .unwrap();
        let early = Counter::exact(session.clone(), PATH);
        early.add(1).await.unwrap();
        assert_eq!(connection.children(MARKERS).await.unwrap().len(), 2);
        early.close().await;
    });
    // The jump of the clock ends the sessions too.
    bed.wait(bed.faults().advance_clock(Duration::from_secs(601)));
    let late = Counter::exact(session, PATH);
    bed.wait(late.add(1)).unwrap();
    let connection = bed.connection();
    let children = bed.wait(connection.children(MARKERS)).unwrap();
    assert!(children.len() == 1 && children[0] != "dead", "{children:?}");
}

/// The record is persistent, so it would stay for a long time otherwise.
#[test]
fn dedup_record_is_removed_although_the_server_freezes_for_longer_than_a_session() {
    let bed = TestBed::memory();
    let (session, connection) = (bed.session(), bed.connection());
    bed.wait(async {
        let counter = Counter::exact(session.clone(), PATH);
        counter.add(1).await.unwrap();
        assert_eq!(connection.children(MARKERS).await.unwrap().len(), 1);
        let old = session.connection().await;
        bed.faults().pause().await;
        drop(counter);
        soon(session.watch().wait_for(|view| view.phase == Phase::Connecting)).await.unwrap();
        bed.faults().resume().await;
        session.connection_after(old.number()).await;
        let observer = connection.session().connection().await;
        until("no marker", async || observer.children(MARKERS).await.ok()?.is_empty().then_some(())).await;
    });
}

#[test]
fn cancelled_addition_counts_at_most_once_and_the_next_is_right() {
    let bed = TestBed::memory();
    let counter = Counter::exact(bed.session(), PATH);
    bed.wait(async {
        let (mut sum, mut cancelled) = (0, 0);
        for polls in 0..40 {
            let mut adding = Box::pin(counter.add(1));
            let mut left = polls;
            let done = std::future::poll_fn(|context| {
                let poll_times = adding.as_mut().poll(context);
                left -= 1;
                match poll_times {
                    std::task::Poll::Pending if left > 0 => std::task::Poll::Pending,
                    poll_times => std::task::Poll::Ready(poll_times),
                }
            });
            if polls == 0 || done.await.is_pending() {
                cancelled += 1;
            }
            drop(adding);
            let now = counter.add(1).await.unwrap();
            assert!((sum + 1..=sum + 2).contains(&now), "{sum} to {now}");
            sum = now;
        }
        assert!(cancelled > 0 && sum >= 40);
    });
}

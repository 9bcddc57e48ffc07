//! Leases under faults: after a lost reply, a cancelled call or a foreign write, the holder is known and no contender
//! is left.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{Acquire, Connection, Lease, LeaseError};
use atalaya_zookeeper::{Disconnect, Operation, RequestFilter};

use crate::lease::{HOLDER, LENGTH, PATH, Wall, obtained, refused, wait_until_queue_is_empty};
use crate::support::TestBed;

const MULTI: i32 = 14;

/// Covers the first acquisition and a renewal.
#[test]
fn lease_outcome_is_known_after_a_lost_request_or_reply() {
    let kinds =
        [Operation::Multi, Operation::Create2, Operation::GetData, Operation::Sync, Operation::Delete];
    for (cut, expire) in
        [(Disconnect::BeforeEffect, false), (Disconnect::BeforeReply, false), (Disconnect::BeforeReply, true)]
    {
        for kind in kinds {
            let bed = TestBed::memory();
            let (wall, connection, session) = (Wall::new(), bed.connection(), bed.session());
            let (a, b) = (wall.lease(&session, "a"), wall.lease(&bed.session(), "b"));
            bed.wait(async {
                connection.ensure(PATH).await.unwrap();
                for _ in 0..2 {
                    let id = session.connection().await.session_id();
                    let armed = bed.faults().disconnect_at(cut, at(id, kind)).await;
                    let (held, ()) = tokio::join!(obtained(&a), async {
                        armed.happened().await.unwrap();
                        if expire {
                            bed.faults().expire(id).await;
                        }
                    });
                    let (_, stat) = connection.get(HOLDER).await.unwrap();
                    assert!(held.holds() && held.fencing_token() == stat.mzxid, "{cut:?} {kind:?}");
                    assert_eq!(refused(&b).await, "a");
                    wait_until_queue_is_empty(&connection, PATH).await;
                    wall.pass(Duration::from_secs(1));
                }
            });
        }
    }
}

fn at(session: i64, kind: Operation) -> RequestFilter {
    RequestFilter::any().session(session).operation(kind)
}

#[test]
fn lease_is_released_whatever_is_lost() {
    for cut in [Disconnect::BeforeEffect, Disconnect::BeforeReply] {
        for kind in [Operation::Multi, Operation::Create2, Operation::Delete] {
            let bed = TestBed::memory();
            let (wall, connection, session) = (Wall::new(), bed.connection(), bed.session());
            let a = wall.lease(&session, "a");
            bed.wait(async {
                let held = obtained(&a).await;
                let armed =
                    bed.faults().disconnect_at(cut, at(session.connection().await.session_id(), kind)).await;
                held.release().await.unwrap();
                armed.happened().await.unwrap();
                assert!(connection.stat(HOLDER).await.unwrap().is_none(), "{cut:?} {kind:?}");
                wait_until_queue_is_empty(&connection, PATH).await;
            });
        }
    }
}

#[test]
fn lease_outcome_is_known_after_a_lost_reply_on_apache_zookeeper() {
    let (bed, proxy) = TestBed::behind_proxy();
    let (connection, session) = (bed.connection(), bed.session_to(&proxy.connect_string()));
    let (a, b) = (
        Lease::new(session.clone(), PATH, "a", LENGTH),
        Lease::new(connection.session().clone(), PATH, "b", LENGTH),
    );
    let cut = |after| if after { proxy.cut_after_request(MULTI) } else { proxy.cut_before_request(MULTI) };
    bed.wait(async {
        session.connection().await;
        for after in [true, false] {
            cut(after);
            let mut held = obtained(&a).await;
            assert!(held.holds() && !proxy.is_armed());
            assert_eq!(connection.get(HOLDER).await.unwrap().1.mzxid, held.fencing_token());
            assert_eq!(refused(&b).await, "a");
            cut(after);
            assert!(held.renew().await.unwrap());
            assert_eq!(connection.get(HOLDER).await.unwrap().1.mzxid, held.fencing_token());
            cut(after);
            held.release().await.unwrap();
            assert!(connection.stat(HOLDER).await.unwrap().is_none() && !proxy.is_armed());
            obtained(&b).await.release().await.unwrap();
        }
        wait_until_queue_is_empty(&connection, PATH).await;
    });
}

#[test]
fn lease_with_an_unknown_outcome_is_reported_and_not_relied_on() {
    let bed = TestBed::memory();
    let proxy = bed.proxy();
    let (wall, connection, session) =
        (Wall::new(), bed.connection(), bed.session_to(&proxy.connect_string()));
    let a = wall.lease(&session, "a");
    bed.wait(async {
        let mut held = obtained(&a.clone().with_timeout(Duration::from_secs(2))).await;
        for after in [true, false] {
            let end = held.end();
            wall.pass(Duration::from_secs(10));
            proxy.refuse(true);
            if after {
                proxy.cut_after_request(MULTI)
            } else {
                proxy.cut_before_request(MULTI)
            }
            let unknown = held.renew().await;
            assert!(matches!(unknown, Err(LeaseError::OutcomeUnknown { .. })), "{unknown:?}");
            assert!(held.end() == end && held.holds());
            proxy.refuse(false);
            session.connection().await;
            assert_eq!(
                a.current().await.unwrap().unwrap().end,
                end + Duration::from_secs(if after { 10 } else { 0 })
            );
            if after {
                assert!(held.renew().await.unwrap());
            }
        }
        // The write may or may not have been lost, so the lease is released in any case.
        proxy.refuse(true);
        proxy.cut_after_request(MULTI);
        assert!(held.renew().await.is_err());
        proxy.refuse(false);
        session.connection().await;
        held.release().await.unwrap();
        assert!(connection.stat(HOLDER).await.unwrap().is_none());
    });
}

/// A record that another process of the same name wrote is not taken for the own lost write.
#[test]
fn lease_renewal_is_not_confused_with_a_later_write() {
    let bed = TestBed::memory();
    let proxy = bed.proxy();
    let (wall, session) = (Wall::new(), bed.session_to(&proxy.connect_string()));
    let a = wall.lease(&session, "a");
    let same = wall.lease(&bed.session(), "a");
    bed.wait(async {
        let mut held = obtained(&a.clone().with_timeout(Duration::from_secs(2))).await;
        proxy.refuse(true);
        proxy.cut_after_request(MULTI);
        let unknown = held.renew().await;
        assert!(matches!(unknown, Err(LeaseError::OutcomeUnknown { .. })), "{unknown:?}");
        proxy.refuse(false);
        session.connection().await;
        assert!(held.renew().await.unwrap());
        let newer = obtained(&same).await;
        held.release().await.unwrap();
        assert_eq!(a.current().await.unwrap().unwrap().fencing_token, newer.fencing_token());
    });
}

/// The call is dropped after 1, 2, 3... polls, until it completes.
#[test]
fn lease_call_that_is_dropped_at_any_await_leaves_no_contender() {
    let bed = TestBed::memory();
    let (wall, connection, session) = (Wall::new(), bed.connection(), bed.session());
    let (a, b) = (wall.lease(&session, "a"), wall.lease(&session, "b"));
    for renewing in [false, true] {
        bed.wait(async {
            let mut polls = 0;
            loop {
                let mut held = obtained(&a).await;
                if !renewing {
                    wall.pass(LENGTH * 2);
                }
                let end = held.end();
                wall.pass(Duration::from_secs(1));
                let done = if renewing {
                    poll_times(polls, held.renew()).await.is_some()
                } else {
                    poll_times(polls, b.acquire()).await.is_some()
                };
                if renewing && !done {
                    assert_eq!(held.end(), end);
                }
                wait_until_queue_is_empty(&connection, PATH).await;
                // The record has its old or its new content, so one of the two holders can acquire it, now or later.
                if renewing {
                    held.release().await.unwrap();
                    assert_eq!(a.current().await.unwrap(), None);
                } else {
                    wall.pass(LENGTH * 2);
                }
                if done {
                    break;
                }
                polls += 1;
            }
            assert!(polls > 5, "{polls}");
        });
    }
}

/// Polls a future `times` times and drops it. Returns its output if it has completed by then.
async fn poll_times<T>(mut times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(None);
        }
        times -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Runs `action` between the read under the lock and the write: the wall clock is read there. It is also read once
/// before, to check whether the request has a chance.
fn at_the_write(
    bed: &TestBed,
    lease: &Lease,
    wall: &Wall,
    connection: &Connection,
    befalls: impl AsyncFn(&Connection) + Send + Sync + 'static,
) -> Lease {
    let (wall, connection, looks) = (wall.clone(), connection.clone(), AtomicUsize::new(0));
    let runtime = bed.handle();
    let befalls = Arc::new(befalls);
    lease.clone().with_clock(move || {
        if looks.fetch_add(1, Ordering::Relaxed) == 1 {
            std::thread::scope(|scope| scope.spawn(|| runtime.block_on(befalls(&connection))).join())
                .unwrap();
        }
        wall.now()
    })
}

/// Kazoo deletes and creates the record, so its version is the same as before.
async fn as_kazoo_does(connection: &Connection) {
    let theirs = br#"{"version": 1, "holder": "kazoo", "end": "2025-10-25T02:00:00"}"#;
    if connection.stat(HOLDER).await.unwrap().is_some() {
        connection.delete(HOLDER, None).await.unwrap();
    }
    connection.create(HOLDER, theirs, CreateMode::Persistent).await.unwrap();
}

#[test]
fn lease_is_not_written_after_its_lock_was_lost() {
    let bed = TestBed::memory();
    let (wall, connection) = (Wall::new(), bed.connection());
    let a = wall.lease(&bed.session(), "a");
    let over = br#"{"version": 1, "holder": "b", "end": "2001-01-01T00:00:00"}"#;
    bed.wait(connection.ensure(PATH)).unwrap();
    bed.wait(connection.create(HOLDER, over, CreateMode::Persistent)).unwrap();
    let robbed = at_the_write(&bed, &a, &wall, &connection, async |connection| {
        for name in connection.children(PATH).await.unwrap() {
            if name != "lease_holder" {
                connection.delete(&format!("{PATH}/{name}"), None).await.unwrap();
            }
        }
        as_kazoo_does(connection).await;
    });
    bed.wait(async {
        assert_eq!(refused(&robbed).await, "kazoo");
        assert_eq!(a.current().await.unwrap().unwrap().holder, "kazoo");
        wait_until_queue_is_empty(&connection, PATH).await;
    });
}

#[test]
fn lease_that_was_written_without_the_lock_is_not_overwritten() {
    for is_queued in [true, false] {
        let bed = TestBed::memory();
        let (wall, connection) = (Wall::new(), bed.connection());
        let a = wall.lease(&bed.session(), "a");
        let over = br#"{"version": 1, "holder": "b", "end": "2001-01-01T00:00:00"}"#;
        bed.wait(async {
            connection.ensure(PATH).await.unwrap();
            // An absent record needs one read less.
            connection.create(HOLDER, over, CreateMode::Persistent).await.unwrap();
            connection.set(HOLDER, over, None).await.unwrap();
        });
        let late = at_the_write(&bed, &a, &wall, &connection, async move |connection| {
            if is_queued {
                as_kazoo_does(connection).await;
            } else {
                connection.delete(HOLDER, None).await.unwrap();
            }
        });
        bed.wait(async {
            match late.acquire().await.unwrap() {
                Acquire::Acquired(held) => assert!(!is_queued && held.holds()),
                Acquire::HeldByOther(holding) => assert!(is_queued && holding.holder == "kazoo"),
            }
        });
    }
}

#[test]
fn lease_is_not_acquired_in_a_session_that_ended_before_the_write() {
    let bed = TestBed::memory();
    let (wall, connection, session) = (Wall::new(), bed.connection(), bed.session());
    let (a, b) = (wall.lease(&session, "a"), wall.lease(&bed.session(), "b"));
    bed.wait(obtained(&wall.lease(&bed.session(), "before")));
    wall.pass(LENGTH);
    let (faults, other) = (bed.faults(), b.clone());
    let id = bed.wait(session.connection()).session_id();
    let dead = at_the_write(&bed, &a, &wall, &connection, async move |_| {
        assert!(faults.expire(id).await);
        obtained(&other).await;
    });
    bed.wait(async {
        assert_eq!(refused(&dead).await, "b");
        assert_eq!(b.current().await.unwrap().unwrap().holder, "b");
    });
}

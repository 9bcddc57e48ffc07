//! What is lost, dropped or taken away meanwhile leaves no question of who holds a lease, and nobody in its line.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{Acquire, Connection, Lease, LeaseError};
use atalaya_sim::zookeeper::{AtRequest, Cut, Operation};

use crate::lease::{HOLDER, LENGTH, PATH, Wall, obtained, refused, until_nobody_waits};
use crate::support::Bed;

const MULTI: i32 = 14;

/// With the first, and with one that is renewed.
#[test]
fn a_lost_request_or_reply_leaves_no_question() {
    let kinds =
        [Operation::Multi, Operation::Create2, Operation::GetData, Operation::Sync, Operation::Delete];
    for (cut, expire) in [(Cut::BeforeEffect, false), (Cut::BeforeReply, false), (Cut::BeforeReply, true)] {
        for kind in kinds {
            let bed = Bed::memory();
            let (wall, connection, session) = (Wall::new(), bed.connection(), bed.session());
            let (a, b) = (wall.lease(&session, "a"), wall.lease(&bed.session(), "b"));
            bed.wait(async {
                connection.ensure(PATH).await.unwrap();
                for _ in 0..2 {
                    let id = session.connection().await.session_id();
                    let armed = bed.faults().cut(cut, at(id, kind)).await;
                    let (held, ()) = tokio::join!(obtained(&a), async {
                        armed.happened().await.unwrap();
                        if expire {
                            bed.faults().expire(id).await;
                        }
                    });
                    let (_, stat) = connection.get(HOLDER).await.unwrap();
                    assert!(held.holds() && held.fencing_token() == stat.mzxid, "{cut:?} {kind:?}");
                    assert_eq!(refused(&b).await, "a");
                    until_nobody_waits(&connection, PATH).await;
                    wall.pass(Duration::from_secs(1));
                }
            });
        }
    }
}

fn at(session: i64, kind: Operation) -> AtRequest {
    AtRequest::next().of_session(session).of_kind(kind)
}

#[test]
fn it_is_given_back_whatever_is_lost() {
    for cut in [Cut::BeforeEffect, Cut::BeforeReply] {
        for kind in [Operation::Multi, Operation::Create2, Operation::Delete] {
            let bed = Bed::memory();
            let (wall, connection, session) = (Wall::new(), bed.connection(), bed.session());
            let a = wall.lease(&session, "a");
            bed.wait(async {
                let held = obtained(&a).await;
                let armed = bed.faults().cut(cut, at(session.connection().await.session_id(), kind)).await;
                held.release().await.unwrap();
                armed.happened().await.unwrap();
                assert!(connection.stat(HOLDER).await.unwrap().is_none(), "{cut:?} {kind:?}");
                until_nobody_waits(&connection, PATH).await;
            });
        }
    }
}

#[test]
fn nor_does_it_with_apache() {
    let bed = Bed::apache();
    let proxy = bed.proxy();
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
        until_nobody_waits(&connection, PATH).await;
    });
}

#[test]
fn an_outcome_that_cannot_be_known_is_said_to_be_and_no_more_is_believed() {
    let bed = Bed::memory();
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
        // Here the write may have been lost or not: it is given back all the same.
        proxy.refuse(true);
        proxy.cut_after_request(MULTI);
        assert!(held.renew().await.is_err());
        proxy.refuse(false);
        session.connection().await;
        held.release().await.unwrap();
        assert!(connection.stat(HOLDER).await.unwrap().is_none());
    });
}

/// What is written by another process of the same name is not what this one lost.
#[test]
fn once_a_renewal_is_certain_nothing_later_is_taken_for_it() {
    let bed = Bed::memory();
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

/// Dropped after so many polls, until it is done.
#[test]
fn a_call_that_is_dropped_at_any_await_leaves_nobody_in_line() {
    let bed = Bed::memory();
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
                    polled(polls, held.renew()).await.is_some()
                } else {
                    polled(polls, b.acquire()).await.is_some()
                };
                if renewing && !done {
                    assert_eq!(held.end(), end);
                }
                until_nobody_waits(&connection, PATH).await;
                // What stands there is as it was, or as it was to be: the one or the other can have it, at once or later.
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

/// Polls a future so often, and drops it. What it came to by then.
async fn polled<T>(mut times: usize, future: impl Future<Output = T>) -> Option<T> {
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

/// Does something at the moment between the look under the lock and the write: the wall clock is looked at then, and
/// before that once, by whoever asks whether it has a chance.
fn at_the_write(
    bed: &Bed,
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

/// Kazoo deletes and creates, so that the version is the same as before.
async fn as_kazoo_does(connection: &Connection) {
    let theirs = br#"{"version": 1, "holder": "kazoo", "end": "2025-10-25T02:00:00"}"#;
    if connection.stat(HOLDER).await.unwrap().is_some() {
        connection.delete(HOLDER, None).await.unwrap();
    }
    connection.create(HOLDER, theirs, CreateMode::Persistent).await.unwrap();
}

#[test]
fn nobody_writes_a_lease_whose_lock_was_lost_before_the_write() {
    let bed = Bed::memory();
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
        until_nobody_waits(&connection, PATH).await;
    });
}

#[test]
fn nor_one_that_somebody_wrote_without_the_lock() {
    for stands in [true, false] {
        let bed = Bed::memory();
        let (wall, connection) = (Wall::new(), bed.connection());
        let a = wall.lease(&bed.session(), "a");
        let over = br#"{"version": 1, "holder": "b", "end": "2001-01-01T00:00:00"}"#;
        bed.wait(async {
            connection.ensure(PATH).await.unwrap();
            // If nothing stands there, there is one look less: whatever does is gone when it is the turn of the second.
            connection.create(HOLDER, over, CreateMode::Persistent).await.unwrap();
            connection.set(HOLDER, over, None).await.unwrap();
        });
        let late = at_the_write(&bed, &a, &wall, &connection, async move |connection| {
            if stands {
                as_kazoo_does(connection).await;
            } else {
                connection.delete(HOLDER, None).await.unwrap();
            }
        });
        bed.wait(async {
            match late.acquire().await.unwrap() {
                Acquire::Acquired(held) => assert!(!stands && held.holds()),
                Acquire::HeldByOther(holding) => assert!(stands && holding.holder == "kazoo"),
            }
        });
    }
}

#[test]
fn a_session_that_ends_between_the_look_and_the_write_obtains_nothing_in_it() {
    let bed = Bed::memory();
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

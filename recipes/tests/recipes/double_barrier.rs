//! Double barriers: members enter and leave together, a stale `ready` has no effect, and no member hangs after a
//! disconnect.

use std::time::Duration;

use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{DoubleBarrier, DoubleBarrierError, DoubleBarrierGuard, Session};
use atalaya_zookeeper::Disconnect;
use tokio::task::JoinHandle;

use crate::support::{DEADLINE, TestBed, until};

const PATH: &str = "/barriers/together";
const READY: &str = "/barriers/together/ready";

type Entering = JoinHandle<Result<DoubleBarrierGuard, DoubleBarrierError>>;

fn enter(bed: &TestBed, session: &Session, size: usize) -> Entering {
    let barrier = DoubleBarrier::new(session.clone(), PATH, size, "test");
    bed.spawn(async move { barrier.enter(DEADLINE).await })
}

fn leave(bed: &TestBed, inside: DoubleBarrierGuard) -> JoinHandle<Result<(), DoubleBarrierError>> {
    bed.spawn(async move { inside.leave(DEADLINE).await })
}

/// Waits until `count` members are at the barrier, not counting `ready`.
#[track_caller]
fn at_the_barrier(bed: &TestBed, count: usize) {
    let connection = bed.connection();
    bed.wait(until("members", async || {
        connection.sync().await.unwrap();
        let children = connection.children(PATH).await.unwrap_or_default();
        (children.iter().filter(|name| *name != "ready").count() == count).then_some(())
    }));
}

fn is_empty(bed: &TestBed) -> bool {
    let connection = bed.connection();
    bed.wait(connection.children(PATH)).unwrap().is_empty()
}

#[test]
fn double_barrier_members_enter_and_leave_together() {
    let bed = TestBed::memory();
    let sessions = [bed.session(), bed.session(), bed.session()];
    for _ in 0..3 {
        let two: Vec<_> = sessions[..2].iter().map(|session| enter(&bed, session, 3)).collect();
        at_the_barrier(&bed, 2);
        assert!(two.iter().all(|entering| !entering.is_finished()));
        let third = enter(&bed, &sessions[2], 3);
        let mut inside: Vec<DoubleBarrierGuard> =
            two.into_iter().chain([third]).map(|entering| bed.wait(entering).unwrap().unwrap()).collect();
        let last = inside.pop().unwrap();
        let leaving: Vec<_> = inside.into_iter().map(|inside| leave(&bed, inside)).collect();
        assert!(leaving.iter().all(|leaving| !leaving.is_finished()));
        bed.wait(last.leave(DEADLINE)).unwrap();
        for leaving in leaving {
            bed.wait(leaving).unwrap().unwrap();
        }
        assert!(is_empty(&bed));
    }
}

#[test]
fn double_barrier_that_times_out_leaves_no_znode() {
    let (bed, session) = TestBed::memory_with_session();
    bed.wait(session.connection());
    let barrier = DoubleBarrier::new(session, PATH, 2, "alone");
    // Longer than a busy machine needs to join.
    let failed = bed.wait(barrier.enter(Duration::from_secs(2)));
    assert!(matches!(failed, Err(DoubleBarrierError::Incomplete { members: 1, size: 2, .. })), "{failed:?}");
    assert!(is_empty(&bed));
}

#[test]
fn double_barrier_does_not_wait_for_a_dropped_member() {
    let bed = TestBed::memory();
    let sessions = [bed.session(), bed.session()];
    let entering = sessions.each_ref().map(|session| enter(&bed, session, 2));
    let [one, other] = entering.map(|entering| bed.wait(entering).unwrap().unwrap());
    drop(other);
    bed.wait(one.leave(DEADLINE)).unwrap();
    assert!(is_empty(&bed));
    let cancelled = enter(&bed, &sessions[0], 2);
    at_the_barrier(&bed, 1);
    cancelled.abort();
    at_the_barrier(&bed, 0);
}

/// Kazoo counts `ready` as a member, or waits for its creation although it exists.
#[test]
fn double_barrier_ignores_a_stale_ready_znode() {
    let bed = TestBed::memory();
    let connection = bed.connection();
    bed.wait(async {
        connection.ensure(PATH).await.unwrap();
        connection.create(READY, b"", CreateMode::Persistent).await.unwrap();
    });
    let first = enter(&bed, &bed.session(), 2);
    at_the_barrier(&bed, 1);
    bed.wait(until("no ready", async || connection.stat(READY).await.unwrap().is_none().then_some(())));
    assert!(!first.is_finished());
    let second = enter(&bed, &bed.session(), 2);
    bed.wait(first).unwrap().unwrap();
    bed.wait(second).unwrap().unwrap();
}

#[test]
fn double_barrier_does_not_count_leaving_members() {
    let bed = TestBed::memory();
    let sessions = [bed.session(), bed.session(), bed.session()];
    let entering = [enter(&bed, &sessions[0], 2), enter(&bed, &sessions[1], 2)];
    let [one, other] = entering.map(|entering| bed.wait(entering).unwrap().unwrap());
    let next = enter(&bed, &sessions[2], 2);
    at_the_barrier(&bed, 3);
    let leaving = [leave(&bed, one), leave(&bed, other)];
    for leaving in leaving {
        bed.wait(leaving).unwrap().unwrap();
    }
    at_the_barrier(&bed, 1);
    assert!(!next.is_finished());
    let another = enter(&bed, &sessions[0], 2);
    bed.wait(next).unwrap().unwrap();
    bed.wait(another).unwrap().unwrap();
}

#[test]
fn double_barrier_does_not_hang_after_a_disconnect() {
    let bed = TestBed::memory();
    let (away, here) = (bed.calm_session(), bed.calm_session());
    let faults = bed.faults();
    let entering = enter(&bed, &away, 2);
    at_the_barrier(&bed, 1);
    let connection = bed.wait(away.connection());
    // The last member arrives while one that waits is disconnected, and the other starts to leave at once.
    let inside = bed.wait(async {
        here.connection().await;
        faults.refuse_connections(true);
        faults.disconnect(connection.session_id()).await;
        connection.lost().await;
        DoubleBarrier::new(here.clone(), PATH, 2, "here").enter(DEADLINE).await.unwrap()
    });
    let leaving = leave(&bed, inside);
    bed.wait(until("it leaves", async || (bed.faults().stats().await.unwrap().watches > 0).then_some(())));
    faults.refuse_connections(false);
    let inside = bed.wait(entering).unwrap().unwrap();
    bed.wait(inside.leave(DEADLINE)).unwrap();
    bed.wait(leaving).unwrap().unwrap();
    assert!(is_empty(&bed));
}

#[test]
fn double_barrier_tolerates_a_lost_reply_to_ready() {
    let (bed, session) = TestBed::memory_with_session();
    let first = enter(&bed, &bed.session(), 2);
    at_the_barrier(&bed, 1);
    let armed =
        bed.wait(bed.cut(Disconnect::BeforeReply, &session, atalaya_zookeeper::Operation::Multi, READY));
    let second = enter(&bed, &session, 2);
    bed.wait(armed.happened()).unwrap();
    let [one, other] = [first, second].map(|entering| bed.wait(entering).unwrap().unwrap());
    let leaving = leave(&bed, one);
    bed.wait(other.leave(DEADLINE)).unwrap();
    bed.wait(leaving).unwrap().unwrap();
}

#[test]
fn double_barrier_is_shared_with_kazoo() {
    let bed = TestBed::apache();
    let session = bed.session();
    let mut kazoo = bed.kazoo("double", PATH, &["2"]);
    for ours_first in [true, false, true] {
        let (entering, theirs) = if ours_first {
            let entering = enter(&bed, &session, 2);
            at_the_barrier(&bed, 1);
            (entering, kazoo.ask("enter"))
        } else {
            let theirs = kazoo.ask("enter");
            at_the_barrier(&bed, 1);
            assert!(!kazoo.answered(theirs));
            (enter(&bed, &session, 2), theirs)
        };
        let inside = bed.wait(entering).unwrap().unwrap();
        assert_eq!(kazoo.answer(theirs), "True");
        if ours_first {
            let leaving = leave(&bed, inside);
            kazoo.call("leave");
            bed.wait(leaving).unwrap().unwrap();
        } else {
            let theirs = kazoo.ask("leave");
            bed.wait(inside.leave(DEADLINE)).unwrap();
            kazoo.answer(theirs);
        }
        at_the_barrier(&bed, 0);
    }
}

//! Known bugs of the locks of Kazoo and Curator, by issue number. `curator_171` is in `lost`.

use atalaya_recipes::{Lock, ReadWriteLock};
use atalaya_zookeeper::{Disconnect, Operation, RequestFilter};

use crate::support::memory::{PATH, TestBed, poll_once, soon};

/// A create whose reply is lost leaves a znode that its creator does not recognise, so all contenders wait for it.
#[tokio::test]
async fn kazoo_732_lost_create_leaves_no_second_znode() {
    let (bed, session) = TestBed::with_session().await;
    bed.observer.ensure(PATH).await.unwrap();
    let armed = bed.cut(&session, Disconnect::BeforeReply, Operation::Create2).await;
    let guard = soon("the lock", Lock::new(session, PATH, "a").acquire()).await.unwrap();
    soon("the loss", armed.happened()).await.unwrap();
    assert_eq!(bed.changes(PATH).await, 1, "it made another");
    assert!(guard.holds());
}

/// The same while another contender holds the lock: the unrecognised znode is ahead of the contender's second one.
#[tokio::test]
async fn curator_79_and_18_contender_does_not_wait_for_its_own_first_znode() {
    let bed = TestBed::start().await;
    let holder = Lock::new(bed.session().await, PATH, "holder").acquire().await.unwrap();
    let session = bed.session().await;
    let armed = bed.cut(&session, Disconnect::BeforeReply, Operation::Create2).await;
    let lock = Lock::new(session, PATH, "a");
    let mut acquiring = Box::pin(lock.acquire());
    poll_once(&mut acquiring).await;
    soon("the loss", armed.happened()).await.unwrap();
    poll_once(&mut acquiring).await;
    assert_eq!(bed.wait_for_contenders(PATH, 2).await.len(), 2);
    assert!(holder.release().await);
    let guard = soon("its turn", acquiring).await.unwrap();
    assert!(guard.holds());
    assert_eq!(bed.children(PATH).await.len(), 1);
}

/// A session expires while its create is pending: the znode of the old session must not be adopted or waited for.
#[tokio::test]
async fn curator_498_znode_of_an_old_session_is_not_adopted() {
    let (bed, session) = TestBed::with_session().await;
    bed.observer.ensure(PATH).await.unwrap();
    let old = session.state().session;
    let armed = bed.cut(&session, Disconnect::BeforeReply, Operation::Create2).await;
    let lock = Lock::new(session, PATH, "a");
    let mut acquiring = Box::pin(lock.acquire());
    poll_once(&mut acquiring).await;
    soon("the loss", armed.happened()).await.unwrap();
    bed.faults.expire(old).await;
    let guard = soon("the lock", acquiring).await.unwrap();
    assert!(guard.holds() && guard.connection().session_id() != old);
    assert_eq!(bed.children(PATH).await.len(), 1);
}

/// A waiter hangs after a reconnect because its watch or its znode was lost.
#[tokio::test]
async fn kazoo_282_and_482_waiter_does_not_hang_after_a_reconnect() {
    let bed = TestBed::start().await;
    let holder = Lock::new(bed.session().await, PATH, "holder").acquire().await.unwrap();
    let session = bed.session().await;
    let lock = Lock::new(session.clone(), PATH, "a");
    let mut acquiring = Box::pin(lock.acquire());
    poll_once(&mut acquiring).await;
    bed.wait_for_contenders(PATH, 2).await;
    // The waiter is not notified of the release.
    bed.faults.refuse_connections(true);
    bed.faults.disconnect(session.state().session).await;
    assert!(holder.release().await);
    bed.faults.refuse_connections(false);
    let guard = soon("its turn", acquiring).await.unwrap();
    assert!(guard.holds());
}

#[tokio::test]
async fn kazoo_482_waiter_does_not_hang_after_an_expiry() {
    let bed = TestBed::start().await;
    let holder = Lock::new(bed.session().await, PATH, "holder").acquire().await.unwrap();
    let session = bed.session().await;
    let lock = Lock::new(session.clone(), PATH, "a");
    let mut acquiring = Box::pin(lock.acquire());
    poll_once(&mut acquiring).await;
    bed.wait_for_contenders(PATH, 2).await;
    bed.expire(&session).await;
    bed.wait_for_contenders(PATH, 1).await;
    bed.wait_for_contenders(PATH, 2).await;
    assert!(holder.release().await);
    assert!(soon("its turn", acquiring).await.unwrap().holds());
}

/// Readers and writers acquire and release over connections that are lost, and none hangs.
#[tokio::test]
async fn kazoo_649_readers_and_writers_do_not_deadlock() {
    let bed = TestBed::start().await;
    let mut contenders = tokio::task::JoinSet::new();
    for number in 0..6 {
        let session = bed.session().await;
        contenders.spawn(async move {
            for turn in 0..8 {
                let guard = if (number + turn) % 3 == 0 {
                    ReadWriteLock::new(session.clone(), PATH, "w").write_lock().acquire().await.unwrap()
                } else {
                    ReadWriteLock::new(session.clone(), PATH, "r").read_lock().acquire().await.unwrap()
                };
                guard.release().await;
            }
        });
    }
    for kind in [Operation::Create2, Operation::Delete, Operation::Exists, Operation::GetChildren] {
        for cut in [Disconnect::BeforeEffect, Disconnect::BeforeReply] {
            let armed = bed
                .faults
                .disconnect_at(cut, RequestFilter::any().operation(kind).path_contains("/locks"))
                .await;
            drop(armed);
        }
    }
    soon("all of them", async {
        while let Some(done) = contenders.join_next().await {
            done.unwrap();
        }
    })
    .await;
    bed.wait_for_contenders(PATH, 0).await;
}

//! The bugs of Kazoo's and Curator's locks, by their numbers. `curator_171` is with what is lost.

use atalaya_recipes::{Lock, ReadLock, WriteLock};
use atalaya_sim::zookeeper::{AtRequest, Cut, Operation};

use crate::bed::{Bed, PATH, begin, soon};

/// A create whose reply is lost leaves a znode that nobody knows is its own, and everyone waits for it.
#[tokio::test]
async fn kazoo_732_no_ghost_after_a_lost_create() {
    let bed = Bed::start().await;
    bed.witness.ensure(PATH).await.unwrap();
    let session = bed.session().await;
    let armed = bed.cut(&session, Cut::BeforeReply, Operation::Create2).await;
    let guard = soon("the lock", Lock::new(session, PATH, "a").acquire()).await.unwrap();
    soon("the loss", armed.happened()).await.unwrap();
    assert_eq!(bed.changes(PATH).await, 1, "it made another");
    assert!(guard.holds());
}

/// The same while somebody else holds: the ghost stood before the contender's own second znode.
#[tokio::test]
async fn curator_79_and_18_no_ghost_ahead_of_itself() {
    let bed = Bed::start().await;
    let holder = Lock::new(bed.session().await, PATH, "holder").acquire().await.unwrap();
    let session = bed.session().await;
    let armed = bed.cut(&session, Cut::BeforeReply, Operation::Create2).await;
    let lock = Lock::new(session, PATH, "a");
    let mut acquiring = Box::pin(lock.acquire());
    begin(&mut acquiring).await;
    soon("the loss", armed.happened()).await.unwrap();
    begin(&mut acquiring).await;
    assert_eq!(bed.until_in_line(PATH, 2).await.len(), 2);
    assert!(holder.release().await);
    let guard = soon("its turn", acquiring).await.unwrap();
    assert!(guard.holds());
    assert_eq!(bed.children(PATH).await.len(), 1);
}

/// A session that expires while its create is under way: what the old session made must not be taken for one's own, nor
/// waited for.
#[tokio::test]
async fn curator_498_an_old_sessions_znode_is_not_its_own() {
    let bed = Bed::start().await;
    bed.witness.ensure(PATH).await.unwrap();
    let session = bed.session().await;
    let old = session.state().session;
    let armed = bed.cut(&session, Cut::BeforeReply, Operation::Create2).await;
    let lock = Lock::new(session, PATH, "a");
    let mut acquiring = Box::pin(lock.acquire());
    begin(&mut acquiring).await;
    soon("the loss", armed.happened()).await.unwrap();
    bed.faults.expire(old).await;
    let guard = soon("the lock", acquiring).await.unwrap();
    assert!(guard.holds() && guard.connection().session_id() != old);
    assert_eq!(bed.children(PATH).await.len(), 1);
}

/// Whoever waits does so for ever after a reconnect: the watch was lost, or its own znode was.
#[tokio::test]
async fn kazoo_282_and_482_no_hang_after_a_reconnect() {
    let bed = Bed::start().await;
    let holder = Lock::new(bed.session().await, PATH, "holder").acquire().await.unwrap();
    let session = bed.session().await;
    let lock = Lock::new(session.clone(), PATH, "a");
    let mut acquiring = Box::pin(lock.acquire());
    begin(&mut acquiring).await;
    bed.until_in_line(PATH, 2).await;
    // It hears nothing of the release.
    bed.faults.refuse_connections(true);
    bed.faults.disconnect(session.state().session).await;
    assert!(holder.release().await);
    bed.faults.refuse_connections(false);
    let guard = soon("its turn", acquiring).await.unwrap();
    assert!(guard.holds());
}

#[tokio::test]
async fn kazoo_482_no_hang_after_an_expiry() {
    let bed = Bed::start().await;
    let holder = Lock::new(bed.session().await, PATH, "holder").acquire().await.unwrap();
    let session = bed.session().await;
    let lock = Lock::new(session.clone(), PATH, "a");
    let mut acquiring = Box::pin(lock.acquire());
    begin(&mut acquiring).await;
    bed.until_in_line(PATH, 2).await;
    bed.expire(&session).await;
    bed.until_in_line(PATH, 1).await;
    bed.until_in_line(PATH, 2).await;
    assert!(holder.release().await);
    assert!(soon("its turn", acquiring).await.unwrap().holds());
}

/// Readers and writers that come and go, over connections that are lost, and nobody waits for ever.
#[tokio::test]
async fn kazoo_649_readers_and_writers_do_not_wait_for_each_other() {
    let bed = Bed::start().await;
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..6 {
        let session = bed.session().await;
        crowd.spawn(async move {
            for turn in 0..8 {
                let guard = if (number + turn) % 3 == 0 {
                    WriteLock::new(session.clone(), PATH, "w").acquire().await.unwrap()
                } else {
                    ReadLock::new(session.clone(), PATH, "r").acquire().await.unwrap()
                };
                guard.release().await;
            }
        });
    }
    for kind in [Operation::Create2, Operation::Delete, Operation::Exists, Operation::GetChildren] {
        for cut in [Cut::BeforeEffect, Cut::BeforeReply] {
            let armed = bed.faults.cut(cut, AtRequest::next().of_kind(kind).about("/locks")).await;
            drop(armed);
        }
    }
    soon("all of them", async {
        while let Some(done) = crowd.join_next().await {
            done.unwrap();
        }
    })
    .await;
    bed.until_in_line(PATH, 0).await;
}

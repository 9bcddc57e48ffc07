//! A guard is lost on a disconnect, after an expiry, without a reply and without its znode: `lost` returns, and `holds`
//! stays false.

use atalaya_recipes::{Guard, Lock, Phase, Session};

use crate::support::memory::{PATH, TIMEOUT, TestBed, soon};

async fn held(bed: &TestBed) -> (Session, Guard) {
    let session = bed.session().await;
    let guard = Lock::new(session.clone(), PATH, "a").acquire().await.unwrap();
    assert!(guard.holds());
    (session, guard)
}

#[tokio::test]
async fn guard_is_lost_on_a_disconnect() {
    let bed = TestBed::start().await;
    let (session, guard) = held(&bed).await;
    bed.faults.disconnect(session.state().session).await;
    soon("the loss is reported", guard.lost()).await;
    assert!(!guard.holds());
    let owner = guard.connection().session_id();
    assert_eq!(
        soon("the next connection", session.connection_after(guard.connection().number())).await.session_id(),
        owner
    );
    assert!(!guard.holds(), "a lost guard stays lost");
    // The next contender does not acquire the lock before the guard is dropped.
    assert_eq!(bed.children(PATH).await.len(), 1);
    assert!(Lock::new(bed.session().await, PATH, "b").try_acquire().await.unwrap().is_none());
    assert!(guard.release().await);
    assert_eq!(bed.children(PATH).await, [""; 0]);
}

#[tokio::test]
async fn guard_is_lost_when_its_session_expires() {
    let bed = TestBed::start().await;
    let (session, guard) = held(&bed).await;
    let other = Lock::new(bed.session().await, PATH, "b");
    bed.expire(&session).await;
    soon("the loss is reported", guard.lost()).await;
    let next = soon("the next", other.acquire()).await.unwrap();
    assert!(next.holds() && !guard.holds());
    assert!(!guard.release().await, "nothing was there to be released");
    assert!(next.holds());
}

#[tokio::test]
async fn guard_is_lost_when_the_server_does_not_answer() {
    let bed = TestBed::start().await;
    let (_session, guard) = held(&bed).await;
    let start = tokio::time::Instant::now();
    bed.faults.freeze_replies(true).await;
    soon("the loss is reported", guard.lost()).await;
    assert!(start.elapsed() < TIMEOUT * 6 / 10, "{:?}", start.elapsed());
    bed.faults.freeze_replies(false).await;
    drop(guard);
    bed.wait_for_contenders(PATH, 0).await;
}

#[tokio::test]
async fn curator_171_guard_is_lost_when_its_znode_is_deleted() {
    let bed = TestBed::start().await;
    let (session, guard) = held(&bed).await;
    bed.observer.delete(guard.znode(), None).await.unwrap();
    soon("the loss is reported", guard.lost()).await;
    assert!(!guard.holds());
    assert_eq!(session.state().phase, Phase::Connected);
}

#[tokio::test]
async fn guard_of_a_healthy_session_is_kept() {
    let bed = TestBed::start().await;
    let (_session, guard) = held(&bed).await;
    let lost = tokio::time::timeout(TIMEOUT * 3 / 2, guard.lost()).await.is_ok();
    assert!(!lost && guard.holds(), "its lease was not renewed");
}

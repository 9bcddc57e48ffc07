//! On a disconnect, after an expiry, without an answer, without its znode: `lost` returns, and `holds` is false for good.

use atalaya_recipes::{Guard, Lock, Phase, Session};

use crate::bed::{Bed, PATH, TIMEOUT, soon};

async fn held(bed: &Bed) -> (Session, Guard) {
    let session = bed.session().await;
    let guard = Lock::new(session.clone(), PATH, "a").acquire().await.unwrap();
    assert!(guard.holds());
    (session, guard)
}

#[tokio::test]
async fn on_a_disconnect() {
    let bed = Bed::start().await;
    let (session, guard) = held(&bed).await;
    bed.faults.disconnect(session.state().session).await;
    soon("it is told", guard.lost()).await;
    assert!(!guard.holds());
    let owner = guard.connection().session_id();
    assert_eq!(
        soon("the next connection", session.connection_after(guard.connection().number())).await.session_id(),
        owner
    );
    assert!(!guard.holds(), "what was lost stays lost");
    // Others wait until it has seen that.
    assert_eq!(bed.children(PATH).await.len(), 1);
    assert!(Lock::new(bed.session().await, PATH, "b").try_acquire().await.unwrap().is_none());
    assert!(guard.release().await);
    assert_eq!(bed.children(PATH).await, [""; 0]);
}

#[tokio::test]
async fn when_its_session_has_expired() {
    let bed = Bed::start().await;
    let (session, guard) = held(&bed).await;
    let other = Lock::new(bed.session().await, PATH, "b");
    bed.expire(&session).await;
    soon("it is told", guard.lost()).await;
    let next = soon("the next", other.acquire()).await.unwrap();
    assert!(next.holds() && !guard.holds());
    assert!(!guard.release().await, "nothing was there to be released");
    assert!(next.holds());
}

#[tokio::test]
async fn when_the_server_says_nothing() {
    let bed = Bed::start().await;
    let (_session, guard) = held(&bed).await;
    let begin = tokio::time::Instant::now();
    bed.faults.freeze_replies(true).await;
    soon("it is told", guard.lost()).await;
    assert!(begin.elapsed() < TIMEOUT * 6 / 10, "{:?}", begin.elapsed());
    bed.faults.freeze_replies(false).await;
    drop(guard);
    bed.until_in_line(PATH, 0).await;
}

#[tokio::test]
async fn curator_171_when_its_znode_is_gone() {
    let bed = Bed::start().await;
    let (session, guard) = held(&bed).await;
    bed.witness.delete(guard.znode(), None).await.unwrap();
    soon("it is told", guard.lost()).await;
    assert!(!guard.holds());
    assert_eq!(session.state().phase, Phase::Connected);
}

#[tokio::test]
async fn and_a_healthy_one_holds_on() {
    let bed = Bed::start().await;
    let (_session, guard) = held(&bed).await;
    let lost = tokio::time::timeout(TIMEOUT * 3 / 2, guard.lost()).await.is_ok();
    assert!(!lost && guard.holds(), "its lease was not renewed");
}

//! Known bugs of Curator's `LeaderLatch` that led to two leaders or none, by issue number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Phase, Session, Standing};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::memory::{TestBed, soon};

const ELECTION: &str = "/election";

/// Number of current leaders, and its maximum.
#[derive(Default)]
struct LeaderCount {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl LeaderCount {
    fn sit(self: &Arc<LeaderCount>) -> LeaderGuard {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        LeaderGuard(Arc::clone(self))
    }
}

/// Decrements the number when the leader code is dropped.
struct LeaderGuard(Arc<LeaderCount>);

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Contender {
    session: Session,
    standing: watch::Receiver<Standing>,
    running: JoinHandle<()>,
}

impl Contender {
    async fn joins(bed: &TestBed, leaders: &Arc<LeaderCount>, name: &str) -> Contender {
        let session = bed.session().await;
        let election = Election::new(session.clone(), ELECTION, name, Naming::CuratorLatch);
        let standing = election.standing();
        let leaders = Arc::clone(leaders);
        let running = tokio::spawn(election.run(move |_| {
            let guard_of_leader = leaders.sit();
            async move {
                let _seat = guard_of_leader;
                std::future::pending::<()>().await
            }
        }));
        Contender { session, standing, running }
    }

    async fn until(&mut self, standing: Standing) {
        soon("its standing", self.standing.wait_for(|now| *now == standing)).await.unwrap();
    }

    async fn until_phase(&self, phase: Phase) {
        let mut view = self.session.watch();
        soon("the session's phase", view.wait_for(|view| view.phase == phase)).await.unwrap();
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        self.running.abort();
    }
}

const SECOND: Standing = Standing::Waiting { ahead: 1 };

async fn a_leader_and_a_follower(bed: &TestBed) -> (Arc<LeaderCount>, Contender, Contender) {
    let leaders = Arc::default();
    let mut one = Contender::joins(bed, &leaders, "one").await;
    one.until(Standing::Leading).await;
    let mut two = Contender::joins(bed, &leaders, "two").await;
    two.until(SECOND).await;
    (leaders, one, two)
}

/// The leader reconnected before its session expired, led again with its old znode, and did not notice when that was
/// deleted.
#[tokio::test]
async fn curator_696_leader_that_resumed_with_its_old_znode_stops_when_that_is_deleted() {
    let bed = TestBed::start().await;
    let (leaders, mut one, mut two) = a_leader_and_a_follower(&bed).await;
    bed.faults.refuse_connections(true);
    bed.faults.disconnect(one.session.state().session).await;
    one.until_phase(Phase::Suspended).await;
    one.until(Standing::Inactive).await;
    bed.faults.refuse_connections(false);
    one.until(Standing::Leading).await;

    // The znode disappears while the connection is up, as with an expiry that the client learns of last.
    let old = bed.children(ELECTION).await;
    let first = old.iter().min_by_key(|name| sequence(name)).unwrap();
    bed.observer.delete(&format!("{ELECTION}/{first}"), None).await.unwrap();
    two.until(Standing::Leading).await;
    one.until(SECOND).await;
    assert_eq!(leaders.now.load(Ordering::SeqCst), 1);
    let line = bed.wait_for_contenders(ELECTION, 2).await;
    assert!(!line.contains(first));
}

/// After an outage of the ensemble, both contenders gave up their znodes and created new ones. Each saw itself first in
/// between, and both led. Here both keep their znodes, and the leader stays leader.
#[tokio::test]
async fn curator_653_outage_for_all_contenders_makes_no_second_leader() {
    let bed = TestBed::start().await;
    let (leaders, mut one, mut two) = a_leader_and_a_follower(&bed).await;
    let before = bed.children(ELECTION).await;
    for _ in 0..5 {
        bed.faults.refuse_connections(true);
        for contender in [&one, &two] {
            bed.faults.disconnect(contender.session.state().session).await;
            contender.until_phase(Phase::Suspended).await;
        }
        one.until(Standing::Inactive).await;
        assert_eq!(leaders.now.load(Ordering::SeqCst), 0, "a contender leads without a connection");
        bed.faults.refuse_connections(false);
        one.until(Standing::Leading).await;
        two.until(SECOND).await;
    }
    assert_eq!(bed.children(ELECTION).await, before);
    assert_eq!(bed.changes(ELECTION).await, 2, "a contender created another znode");
    assert_eq!(leaders.most.load(Ordering::SeqCst), 1);
}

/// Reconnects in quick succession, each of which started again while the one before was still running: znodes that no
/// contender recognised, "can't find our node", and two contenders that reset each other indefinitely (issue 645).
#[tokio::test]
async fn curator_644_and_504_repeated_reconnects_leave_one_znode_per_contender() {
    let bed = TestBed::start().await;
    let (leaders, mut one, mut two) = a_leader_and_a_follower(&bed).await;
    let before = bed.children(ELECTION).await;
    for round in 0..30 {
        let whose = if round % 3 == 0 { &two } else { &one };
        bed.faults.disconnect(whose.session.state().session).await;
        // In some rounds the contender makes progress before the next disconnect.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
    }
    // Wait for states that are newer than the last disconnect.
    let number = |contender: &Contender| contender.session.state().connection;
    let (first, second) = (number(&one), number(&two));
    for contender in [&one, &two] {
        bed.faults.disconnect(contender.session.state().session).await;
    }
    let (mut views_one, mut views_two) = (one.session.watch(), two.session.watch());
    soon(
        "a connection",
        views_one.wait_for(|view| view.connection != first && view.phase == Phase::Connected),
    )
    .await
    .unwrap();
    soon(
        "a connection",
        views_two.wait_for(|view| view.connection != second && view.phase == Phase::Connected),
    )
    .await
    .unwrap();
    one.until(Standing::Leading).await;
    two.until(SECOND).await;
    assert_eq!(bed.children(ELECTION).await, before);
    assert_eq!(bed.changes(ELECTION).await, 2, "a contender created another znode");
    assert_eq!(leaders.most.load(Ordering::SeqCst), 1);
}

fn sequence(name: &str) -> &str {
    name.rsplit('-').next().unwrap()
}

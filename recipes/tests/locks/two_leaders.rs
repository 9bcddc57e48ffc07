//! The ways in which Curator's `LeaderLatch` came to have two leaders, or none, by the numbers of its bugs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Phase, Session, Standing};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bed::{Bed, soon};

const ELECTION: &str = "/election";

/// How many lead at this moment, and the most that ever did.
#[derive(Default)]
struct Throne {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Throne {
    fn sit(self: &Arc<Throne>) -> Seat {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Seat(Arc::clone(self))
    }
}

/// Given back where the leader's code is dropped.
struct Seat(Arc<Throne>);

impl Drop for Seat {
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
    async fn joins(bed: &Bed, throne: &Arc<Throne>, name: &str) -> Contender {
        let session = bed.session().await;
        let election = Election::new(session.clone(), ELECTION, name, Naming::CuratorLatch);
        let standing = election.standing();
        let throne = Arc::clone(throne);
        let running = tokio::spawn(election.run(move |_| {
            let seat = throne.sit();
            async move {
                let _seat = seat;
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

async fn a_leader_and_a_follower(bed: &Bed) -> (Arc<Throne>, Contender, Contender) {
    let throne = Arc::default();
    let mut one = Contender::joins(bed, &throne, "one").await;
    one.until(Standing::Leading).await;
    let mut two = Contender::joins(bed, &throne, "two").await;
    two.until(SECOND).await;
    (throne, one, two)
}

/// The leader came back to a server that had not expired its session yet, led again by its old znode, and did not notice
/// when that was deleted under it.
#[tokio::test]
async fn curator_696_whoever_came_back_by_an_old_znode_goes_with_it() {
    let bed = Bed::start().await;
    let (throne, mut one, mut two) = a_leader_and_a_follower(&bed).await;
    bed.faults.refuse_connections(true);
    bed.faults.disconnect(one.session.state().session).await;
    one.until_phase(Phase::Suspended).await;
    one.until(Standing::Inactive).await;
    bed.faults.refuse_connections(false);
    one.until(Standing::Leading).await;

    // The znode goes while the connection stands, as by an expiry that the client is told of last.
    let old = bed.children(ELECTION).await;
    let first = old.iter().min_by_key(|name| sequence(name)).unwrap();
    bed.witness.delete(&format!("{ELECTION}/{first}"), None).await.unwrap();
    two.until(Standing::Leading).await;
    one.until(SECOND).await;
    assert_eq!(throne.now.load(Ordering::SeqCst), 1);
    let line = bed.until_in_line(ELECTION, 2).await;
    assert!(!line.contains(first));
}

/// The ensemble was away for a while. Both came back, both gave their znodes up and took new ones, each saw itself first
/// in between, and both led. Here both keep what they have, and who led leads.
#[tokio::test]
async fn curator_653_an_outage_for_all_makes_no_second_leader() {
    let bed = Bed::start().await;
    let (throne, mut one, mut two) = a_leader_and_a_follower(&bed).await;
    let before = bed.children(ELECTION).await;
    for _ in 0..5 {
        bed.faults.refuse_connections(true);
        for contender in [&one, &two] {
            bed.faults.disconnect(contender.session.state().session).await;
            contender.until_phase(Phase::Suspended).await;
        }
        one.until(Standing::Inactive).await;
        assert_eq!(throne.now.load(Ordering::SeqCst), 0, "somebody leads without a connection");
        bed.faults.refuse_connections(false);
        one.until(Standing::Leading).await;
        two.until(SECOND).await;
    }
    assert_eq!(bed.children(ELECTION).await, before);
    assert_eq!(bed.changes(ELECTION).await, 2, "somebody made another znode");
    assert_eq!(throne.most.load(Ordering::SeqCst), 1);
}

/// Reconnects in quick succession, each of which began anew while the one before was still at it: znodes that nobody
/// counted as its own, "can't find our node", and two who reset each other for ever (645).
#[tokio::test]
async fn curator_644_and_504_reconnects_in_a_row_leave_one_znode_each() {
    let bed = Bed::start().await;
    let (throne, mut one, mut two) = a_leader_and_a_follower(&bed).await;
    let before = bed.children(ELECTION).await;
    for round in 0..30 {
        let whose = if round % 3 == 0 { &two } else { &one };
        bed.faults.disconnect(whose.session.state().session).await;
        // Sometimes it gets half way before the next one.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
    }
    // Whatever was reported before the last reconnect is not waited for: it is asked for again from here.
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
    assert_eq!(bed.changes(ELECTION).await, 2, "somebody made another znode");
    assert_eq!(throne.most.load(Ordering::SeqCst), 1);
}

fn sequence(name: &str) -> &str {
    name.rsplit('-').next().unwrap()
}

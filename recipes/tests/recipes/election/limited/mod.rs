//! Elections with a limit on the contenders: the others wait in a line.

mod other_znodes;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Connection, Election, Session, SessionOptions, Standing};
use atalaya_zookeeper::{Disconnect, Operation, Server};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::memory::{DEADLINE, TestBed, soon};
use crate::support::{SessionFault, schedules, session_fault, until};

const ELECTION: &str = "/election";
const LINE: &str = "/standby";
const LIMIT: usize = 3;

struct Contender {
    session: Session,
    standing: watch::Receiver<Standing>,
    leaders: Arc<Leaders>,
    running: JoinHandle<()>,
}

impl Drop for Contender {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Contender {
    fn start(session: Session, name: &str, leaders: &Arc<Leaders>) -> Contender {
        Contender::with(session, name, leaders, Naming::Kazoo, LIMIT)
    }

    fn with(session: Session, name: &str, leaders: &Arc<Leaders>, naming: Naming, limit: usize) -> Contender {
        let election = Election::new(session.clone(), ELECTION, name, naming);
        let election = election.with_limit(LINE, NonZeroUsize::new(limit).unwrap());
        Contender::run(session, election, leaders)
    }

    fn run(session: Session, election: Election, leaders: &Arc<Leaders>) -> Contender {
        let (standing, leaders) = (election.standing(), Arc::clone(leaders));
        let leading = Arc::clone(&leaders);
        let running = tokio::spawn(async move {
            election.run(|_| lead(Arc::clone(&leading))).await;
        });
        Contender { session, standing, leaders, running }
    }

    fn standing(&self) -> Standing {
        *self.standing.borrow()
    }
}

#[derive(Default)]
struct Leaders {
    count: AtomicUsize,
    may_overlap: AtomicBool,
}

impl Leaders {
    /// Allows a second leader for a moment: a leader whose session the server ends by force leads until it learns of that.
    /// Sessions that expire by time are in `random_faults`.
    fn allow_overlap(&self) {
        self.may_overlap.store(true, Ordering::SeqCst);
    }
}

/// Counts as a leader until it is dropped. There must be no other one, or it must end soon.
async fn lead(leaders: Arc<Leaders>) {
    struct Leading(Arc<Leaders>);
    impl Drop for Leading {
        fn drop(&mut self) {
            self.0.count.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let others = leaders.count.fetch_add(1, Ordering::SeqCst);
    let leading = Leading(leaders);
    assert!(others == 0 || leading.0.may_overlap.load(Ordering::SeqCst), "two leaders");
    soon("the earlier leader to end", async {
        while leading.0.count.load(Ordering::SeqCst) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    std::future::pending().await
}

async fn fleet(bed: &TestBed, size: usize) -> Vec<Contender> {
    fleet_with(bed, size, Naming::Kazoo, LIMIT).await
}

async fn fleet_with(bed: &TestBed, size: usize, naming: Naming, limit: usize) -> Vec<Contender> {
    let leaders = Arc::default();
    let mut contenders = Vec::new();
    for number in 0..size {
        let name = number.to_string();
        contenders.push(Contender::with(bed.session().await, &name, &leaders, naming, limit));
    }
    contenders
}

async fn settled(bed: &TestBed, contenders: &[Contender], foreign: usize) {
    settled_with(bed, contenders, foreign, LIMIT).await;
}

/// Waits until one contender leads, the others up to the limit wait for it, and all others are in the line, each once.
async fn settled_with(bed: &TestBed, contenders: &[Contender], foreign: usize, limit: usize) {
    let contending = limit.saturating_sub(foreign).min(contenders.len());
    let is_settled = async || {
        let count = |wanted: fn(Standing) -> bool| {
            contenders.iter().filter(|contender| wanted(contender.standing())).count()
        };
        let waiting = count(|standing| matches!(standing, Standing::Waiting { .. }));
        let leading = count(|standing| standing == Standing::Leading);
        let standby = count(|standing| standing == Standing::Standby);
        (leading + waiting, standby) == (contending, contenders.len() - contending)
            && (leading == 1 || foreign > 0)
            && bed.children(ELECTION).await.len() == contending + foreign
            && bed.children(LINE).await.len() == contenders.len() - contending
    };
    until("the fleet to settle", async || is_settled().await.then_some(())).await;
}

async fn end_leader(bed: &TestBed, contenders: &mut Vec<Contender>) {
    let gone = contenders.swap_remove(leader(contenders).await);
    bed.expire(&gone.session).await;
}

async fn leader(contenders: &[Contender]) -> usize {
    let is_leading = |contender: &Contender| contender.standing() == Standing::Leading;
    until("a leader", async || contenders.iter().position(is_leading)).await
}

#[tokio::test]
async fn one_client_of_the_line_replaces_a_contender_that_leaves() {
    let bed = TestBed::start().await;
    let mut contenders = fleet(&bed, 12).await;
    settled(&bed, &contenders, 0).await;
    while contenders.len() > LIMIT + 2 {
        end_leader(&bed, &mut contenders).await;
        settled(&bed, &contenders, 0).await;
    }
    // One that contends but does not lead, and one of the line.
    for wanted in
        [|standing| matches!(standing, Standing::Waiting { .. }), |standing| standing == Standing::Standby]
    {
        let position = contenders.iter().position(|contender| wanted(contender.standing())).unwrap();
        let gone = contenders.swap_remove(position);
        bed.expire(&gone.session).await;
        drop(gone);
        settled(&bed, &contenders, 0).await;
    }
}

#[tokio::test]
async fn line_provides_a_leader_when_all_contenders_and_most_of_the_line_end_at_once() {
    let bed = TestBed::start().await;
    let contenders = fleet(&bed, 40).await;
    settled(&bed, &contenders, 0).await;
    let (stay, gone): (Vec<Contender>, Vec<Contender>) = {
        let mut numbers = 0..;
        contenders.into_iter().partition(|contender| {
            contender.standing() == Standing::Standby && numbers.next().is_some_and(|number| number % 9 == 8)
        })
    };
    assert_eq!(stay.len(), 4);
    futures_util::future::join_all(gone.iter().map(|contender| bed.expire(&contender.session))).await;
    drop(gone);
    settled(&bed, &stay, 0).await;
}

#[tokio::test]
async fn client_that_loses_the_reply_to_its_create_keeps_one_place() {
    let bed = TestBed::start().await;
    let mut contenders = fleet(&bed, LIMIT + 3).await;
    settled(&bed, &contenders, 0).await;
    for cut in [Disconnect::BeforeReply, Disconnect::BeforeEffect] {
        let session = bed.session().await;
        let armed = bed.cut(&session, cut, Operation::Create2).await;
        contenders.push(Contender::start(session, "late", &Arc::default()));
        assert!(soon("the cut", armed.happened()).await.is_ok());
        settled(&bed, &contenders, 0).await;
    }
}

#[tokio::test]
async fn limit_of_one_leaves_the_leader_alone_in_the_election() {
    let bed = TestBed::start().await;
    let mut contenders = fleet_with(&bed, 4, Naming::Kazoo, 1).await;
    while !contenders.is_empty() {
        settled_with(&bed, &contenders, 0, 1).await;
        end_leader(&bed, &mut contenders).await;
    }
}

#[tokio::test]
async fn limit_holds_with_names_of_curator() {
    let bed = TestBed::start().await;
    let mut contenders = fleet_with(&bed, 6, Naming::CuratorLatch, LIMIT).await;
    settled(&bed, &contenders, 0).await;
    end_leader(&bed, &mut contenders).await;
    settled(&bed, &contenders, 0).await;
    let curator: Connection = bed.session().await.connection().await;
    for foreign in 0..2 {
        let prefix = format!("{ELECTION}/_c_01234567-89ab-cdef-0123-456789abcde{foreign}-latch-");
        curator.create_sequential(&prefix, b"curator").await.unwrap();
    }
    // Two of the contenders leave, and the two of Curator take their places.
    for _ in 0..2 {
        end_leader(&bed, &mut contenders).await;
    }
    settled_with(&bed, &contenders, 2, LIMIT).await;
}

#[tokio::test]
async fn clients_that_lose_their_sessions_enter_the_line_again() {
    let bed = TestBed::start().await;
    let contenders = fleet(&bed, 10).await;
    settled(&bed, &contenders, 0).await;
    let (standby, contending): (Vec<&Contender>, Vec<&Contender>) =
        contenders.iter().partition(|contender| contender.standing() == Standing::Standby);
    contenders[0].leaders.allow_overlap();
    for lost in [standby, contending, contenders.iter().collect()] {
        let sessions: Vec<Session> = lost.iter().map(|contender| contender.session.clone()).collect();
        futures_util::future::join_all(sessions.iter().map(|session| bed.expire(session))).await;
        settled(&bed, &contenders, 0).await;
    }
}

#[tokio::test]
async fn contenders_without_a_limit_count_and_never_wait() {
    let bed = TestBed::start().await;
    let leaders = Arc::default();
    let mut earlier = Vec::new();
    for number in 0..=LIMIT {
        let session = bed.session().await;
        let election = Election::new(session.clone(), ELECTION, number.to_string(), Naming::Kazoo);
        earlier.push(Contender::run(session, election, &leaders));
    }
    soon("the contenders without a limit", bed.wait_for_contenders(ELECTION, LIMIT + 1)).await;
    let mut contenders = Vec::new();
    for number in 0..4 {
        contenders.push(Contender::start(bed.session().await, &format!("new {number}"), &leaders));
    }
    while !earlier.is_empty() {
        settled(&bed, &contenders, earlier.len()).await;
        end_leader(&bed, &mut earlier).await;
    }
    settled(&bed, &contenders, 0).await;
}

#[tokio::test]
async fn contenders_of_other_programs_count() {
    let bed = TestBed::start().await;
    let kazoo: Connection = bed.session().await.connection().await;
    kazoo.ensure(ELECTION).await.unwrap();
    let mut foreign = Vec::new();
    for _ in 0..LIMIT + 1 {
        let prefix = format!("{ELECTION}/0123456789abcdef0123456789abcdef__lock__");
        foreign.push(kazoo.create_sequential(&prefix, b"kazoo").await.unwrap());
    }
    let contenders = fleet(&bed, 4).await;
    for count in (0..foreign.len()).rev() {
        settled(&bed, &contenders, count + 1).await;
        kazoo.delete(&foreign[count], None).await.unwrap();
    }
    settled(&bed, &contenders, 0).await;
}

#[tokio::test]
async fn requests_of_a_fleet_that_joins_grow_with_its_size() {
    let cost = async |size: usize| {
        // Without pings during the test.
        let server = Server::builder().tick(Duration::from_secs(60)).start().await.unwrap();
        let options = SessionOptions::new(server.connect_string().parse().unwrap(), Duration::from_secs(600));
        let leaders = Arc::default();
        let start =
            |number: usize| Contender::start(Session::start(options.clone()), &number.to_string(), &leaders);
        let _contenders: Vec<Contender> = (0..size).map(start).collect();
        // Each client has a watch, and each contender behind the first has one on its own znode as well.
        let watches = size + LIMIT - 1;
        let all = async {
            loop {
                let stats = server.faults().stats().await.unwrap();
                if stats.watches == watches {
                    return (stats.requests, stats.names_listed);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE * 6, all).await.expect("all watches")
    };
    let [small, medium, large] = [cost(50).await, cost(100).await, cost(200).await];
    println!("requests and listed names of 50, 100 and 200 clients: {small:?}, {medium:?}, {large:?}");
    let is_linear =
        |small: u64, medium: u64, large: u64| medium * 10 <= small * 2 * 11 && large * 10 <= small * 4 * 11;
    assert!(is_linear(small.0, medium.0, large.0) && is_linear(small.1, medium.1, large.1));
}

/// After any faults of the sessions, one client leads, and the others contend or wait, each once.
#[test]
fn fleet_settles_after_any_faults() {
    let faults = proptest::collection::vec((0_usize..8, session_fault()), 1..12);
    schedules(24, faults, |faults| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(under(&faults));
        Ok(())
    });
}

async fn under(faults: &[(usize, SessionFault)]) {
    let bed = TestBed::start().await;
    let contenders = fleet(&bed, 8).await;
    contenders[0].leaders.allow_overlap();
    for (whose, fault) in faults {
        fault.inject(&bed.faults, &contenders[*whose].session).await;
    }
    settled(&bed, &contenders, 0).await;
}

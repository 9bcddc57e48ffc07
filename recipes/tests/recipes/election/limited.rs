//! Elections with a limit on the contenders: the others wait in a line.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{Connection, Election, Session, SessionOptions, Standing};
use atalaya_zookeeper::{Disconnect, Operation, Server};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::memory::{TestBed, soon};
use crate::support::{SessionFault, schedules, session_fault};

const ELECTION: &str = "/election";
const LINE: &str = "/standby";
const LIMIT: usize = 3;

struct Contender {
    session: Session,
    standing: watch::Receiver<Standing>,
    running: JoinHandle<()>,
}

impl Drop for Contender {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Contender {
    fn start(session: Session, name: &str, leaders: &Arc<AtomicUsize>) -> Contender {
        let election = Election::new(session.clone(), ELECTION, name, Naming::Kazoo)
            .with_limit(LINE, NonZeroUsize::new(LIMIT).unwrap());
        let (standing, leaders) = (election.standing(), Arc::clone(leaders));
        let running = tokio::spawn(async move {
            election.run(|_| lead(Arc::clone(&leaders))).await;
        });
        Contender { session, standing, running }
    }

    fn standing(&self) -> Standing {
        *self.standing.borrow()
    }
}

/// Counts as a leader until it is dropped. There must be no other one.
async fn lead(leaders: Arc<AtomicUsize>) {
    struct Leading(Arc<AtomicUsize>);
    impl Drop for Leading {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    assert_eq!(leaders.fetch_add(1, Ordering::SeqCst), 0, "two leaders");
    let _leading = Leading(leaders);
    std::future::pending().await
}

async fn fleet(bed: &TestBed, size: usize) -> Vec<Contender> {
    let leaders = Arc::default();
    let mut contenders = Vec::new();
    for number in 0..size {
        contenders.push(Contender::start(bed.session().await, &number.to_string(), &leaders));
    }
    contenders
}

/// Waits until one contender leads, the others up to the limit wait for it, and all others are in the line, each once.
async fn settled(bed: &TestBed, contenders: &[Contender], foreign: usize) {
    let contending = LIMIT.saturating_sub(foreign).min(contenders.len());
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
    soon("the fleet to settle", async {
        while !is_settled().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn leader(contenders: &[Contender]) -> usize {
    soon("a leader", async {
        loop {
            match contenders.iter().position(|contender| contender.standing() == Standing::Leading) {
                Some(leader) => return leader,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn one_client_of_the_line_replaces_a_contender_that_leaves() {
    let bed = TestBed::start().await;
    let mut contenders = fleet(&bed, 12).await;
    settled(&bed, &contenders, 0).await;
    while contenders.len() > LIMIT + 2 {
        let gone = contenders.swap_remove(leader(&contenders).await);
        bed.expire(&gone.session).await;
        drop(gone);
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
async fn znodes_that_are_no_places_and_a_line_that_is_deleted_stop_nobody() {
    let bed = TestBed::start().await;
    bed.observer.create(LINE, b"", CreateMode::Persistent).await.unwrap();
    for name in ["0000000000", "7", "x", "-000000001", "9999999999"] {
        bed.observer.create(&format!("{LINE}/{name}"), b"", CreateMode::Persistent).await.unwrap();
    }
    let contenders = fleet(&bed, LIMIT + 2).await;
    soon("contenders", bed.wait_for_contenders(ELECTION, LIMIT)).await;
    soon("places", bed.wait_for_contenders(LINE, 5 + 2)).await;
    for name in bed.children(LINE).await {
        bed.observer.delete(&format!("{LINE}/{name}"), None).await.unwrap();
    }
    bed.observer.delete(LINE, None).await.unwrap();
    let gone = leader(&contenders).await;
    bed.expire(&contenders[gone].session).await;
    leader(&contenders).await;
}

#[tokio::test]
async fn requests_of_a_fleet_that_joins_grow_with_its_size() {
    let requests = async |size: usize| {
        // Without pings during the test.
        let server = Server::builder().tick(Duration::from_secs(60)).start().await.unwrap();
        let options = SessionOptions::new(server.connect_string().parse().unwrap(), Duration::from_secs(600));
        let leaders = Arc::default();
        let start =
            |number: usize| Contender::start(Session::start(options.clone()), &number.to_string(), &leaders);
        let _contenders: Vec<Contender> = (0..size).map(start).collect();
        // Each client has a watch, and each contender behind the first has one on its own znode as well.
        let watches = size + LIMIT - 1;
        soon("all watches", async {
            loop {
                let stats = server.faults().stats().await.unwrap();
                if stats.watches == watches {
                    return stats.requests;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    };
    let (small, large) = (requests(50).await, requests(200).await);
    assert!(large <= small * 4 * 11 / 10, "{small} requests of 50, {large} of 200");
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
    for (whose, fault) in faults {
        fault.inject(&bed.faults, &contenders[*whose].session).await;
    }
    settled(&bed, &contenders, 0).await;
}

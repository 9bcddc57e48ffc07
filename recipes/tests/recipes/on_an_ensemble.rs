//! Whoever waits at a barrier goes on waiting when it has to move to another server, and passes when it should.

use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{Barrier, DoubleBarrier, Session, SessionOptions};
use atalaya_testbed::Ensemble;
use tokio::runtime::Runtime;

use crate::support::{SOON, TIMEOUT, soon, until};

const PATH: &str = "/together";
const READY: &str = "/together/ready";
const BARRIER: &str = "/barrier";

/// Three servers. The session that stays is connected to one of them, the one that moves may go to each.
struct Bed {
    runtime: Runtime,
    servers: Ensemble,
}

impl Bed {
    fn start() -> Bed {
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::WARN).try_init();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Bed { runtime, servers: Ensemble::start() }
    }

    fn session(&self, servers: &str) -> Session {
        let _inside = self.runtime.enter();
        let session =
            Session::start(SessionOptions { servers: servers.parse().unwrap(), timeout: TIMEOUT * 5 });
        self.runtime.block_on(soon(session.connection()));
        session
    }

    /// The server that a session is connected to.
    #[track_caller]
    fn server_of(&self, session: &Session) -> usize {
        self.servers.server_of_session(session.state().session).unwrap()
    }

    /// One that moves, and its server; one that stays at another server.
    fn moving_and_staying(&self) -> (Session, usize, Session) {
        let moving = self.session(&self.servers.connect_string());
        let doomed = self.server_of(&moving);
        let other = (0..self.servers.len()).find(|other| *other != doomed).unwrap();
        let staying = self.session(&self.servers.server(other).connect_string());
        (moving, doomed, staying)
    }
}

#[test]
fn a_party_is_complete_only_when_it_is_although_a_server_goes_and_a_ready_was_left_behind() {
    let mut bed = Bed::start();
    let (moving, doomed, staying) = bed.moving_and_staying();
    bed.runtime.block_on(async {
        let connection = staying.connection().await;
        connection.ensure(PATH).await.unwrap();
        connection.create(READY, b"", CreateMode::Persistent).await.unwrap();
    });
    let entering = {
        let barrier = DoubleBarrier::new(moving.clone(), PATH, 2, "moving");
        bed.runtime.spawn(async move { barrier.enter(SOON).await })
    };
    bed.runtime.block_on(one_stands_there(&staying));
    let old = bed.runtime.block_on(moving.connection());
    bed.servers.kill(doomed);
    let new = bed.runtime.block_on(soon(moving.connection_after(old.number())));
    assert_eq!(new.session_id(), old.session_id(), "it moves in its session");
    assert_ne!(bed.server_of(&moving), doomed);
    bed.runtime.block_on(async {
        // A round trip over its new connection, and its look at the barrier before that.
        new.sync().await.unwrap();
        one_stands_there(&staying).await;
        assert!(!entering.is_finished(), "entered alone");
        let inside = soon(DoubleBarrier::new(staying.clone(), PATH, 2, "staying").enter(SOON)).await.unwrap();
        let other = soon(entering).await.unwrap().unwrap();
        let (left, others) = tokio::join!(inside.leave(SOON), other.leave(SOON));
        left.unwrap();
        others.unwrap();
        let connection = staying.connection().await;
        connection.sync().await.unwrap();
        assert!(connection.children(PATH).await.unwrap().is_empty());
    });
}

#[test]
fn nobody_misses_what_happened_while_it_moved_to_another_server() {
    let mut bed = Bed::start();
    let (moving, doomed, staying) = bed.moving_and_staying();
    let barrier = Barrier::new(staying.clone(), BARRIER);
    bed.runtime.block_on(barrier.close()).unwrap();
    let passing = {
        let barrier = Barrier::new(moving.clone(), BARRIER);
        bed.runtime.spawn(async move { barrier.wait_within(SOON).await })
    };
    let entering = {
        let barrier = DoubleBarrier::new(moving.clone(), PATH, 2, "moving");
        bed.runtime.spawn(async move { barrier.enter(SOON).await })
    };
    bed.runtime.block_on(one_stands_there(&staying));
    let old = bed.runtime.block_on(moving.connection());
    // It hears nothing of what happens now.
    bed.servers.server_mut(doomed).stop_process();
    let inside = bed.runtime.block_on(async {
        assert!(barrier.open().await.unwrap());
        soon(DoubleBarrier::new(staying.clone(), PATH, 2, "staying").enter(SOON)).await.unwrap()
    });
    let leaving = bed.runtime.spawn(async move { inside.leave(SOON).await });
    bed.servers.kill(doomed);
    bed.runtime.block_on(async {
        soon(moving.connection_after(old.number())).await;
        assert!(soon(passing).await.unwrap().unwrap());
        let inside = soon(entering).await.unwrap().unwrap();
        soon(inside.leave(SOON)).await.unwrap();
        soon(leaving).await.unwrap().unwrap();
        let connection = staying.connection().await;
        connection.sync().await.unwrap();
        assert!(connection.children(PATH).await.unwrap().is_empty());
    });
}

async fn one_stands_there(session: &Session) {
    let look = async || {
        let connection = session.connection().await;
        connection.sync().await.ok()?;
        let names = connection.children(PATH).await.ok()?;
        (names.len() == 1 && names[0] != "ready").then_some(())
    };
    until("one stands there, and no ready", look).await;
}

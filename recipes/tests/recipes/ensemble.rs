//! Waiting at a barrier continues when the session moves to another server, and ends when the barrier opens.

use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{Barrier, DoubleBarrier, Session, SessionOptions};
use atalaya_testbed::Ensemble;
use tokio::runtime::Runtime;

use crate::support::{DEADLINE, TIMEOUT, soon, until};

const PATH: &str = "/together";
const READY: &str = "/together/ready";
const BARRIER: &str = "/barrier";

/// Three servers. One session stays at its server, the other may move to any of them.
struct TestBed {
    runtime: Runtime,
    servers: Ensemble,
}

impl TestBed {
    fn start() -> TestBed {
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::WARN).try_init();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        TestBed { runtime, servers: Ensemble::start() }
    }

    fn session(&self, servers: &str) -> Session {
        let _inside = self.runtime.enter();
        let session = Session::start(SessionOptions::new(servers.parse().unwrap(), TIMEOUT * 5));
        self.runtime.block_on(soon(session.connection()));
        session
    }

    /// Returns the index of the server to which a session is connected.
    #[track_caller]
    fn server_of(&self, session: &Session) -> usize {
        self.servers.server_of_session(session.state().session).unwrap()
    }

    /// Returns a session that can move, its server, and a session that stays at another server.
    fn moving_and_staying(&self) -> (Session, usize, Session) {
        let moving = self.session(&self.servers.connect_string());
        let doomed = self.server_of(&moving);
        let other = (0..self.servers.len()).find(|other| *other != doomed).unwrap();
        let staying = self.session(&self.servers.server(other).connect_string());
        (moving, doomed, staying)
    }
}

#[test]
fn double_barrier_opens_only_when_complete_although_a_server_fails_and_a_stale_ready_exists() {
    let mut bed = TestBed::start();
    let (moving, doomed, staying) = bed.moving_and_staying();
    bed.runtime.block_on(async {
        let connection = staying.connection().await;
        connection.ensure(PATH).await.unwrap();
        connection.create(READY, b"", CreateMode::Persistent).await.unwrap();
    });
    let entering = {
        let barrier = DoubleBarrier::new(moving.clone(), PATH, 2, "moving");
        bed.runtime.spawn(async move { barrier.enter(DEADLINE).await })
    };
    bed.runtime.block_on(one_stands_there(&staying));
    let old = bed.runtime.block_on(moving.connection());
    bed.servers.kill(doomed);
    let new = bed.runtime.block_on(soon(moving.connection_after(old.number())));
    assert_eq!(new.session_id(), old.session_id(), "it moves in its session");
    assert_ne!(bed.server_of(&moving), doomed);
    bed.runtime.block_on(async {
        // One round trip over the new connection, after its read of the barrier.
        new.sync().await.unwrap();
        one_stands_there(&staying).await;
        assert!(!entering.is_finished(), "entered alone");
        let inside =
            soon(DoubleBarrier::new(staying.clone(), PATH, 2, "staying").enter(DEADLINE)).await.unwrap();
        let other = soon(entering).await.unwrap().unwrap();
        let (left, others) = tokio::join!(inside.leave(DEADLINE), other.leave(DEADLINE));
        left.unwrap();
        others.unwrap();
        let connection = staying.connection().await;
        connection.sync().await.unwrap();
        assert!(connection.children(PATH).await.unwrap().is_empty());
    });
}

#[test]
fn watches_miss_no_change_while_a_session_moves_to_another_server() {
    let mut bed = TestBed::start();
    let (moving, doomed, staying) = bed.moving_and_staying();
    let barrier = Barrier::new(staying.clone(), BARRIER);
    bed.runtime.block_on(barrier.close()).unwrap();
    let passing = {
        let barrier = Barrier::new(moving.clone(), BARRIER);
        bed.runtime.spawn(async move { barrier.wait_within(DEADLINE).await })
    };
    let entering = {
        let barrier = DoubleBarrier::new(moving.clone(), PATH, 2, "moving");
        bed.runtime.spawn(async move { barrier.enter(DEADLINE).await })
    };
    bed.runtime.block_on(one_stands_there(&staying));
    let old = bed.runtime.block_on(moving.connection());
    // The session that moves is not notified of the following changes.
    bed.servers.server_mut(doomed).stop_process();
    let inside = bed.runtime.block_on(async {
        assert!(barrier.open().await.unwrap());
        soon(DoubleBarrier::new(staying.clone(), PATH, 2, "staying").enter(DEADLINE)).await.unwrap()
    });
    let leaving = bed.runtime.spawn(async move { inside.leave(DEADLINE).await });
    bed.servers.kill(doomed);
    bed.runtime.block_on(async {
        soon(moving.connection_after(old.number())).await;
        assert!(soon(passing).await.unwrap().unwrap());
        let inside = soon(entering).await.unwrap().unwrap();
        soon(inside.leave(DEADLINE)).await.unwrap();
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
    until("one member and no `ready`", look).await;
}

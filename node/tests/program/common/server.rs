//! The ZooKeeper that a fleet runs on: Apache's, or the one in memory.

use std::time::Duration;

use atalaya_sim::zookeeper::{Armed, AtRequest, Cut, Faults, Server as MemoryServer};
use atalaya_testbed::ZooKeeper;

use super::PATIENCE;

/// As the test bed's Apache ZooKeeper has them.
const TICK: Duration = Duration::from_millis(500);
const LONGEST_SESSION_TIMEOUT: Duration = Duration::from_secs(40);

pub enum Server {
    Memory(MemoryServer),
    Apache(ZooKeeper),
}

impl Server {
    pub fn memory() -> Server {
        let builder = MemoryServer::builder().tick(TICK).longest_session_timeout(LONGEST_SESSION_TIMEOUT);
        Server::Memory(builder.start_thread().unwrap())
    }

    pub fn apache() -> Server {
        Server::Apache(ZooKeeper::start())
    }

    pub fn connect_string(&self) -> String {
        match self {
            Server::Memory(server) => server.connect_string(),
            Server::Apache(server) => server.connect_string(),
        }
    }

    /// Nobody reaches it any more, and nobody is told: Apache's process is killed; the one in memory, which would
    /// forget everything, loses all connections and takes no new ones.
    pub fn vanish(&mut self) {
        match self {
            Server::Memory(server) => {
                let hand = Hand(server.faults());
                hand.0.refuse_connections(true);
                hand.sessions().into_iter().for_each(|session| hand.disconnect(session));
            }
            Server::Apache(server) => server.kill(),
        }
    }

    /// It is back after [`vanish`](Self::vanish), at the same address, with what it knew.
    pub fn come_back(&mut self) {
        match self {
            Server::Memory(server) => server.faults().refuse_connections(false),
            Server::Apache(server) => server.restart(),
        }
    }

    /// What only the server in memory can be told to do.
    pub fn hand(&self) -> Hand {
        match self {
            Server::Memory(server) => Hand(server.faults()),
            Server::Apache(_) => panic!("Apache ZooKeeper takes no orders"),
        }
    }
}

/// The faults of the server in memory, for tests that block.
pub struct Hand(Faults);

impl Hand {
    pub fn expire(&self, session: i64) {
        assert!(wait(self.0.expire(session)), "there is no session {session:#x}");
    }

    pub fn disconnect(&self, session: i64) {
        // It may have lost its connection by itself.
        wait(self.0.disconnect(session));
    }

    pub fn freeze_replies(&self, frozen: bool) {
        wait(self.0.freeze_replies(frozen));
    }

    pub fn sessions(&self) -> Vec<i64> {
        wait(self.0.sessions())
    }

    pub fn cut(&self, cut: Cut, at: AtRequest) -> Loss {
        Loss(wait(self.0.cut(cut, at)))
    }
}

/// A connection that is to be lost at a certain request.
#[must_use = "a loss that did not happen makes a test pass that tested nothing"]
pub struct Loss(Armed);

impl Loss {
    #[track_caller]
    pub fn has_happened(self) {
        wait(self.0.happened()).unwrap();
    }
}

#[track_caller]
fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    match runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await }) {
        Ok(done) => done,
        Err(_) => panic!("the server did not obey within {PATIENCE:?}"),
    }
}

//! The ZooKeeper server of a fleet: Apache's or the in-memory one.

use std::time::Duration;

use atalaya_testbed::{PooledZooKeeper, Proxy};
use atalaya_zookeeper::{Disconnect, Faults, PendingDisconnect, RequestFilter, Server as MemoryServer};

use super::DEADLINE;

/// The same tick as the Apache ZooKeeper of the testbed.
const TICK: Duration = Duration::from_millis(500);
const LONGEST_SESSION_TIMEOUT: Duration = Duration::from_secs(40);

pub enum Server {
    Memory(MemoryServer),
    Apache(PooledZooKeeper),
}

impl Server {
    pub fn memory() -> Server {
        let builder = MemoryServer::builder().tick(TICK).max_session_timeout(LONGEST_SESSION_TIMEOUT);
        Server::Memory(builder.start_thread().unwrap())
    }

    pub fn apache() -> Server {
        Server::Apache(PooledZooKeeper::get())
    }

    pub fn connect_string(&self) -> String {
        match self {
            Server::Memory(server) => server.connect_string(),
            Server::Apache(server) => server.connect_string(),
        }
    }

    pub fn proxy(&self) -> Proxy {
        let port = self.connect_string().rsplit(':').next().and_then(|port| port.parse().ok());
        Proxy::to(port.expect("an address has a port"))
    }

    /// Makes the server unreachable without notice. Apache's process is killed. The in-memory server, which would lose
    /// its data, drops all connections and accepts no new ones.
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

    /// Restores the server after [`vanish`](Self::vanish), at the same address and with its data.
    pub fn come_back(&mut self) {
        match self {
            Server::Memory(server) => server.faults().refuse_connections(false),
            Server::Apache(server) => server.restart(),
        }
    }

    /// Faults that only the in-memory server offers.
    pub fn hand(&self) -> Hand {
        match self {
            Server::Memory(server) => Hand(server.faults()),
            Server::Apache(_) => panic!("Apache ZooKeeper takes no orders"),
        }
    }
}

/// Fault injection for blocking tests.
pub struct Hand(Faults);

impl Hand {
    pub fn expire(&self, session: i64) {
        assert!(wait(self.0.expire(session)), "no session {session:#x}");
    }

    pub fn disconnect(&self, session: i64) {
        // The connection may have been lost already.
        wait(self.0.disconnect(session));
    }

    pub fn freeze_replies(&self, frozen: bool) {
        wait(self.0.freeze_replies(frozen));
    }

    pub fn sessions(&self) -> Vec<i64> {
        wait(self.0.sessions())
    }

    pub fn cut(&self, cut: Disconnect, at: RequestFilter) -> Loss {
        Loss(wait(self.0.disconnect_at(cut, at)))
    }
}

/// An armed fault: a connection that is cut at a certain request.
#[must_use = "a loss that did not happen makes a test pass that tested nothing"]
pub struct Loss(PendingDisconnect);

impl Loss {
    #[track_caller]
    pub fn has_happened(self) {
        wait(self.0.happened()).unwrap();
    }
}

#[track_caller]
fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    match runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await }) {
        Ok(done) => done,
        Err(_) => panic!("the server did not obey within {DEADLINE:?}"),
    }
}

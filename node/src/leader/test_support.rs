//! A ZooKeeper server in memory, and a contender on it, for the tests of the leader.

use std::time::Duration;

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Session, SessionOptions};
use atalaya_sim::zookeeper::Server;

pub(crate) async fn server() -> Server {
    Server::builder().listen("127.0.0.1:0").start().await.unwrap()
}

pub(crate) fn connect(server: &Server) -> Session {
    let servers = server.connect_string().parse().unwrap();
    Session::start(SessionOptions { servers, timeout: Duration::from_secs(10) })
}

/// Returns a contender of the fleet's election. `Election::run` calls the test as the leader.
pub(crate) fn election(session: &Session) -> Election {
    Election::new(session.clone(), "/election", "1", Naming::Kazoo)
}

//! A ZooKeeper server in memory, and a contender on it, for the tests of the leader.

use std::time::Duration;

use atalaya_config::{BarrierRelease, CounterMode, SyncMode};
use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Leadership, Session, SessionOptions};
use atalaya_zookeeper::Server;
use tokio::sync::watch;

use crate::leader::evaluation::ValueConfig;
use crate::leader::{AclCheck, LeaderConfig, LeaderHandles};
use crate::metrics::LeaderMetrics;
use crate::model::acl_policy::AclPolicy;

pub(crate) async fn server() -> Server {
    Server::builder().listen("127.0.0.1:0").start().await.unwrap()
}

pub(crate) fn connect(server: &Server) -> Session {
    let servers = server.connect_string().parse().unwrap();
    Session::start(SessionOptions::new(servers, Duration::from_secs(10)))
}

/// Runs `test` as the leader of a fleet.
pub(crate) async fn lead<T>(server: &Server, test: impl AsyncFn(Leadership) -> T) -> T {
    let election = Election::new(connect(server), "/election", "1", Naming::Kazoo);
    election.run(|leadership| test(leadership)).await
}

/// Runs `test` as the leader of a fleet on a server of its own.
pub(crate) async fn as_leader(test: impl AsyncFn(Leadership)) {
    lead(&server().await, test).await;
}

/// Returns the configuration of a leader that delivers nothing.
pub(crate) fn config() -> LeaderConfig {
    LeaderConfig {
        period: Duration::from_secs(1),
        api: None,
        sync: SyncMode::Free,
        release: BarrierRelease::Period,
        counting: CounterMode::Off,
        values: ValueConfig::default(),
    }
}

/// Returns the handles of a leader of the default fleet.
pub(crate) fn handles(config: watch::Receiver<LeaderConfig>) -> LeaderHandles {
    LeaderHandles {
        id: "1".into(),
        measurements: "/mediciones".into(),
        name_template: "{id}".into(),
        config,
        averages: None,
        state: watch::channel(None).0,
        tasks: watch::channel(None).1,
        metrics: LeaderMetrics::default(),
        acl_check: AclCheck::new(AclPolicy::open(), "/mediciones", "/election", &[]),
        outputs: Vec::new(),
    }
}

/// Returns outputs with these names, at an address without a listener.
#[cfg(feature = "output-webhook")]
pub(crate) fn outputs(names: &[&str]) -> Vec<std::sync::Arc<crate::outputs::Output>> {
    use crate::outputs::{Output, Sender};
    let sender = Sender { fleet: "atalaya".to_owned(), zone: None, node: "1".parse().unwrap() };
    let output = |name: &&str| {
        let text = format!(
            "[[fleet.outputs]]\ntype = \"webhook\"\nname = \"{name}\"\nurl = \"http://127.0.0.1:9/\"\n\
             [boards.a]\nbackend = \"sim\"\nsensors = [{{ name = \"s\", chip = \"random\" }}]\n"
        );
        let boards = atalaya_config::Boards::parse(&text, "boards.toml").unwrap();
        Output::new(boards.fleet.outputs[0].clone(), &sender).unwrap().into()
    };
    names.iter().map(output).collect()
}

//! Ensembles of three servers: any or all of them may be killed; the fleet continues.
//!
//! Only on Apache ZooKeeper: the in-memory server is always a single one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_testbed::{Ensemble, Process, Security, eventually};

use crate::common::{CALM, DEADLINE, TestEnv, exactly_one_leads, goes_on_publishing};

struct Trial {
    ensemble: Ensemble,
    around: TestEnv,
    nodes: Vec<Process>,
}

const IDS: [&str; 3] = ["1", "2", "3"];

impl Trial {
    fn start() -> Trial {
        Trial::on(Ensemble::start(), None)
    }

    fn on(ensemble: Ensemble, security: Option<Arc<Security>>) -> Trial {
        let around = TestEnv::secured(ensemble.connect_string(), CALM, security);
        let nodes = IDS.map(|id| around.node(id, &[]));
        let trial = Trial { ensemble, around, nodes: nodes.into() };
        trial.assert_whole("at the start");
        trial
    }

    /// Every node publishes, exactly one leads, and the averages contain all three.
    fn assert_whole(&self, when: &str) {
        let probe = self.around.probe();
        for id in IDS {
            goes_on_publishing(&probe, id, 2);
        }
        exactly_one_leads(&probe, &self.around.api, &IDS, when);
    }

    fn assert_alive(&mut self, when: &str) {
        for (node, id) in self.nodes.iter_mut().zip(IDS) {
            assert!(node.is_running(), "node {id} died {when}");
        }
    }

    fn server_of_the_leading_node(&self) -> usize {
        let probe = self.around.probe();
        let leader = probe.contenders("/election").remove(0);
        let session = probe.exists(&format!("/mediciones/{leader}")).unwrap().ephemeral_owner;
        self.ensemble.server_of_session(session).expect("a session is on a server")
    }

    /// Starts killed servers again, and waits until they follow.
    ///
    /// A server that was just started counts as killed until then: ZooKeeper 3.8 stores the number of a new epoch
    /// before it has the data written up to then. If the leader is killed between the two, the server votes for itself
    /// with less data, and the remaining one does not agree.
    fn bring_back(&mut self, servers: &[usize]) {
        servers.iter().for_each(|server| self.ensemble.restart(*server));
        self.ensemble.wait_for_quorum(DEADLINE);
    }

    /// Kills `servers` for `time`, and checks the fleet when they are back.
    fn without(&mut self, servers: &[usize], time: Duration, when: &str) {
        let killed = Instant::now();
        servers.iter().for_each(|server| self.ensemble.kill(*server));
        // The length of the outage; it does not wait for a condition.
        eventually("the outage to be over", time + DEADLINE, || (killed.elapsed() >= time).then_some(()));
        self.bring_back(servers);
        self.assert_whole(when);
        self.assert_alive(when);
    }
}

#[test]
fn fleet_survives_the_kill_of_each_server() {
    let mut trial = Trial::start();

    let server = trial.server_of_the_leading_node();
    trial.ensemble.kill(server);
    trial.assert_whole("without the leading node's server");
    trial.bring_back(&[server]);

    let server = trial.ensemble.leader().expect("the ensemble has a leader");
    trial.ensemble.kill(server);
    trial.ensemble.wait_for_quorum(DEADLINE);
    trial.assert_whole("without ZooKeeper's own leader");
    trial.bring_back(&[server]);
    trial.assert_alive("when one server was killed");
}

#[test]
fn secured_fleet_survives_the_kill_of_a_server() {
    let security = Arc::new(Security::new());
    let mut trial = Trial::on(Ensemble::secured(&security), Some(security));
    let server = trial.server_of_the_leading_node();
    trial.ensemble.kill(server);
    trial.assert_whole("without the leading node's server");
    trial.bring_back(&[server]);
    trial.assert_whole("after the server is back");
    trial.assert_alive("when one server was killed");
}

#[test]
fn fleet_survives_an_outage_of_two_or_all_servers() {
    let mut trial = Trial::start();
    trial.without(&[0, 1], Duration::from_secs(15), "after two servers were away for 15 s");
    trial.without(&[0, 1, 2], Duration::from_secs(20), "after all servers were away for 20 s");
}

//! Fleets of hundreds or thousands of nodes in one process, on an in-memory server that counts their requests.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use atalaya::node::Node;
use atalaya::observe::node_status::NodeStatus;
use atalaya::settings::{Env, FleetArgs, Settings};
use atalaya_config::Boards;
use atalaya_recipes::{Session, SessionOptions, Standing};
use atalaya_zookeeper::Server;
use tokio::sync::watch;
use tokio::task::LocalSet;

/// So long that few pings are counted.
const SESSION_TIMEOUT: Duration = Duration::from_secs(600);
/// Nodes that share a thread and a runtime.
const NODES_PER_THREAD: usize = 500;
/// Maximum number of contenders of these fleets: the default.
const CONTENDERS: usize = 7;
/// Znode of a contender that is not a node of the fleet, and leads.
const FOREIGN_LEADER: &str = "/election/0123456789abcdef0123456789abcdef__lock__";

/// Requests that a server has received, and names in the lists that it has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub requests: u64,
    pub names: u64,
}

impl Cost {
    /// Returns true if this cost of `nodes` nodes is at most 1.1 times that of `fewer` nodes in proportion.
    pub fn is_linear_to(self, nodes: usize, other: Cost, fewer: usize) -> bool {
        let is_linear = |cost: u64, other: u64| cost * 10 * fewer as u64 <= other * 11 * nodes as u64;
        is_linear(self.requests, other.requests) && is_linear(self.names, other.names)
    }
}

/// Nodes, each with a session of its own.
pub struct LargeFleet {
    pub server: Server,
    /// Session of this test.
    session: Session,
    pub nodes: Vec<watch::Receiver<NodeStatus>>,
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<()>,
    /// True if a contender that is not of the fleet leads.
    led_by_other: bool,
    /// Requests of this test.
    own_requests: u64,
}

impl LargeFleet {
    /// Starts nodes that measure once a day. With `led_by_other`, a contender of another program leads: then the fleet
    /// has no leader, which lists the nodes.
    pub async fn start(nodes: usize, led_by_other: bool) -> LargeFleet {
        let server = Server::builder().max_session_timeout(SESSION_TIMEOUT).start_thread().unwrap();
        let options = SessionOptions::new(server.connect_string().parse().unwrap(), SESSION_TIMEOUT);
        let session = Session::start(options);
        let connection = session.connection().await;
        if led_by_other {
            connection.ensure("/election").await.unwrap();
            connection.create_sequential(FOREIGN_LEADER, b"other").await.unwrap();
        }
        let own_requests = server.faults().stats().await.unwrap().requests;
        let (stop, stopped) = watch::channel(());
        let args = FleetArgs::default()
            .with("zookeeper", server.connect_string())
            .with("session_timeout", "10m")
            .with("sampling_period", "1d");
        let settings =
            Settings::assemble(&args, &Boards::builtin(), Env { variable: &|_: &str| None }).unwrap();
        let mut built: Vec<Node> = (1..=nodes).map(|number| build_node(number, &settings)).collect();
        let nodes = built.iter().map(Node::node_status).collect();
        let mut threads = Vec::new();
        while !built.is_empty() {
            let others = built.split_off(built.len().min(NODES_PER_THREAD));
            threads.push(run_nodes(std::mem::replace(&mut built, others), &stopped));
        }
        LargeFleet { server, session, nodes, threads, stop, led_by_other, own_requests }
    }

    /// Waits until all nodes have published a measurement and their node info, and contend or wait for that.
    pub async fn wait_until_joined(&mut self, deadline: Duration) {
        let all = async {
            for node in &mut self.nodes {
                let has_joined =
                    |status: &NodeStatus| status.published.held && status.standing != Standing::Inactive;
                node.wait_for(has_joined).await.unwrap();
            }
            let foreign = usize::from(self.led_by_other);
            let contending = CONTENDERS.min(self.nodes.len() + foreign);
            let standby = self.nodes.len() + foreign - contending;
            let wanted = [
                ("/election", contending),
                ("/atalaya/standby", standby),
                ("/atalaya/nodes", self.nodes.len()),
            ];
            for (path, count) in wanted {
                while self.count(path).await != count {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        tokio::time::timeout(deadline, all).await.expect("all nodes join");
    }

    /// Returns the number of children of a znode.
    async fn count(&mut self, path: &str) -> usize {
        self.own_requests += 1;
        let stat = self.session.connection().await.stat(path).await;
        let count = stat.ok().flatten().map_or(0, |stat| stat.num_children);
        usize::try_from(count).unwrap()
    }

    /// Returns the cost of the fleet since its start, without the requests of this test.
    pub async fn cost(&self) -> Cost {
        let stats = self.server.faults().stats().await.unwrap();
        Cost { requests: stats.requests - self.own_requests, names: stats.names_listed }
    }

    pub fn stop(self) {
        drop(self.stop);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Runs nodes on a thread of their own until the sender of `stop` is dropped.
fn run_nodes(nodes: Vec<Node>, stop: &watch::Receiver<()>) -> JoinHandle<()> {
    let stop = stop.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let run = |node: Node| {
            let mut stop = stop.clone();
            let stopped = async move {
                let _ = stop.changed().await;
                "the end of the test"
            };
            tokio::task::spawn_local(Box::pin(node.run(None, stopped)))
        };
        LocalSet::new().block_on(&runtime, async {
            for node in nodes.into_iter().map(run).collect::<Vec<_>>() {
                node.await.unwrap().unwrap();
            }
        });
    })
}

fn build_node(number: usize, settings: &Settings) -> Node {
    let id = number.to_string().parse().unwrap();
    let mut node = Node::build(id, None, &Boards::builtin(), settings.clone()).unwrap();
    node.limits_responses = false;
    node
}

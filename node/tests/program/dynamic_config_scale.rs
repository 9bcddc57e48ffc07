//! A hundred nodes follow a new period: how soon, and at which cost. The nodes share this process, each with its
//! own thread and session; ZooKeeper is the in-memory server.
//!
//! The results are printed: `cargo test -p atalaya --test program dynamic_config_scale -- --nocapture`.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use atalaya::dynamic_config::DynamicConfig;
use atalaya::node::Node;
use atalaya::observe::node_status::NodeStatus;
use atalaya::settings::FleetArgs;
use atalaya::settings::{Env, Settings};
use atalaya_config::Boards;
use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{Connection, Session, SessionOptions, Standing};
use atalaya_zookeeper::{Server, ServerStats};
use tokio::sync::watch;

const NODES: usize = 100;
const DEADLINE: Duration = Duration::from_secs(60);
/// So long that no ping is counted.
const SESSION: Duration = Duration::from_secs(40);
const QUICK: Duration = Duration::from_millis(100);
const PERIOD: &str = "/config/sampling_period";

fn server() -> Server {
    Server::builder().max_session_timeout(SESSION).start_thread().unwrap()
}

/// Settings of a node that measures once a day.
fn settings(server: &Server) -> Settings {
    let args = FleetArgs::default()
        .with("zookeeper", server.connect_string())
        .with("session_timeout", "40s")
        .with("sampling_period", "1d");
    let nothing = |_: &str| None;
    Settings::assemble(&args, &Boards::builtin(), Env { variable: &nothing }).unwrap()
}

fn session(server: &Server) -> Session {
    Session::start(SessionOptions::new(server.connect_string().parse().unwrap(), SESSION))
}

/// Starts a node that runs until the sender of `stop` is dropped: without its server, it would connect again and again.
fn node(
    server: &Server,
    number: usize,
    mut stop: watch::Receiver<()>,
) -> (watch::Receiver<NodeStatus>, JoinHandle<()>) {
    let id = number.to_string().parse().unwrap();
    let node = Node::build(id, None, &Boards::builtin(), settings(server)).unwrap();
    let vitals = node.node_status();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stopped = async move {
            let _ = stop.changed().await;
            "the end of the test"
        };
        runtime.block_on(Box::pin(node.run(None, stopped))).unwrap();
    });
    (vitals, thread)
}

async fn figures(server: &Server) -> ServerStats {
    server.faults().stats().await.unwrap()
}

/// Waits until every node has measured after `since`. Returns the delay of the last one.
async fn all_measured(nodes: &mut [watch::Receiver<NodeStatus>], since: Instant) -> Duration {
    let mut last = Duration::ZERO;
    for node in nodes {
        let measured =
            |vitals: &NodeStatus| vitals.measured.as_ref().is_some_and(|measured| measured.at > since);
        let vitals = tokio::time::timeout(DEADLINE, node.wait_for(measured)).await.unwrap().unwrap();
        // The first sample after `since` may have started before; a later one is certain.
        last = last.max(vitals.measured.as_ref().unwrap().at - since);
    }
    last
}

async fn write(connection: &Connection, text: &str) {
    match connection.set(PERIOD, text.as_bytes(), None).await {
        Err(error) if error.is_no_node() => {
            connection.ensure("/config").await.unwrap();
            connection.create(PERIOD, text.as_bytes(), CreateMode::Persistent).await.unwrap();
        }
        done => drop(done.unwrap()),
    }
}

#[tokio::test]
async fn hundred_nodes_follow_a_new_period() {
    let server = server();
    let (stop, stopped) = watch::channel(());
    let (mut nodes, threads): (Vec<_>, Vec<_>) =
        (1..=NODES).map(|number| node(&server, number, stopped.clone())).unzip();
    for node in &mut nodes {
        let in_line =
            |vitals: &NodeStatus| vitals.published.held && !matches!(vitals.standing, Standing::Inactive);
        tokio::time::timeout(DEADLINE, node.wait_for(in_line)).await.unwrap().unwrap();
    }
    let session = session(&server);
    let connection = session.connection().await;
    let mut shown = Vec::new();
    for slow in ["12h", "1d", "2h"] {
        write(&connection, slow).await;
        // Once the next sample at the new period is due, the first one shows that the period is used.
        let last = nodes.iter().filter_map(|node| Some(node.borrow().measured.as_ref()?.at)).max().unwrap();
        tokio::time::sleep_until((last + QUICK).into()).await;
        let since = Instant::now();
        write(&connection, "100ms").await;
        shown.push(all_measured(&mut nodes, since).await);
        // Later samples use it too.
        all_measured(&mut nodes, Instant::now()).await;
    }
    println!(
        "from the write to the first sample of the last of {NODES} nodes at the new period: {shown:.1?}"
    );
    drop(stop);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[tokio::test]
async fn fleet_without_dynamic_configuration_sends_few_requests() {
    let server = server();
    let sessions: Vec<Session> = (0..NODES).map(|_| session(&server)).collect();
    for session in &sessions {
        session.connection().await;
    }
    let lives: Vec<DynamicConfig> = (0..NODES)
        .map(|number| DynamicConfig::new(number.to_string().parse().unwrap(), settings(&server)))
        .collect();
    let before = figures(&server).await;
    let following = futures_util::future::join_all(
        lives.iter().zip(&sessions).map(|(live, session)| Box::pin(live.follow(session))),
    );
    let known = futures_util::future::join_all(lives.iter().map(DynamicConfig::wait_until_complete));
    tokio::select! {
        _ = following => panic!("the bench loop does not end"),
        done = tokio::time::timeout(DEADLINE, known) => drop(done.unwrap()),
    }
    let after = figures(&server).await;
    let per_node = |figure: u64| figure as f64 / NODES as f64;
    let requests = per_node(after.requests - before.requests);
    let watches = per_node((after.watches - before.watches) as u64);
    println!("a node without dynamic configuration sends {requests} requests and has {watches} watches");
    assert!(requests < 5.0 && watches <= 2.0, "{requests} requests, {watches} watches");
}

//! Many nodes in one process, for `cargo xtask bench large`. Arguments: HOSTS FIRST COUNT PERIOD URL, as in
//! `127.0.0.1:2181 2 3333 10s http://127.0.0.1:8000/nuevo`: nodes with the ids FIRST, FIRST + 1, … that report to URL.
//!
//! All nodes are tasks of one thread, and each has a session of its own. Runs until it is killed.
#![allow(clippy::print_stderr, reason = "this is a program")]

use std::str::FromStr as _;

use anyhow::anyhow;
use atalaya::model::node_id::NodeId;
use atalaya::node::Node;
use atalaya::settings::{Env, FleetArgs, Settings};
use atalaya_config::Boards;
use tokio::task::{JoinSet, LocalSet};

/// Session timeout of all nodes: that of `atalaya demo` with as many.
const SESSION_TIMEOUT: &str = "20s";
const BOARDS: &str = r#"
[boards.bench]
backend = "sim"
sensors = [{ name = "s", chip = "random" }]
"#;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).take_while(|word| word != "--bench").collect();
    let [hosts, first, count, period, url] = &arguments[..] else {
        println!("run this as `cargo xtask bench large`, or with arguments: see the top of its source");
        return Ok(());
    };
    let (first, count): (u32, u32) = (first.parse()?, count.parse()?);
    let boards = Boards::parse(BOARDS, "the boards of the benchmark").map_err(|error| anyhow!("{error}"))?;
    let args = FleetArgs::default()
        .with("zookeeper", hosts)
        .with("session_timeout", SESSION_TIMEOUT)
        .with("connect_timeout", "300s")
        .with("sampling_period", period)
        .with("api_url", url)
        .with("api_method", "post");
    let settings = Settings::assemble(&args, &boards, Env { variable: &|_| None })
        .map_err(|failure| anyhow!("{failure}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let mut nodes = JoinSet::new();
        for number in first..first + count {
            let id = NodeId::from_str(&number.to_string()).map_err(|error| anyhow!("{error}"))?;
            let mut node = Node::build(id, Some("bench".to_owned()), &boards, settings.clone())?;
            node.limits_responses = false;
            nodes.spawn_local(async move {
                if let Err(error) = node.run(None, std::future::pending()).await {
                    eprintln!("node {number}: {error}");
                }
            });
        }
        while let Some(ended) = nodes.join_next().await {
            ended?;
        }
        Ok(())
    })
}

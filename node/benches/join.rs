//! Requests of fleets that join, counted at the in-memory server, for `cargo xtask bench`. Arguments: numbers of nodes,
//! the smallest first, as in `1000 2000 4000 8000`.
//!
//! Each node has a session of its own, and measures once a day. All are in this process, 500 on a thread. For each fleet
//! the benchmark prints a line of JSON with the number of nodes, the requests and the names in lists that the server has
//! counted, and the seconds until all nodes have joined: all have published a measurement and their node info, and contend
//! or wait for that. In the first line of each number another program leads; in the second, a node.
//!
//! Manually: `cargo bench -p atalaya --bench join -- 1000 2000`. 8,000 nodes need 16,100 open files.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "this is a program; it uses a part of the module"
)]

#[path = "../tests/program/common/large_fleet.rs"]
mod large_fleet;

use std::time::{Duration, Instant};

use large_fleet::{Cost, LargeFleet};
use serde_json::json;

/// Timeout until all nodes have joined.
const TIMEOUT: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).take_while(|word| word != "--bench").collect();
    if arguments.is_empty() {
        println!("run this as `cargo xtask bench`, or with arguments: see the top of its source");
    }
    for nodes in arguments {
        let nodes: usize = nodes.parse()?;
        for led_by_other in [true, false] {
            let start = Instant::now();
            let mut fleet = LargeFleet::start(nodes, led_by_other).await;
            fleet.wait_until_joined(TIMEOUT).await;
            let (Cost { requests, names }, seconds) = (fleet.cost().await, start.elapsed().as_secs_f64());
            println!(
                "{}",
                json!({"nodes": nodes, "leader": !led_by_other, "requests": requests, "names": names, "seconds": seconds})
            );
            fleet.stop();
        }
    }
    Ok(())
}

//! Waits at /calibration until a number of processes has entered, works for a second, and waits until all are done:
//! `cargo run -p atalaya-recipes --example double_barrier -- 127.0.0.1:2181 [COUNT]`.
//!
//! Start it COUNT times (default: twice): no process starts its work before the last one has entered, and none ends
//! before the last one is done.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{DoubleBarrier, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let count = arguments.next().map_or(Ok(2), |count| count.parse()).context("COUNT must be a number")?;
    let name = format!("process {}", std::process::id());

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let barrier = DoubleBarrier::new(session.clone(), "/calibration", count, name);
    println!("waiting for {count} processes");
    let inside = barrier.enter(Duration::from_secs(60)).await?;
    println!("all have entered");
    tokio::time::sleep(Duration::from_secs(1)).await;
    inside.leave(Duration::from_secs(60)).await?;
    println!("all are done");
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

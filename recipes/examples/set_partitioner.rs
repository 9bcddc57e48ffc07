//! Divides four buses among the running instances, until Ctrl-C:
//! `cargo run -p atalaya-recipes --example set_partitioner -- 127.0.0.1:2181 [NAME]`.
//!
//! Start several with different names; stop one, and see which others poll its buses.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{Session, SessionOptions, SetPartitioner};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let name = arguments.next().unwrap_or_else(|| format!("process {}", std::process::id()));

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let items = ["bus 1", "bus 2", "bus 3", "bus 4"].map(String::from);
    let partitioner = SetPartitioner::new(session.clone(), "/polling", items, name)
        // Use a longer time for members that start one after the other, so that fewer items are moved twice.
        .with_settle_time(Duration::from_secs(1));
    tokio::select! {
        error = partitioner.run(poll) => return Err(error.into()),
        result = tokio::signal::ctrl_c() => result.context("cannot wait for Ctrl-C")?,
    }
    println!("released");
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

/// Runs until it is dropped because the share changes.
async fn poll(share: Vec<String>) {
    println!("polling {}", share.join(", "));
    std::future::pending().await
}

//! Adds 1 to the counter at /counter, ten times:
//! `cargo run -p atalaya-recipes --example counter -- 127.0.0.1:2181`.
//!
//! Start several at once, and restart ZooKeeper while they run: each adds exactly ten.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{Counter, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let counter = Counter::exact(session.clone(), "/counter");
    println!("value: {}", counter.get().await?);
    for _ in 0..10 {
        println!("after the addition: {}", counter.add(1).await?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Removes the dedup record, which prevents additions from being counted twice.
    counter.close().await;
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

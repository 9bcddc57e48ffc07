//! Puts its arguments into the queue at /queue. Without arguments, takes entries until the queue is empty for three
//! seconds:
//! `cargo run -p atalaya-recipes --example queue -- 127.0.0.1:2181 [TEXT…]`.
//!
//! Start several that take, and put: each entry is taken by one of them.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::queue::DEFAULT_PRIORITY;
use atalaya_recipes::{Queue, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let texts: Vec<String> = arguments.collect();

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let queue = Queue::new(session.clone(), "/queue");
    for text in &texts {
        queue.put(text.as_bytes(), DEFAULT_PRIORITY).await?;
        println!("put {text}");
    }
    if texts.is_empty() {
        while let Some(entry) = queue.take_within(Duration::from_secs(3)).await? {
            println!("took {}", String::from_utf8_lossy(&entry));
        }
        println!("the queue is empty");
    }
    queue.close().await;
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

//! Takes one of the two permits of /semaphores/downloads for three seconds:
//! `cargo run -p atalaya-recipes --example semaphore -- 127.0.0.1:2181`.
//!
//! Start it three times at once: the third waits until one of the others is done, or its session has expired.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{Semaphore, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let name = format!("process {}", std::process::id());

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    println!("waiting for one of two permits");
    let guard = Semaphore::new(session.clone(), "/semaphores/downloads", name, 2).acquire().await?;
    println!("downloading, at {}", guard.znode());
    tokio::select! {
        () = guard.lost() => println!("lost: the work must stop"),
        () = tokio::time::sleep(Duration::from_secs(3)) => println!("done"),
    }
    guard.release().await;
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

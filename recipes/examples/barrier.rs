//! Closes or opens the barrier at /barrier, or waits for up to a minute until it is open:
//! `cargo run -p atalaya-recipes --example barrier -- 127.0.0.1:2181 [close|open|wait]`.
//!
//! Close it, start several that wait, and open it.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{Barrier, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let command = arguments.next();

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let barrier = Barrier::new(session.clone(), "/barrier");
    match command.as_deref() {
        Some("close") => println!("closed, generation {}", barrier.close().await?),
        Some("open") if barrier.open().await? => println!("opened"),
        Some("open") => println!("it was open"),
        _ => {
            println!("waiting");
            let open = barrier.wait_within(Duration::from_secs(60)).await?;
            println!("{}", if open { "it is open" } else { "still closed" });
        }
    }
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

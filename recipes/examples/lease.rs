//! Acquires the lease at /leases/cleanup for twenty seconds, works for one second, and keeps the lease:
//! `cargo run -p atalaya-recipes --example lease -- 127.0.0.1:2181 [NAME]`.
//!
//! Start it again: with another name it is refused until the twenty seconds have elapsed, with the same name it
//! renews the lease.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{Acquire, Lease, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let name = arguments.next().unwrap_or_else(|| format!("process {}", std::process::id()));

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let lease = Lease::new(session.clone(), "/leases/cleanup", name, Duration::from_secs(20));
    match lease.acquire().await? {
        Acquire::HeldByOther(other) => {
            let left = other.end.duration_since(std::time::SystemTime::now()).unwrap_or_default();
            println!("held by {} for {} s more", other.holder, left.as_secs());
        }
        Acquire::Acquired(held) => {
            println!(
                "held for {} s, with the fencing token {}",
                held.remaining().as_secs(),
                held.fencing_token()
            );
            tokio::select! {
                () = held.expired() => println!("expired: the work must stop"),
                () = tokio::time::sleep(Duration::from_secs(1)) => println!("done, and still held"),
            }
        }
    }
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

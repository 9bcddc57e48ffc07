//! Joins the party at /workers and prints its members, whenever they change, until Ctrl-C:
//! `cargo run -p atalaya-recipes --example party -- 127.0.0.1:2181 [NAME]`.
//!
//! Start several; stop one with Ctrl-C and kill another: the first leaves at once, the second when its session expires.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{Party, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let name = arguments.next().unwrap_or_else(|| format!("process {}", std::process::id()));

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let party = Party::new(session.clone(), "/workers", name);
    let membership = party.join().await?;
    tokio::select! {
        error = party.follow(|members| println!("members: {}", members.join(", "))) => return Err(error.into()),
        result = tokio::signal::ctrl_c() => result.context("cannot wait for Ctrl-C")?,
    }
    membership.leave().await;
    println!("left");
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

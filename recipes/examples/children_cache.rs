//! Prints the children of a znode with their data, whenever they change, until Ctrl-C:
//! `cargo run -p atalaya-recipes --example children_cache -- 127.0.0.1:2181 [PATH]`.
//!
//! Start and stop the example persistent_node under several names at the same time.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{ChildrenCache, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let path = arguments.next().unwrap_or_else(|| "/mediciones".to_owned());

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let cache = ChildrenCache::new(session.clone(), path);
    let mut newest = cache.subscribe();
    let show = async {
        while newest.changed().await.is_ok() {
            let children = newest.borrow_and_update();
            let all =
                children.iter().map(|(name, (data, _))| format!("{name}={}", String::from_utf8_lossy(data)));
            println!("{}", all.collect::<Vec<_>>().join(" "));
        }
    };
    tokio::select! {
        error = cache.run() => return Err(error.into()),
        () = show => {}
        result = tokio::signal::ctrl_c() => result.context("cannot wait for Ctrl-C")?,
    }
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

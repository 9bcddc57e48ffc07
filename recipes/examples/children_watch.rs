//! Prints the names of the children of a znode, whenever they change, until Ctrl-C:
//! `cargo run -p atalaya-recipes --example children_watch -- 127.0.0.1:2181 [PATH]`.
//!
//! Start and stop the example persistent_node under several names at the same time.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{ChildrenWatch, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let path = arguments.next().unwrap_or_else(|| "/mediciones".to_owned());

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let watch = ChildrenWatch::new(session.clone(), path);
    let mut newest = watch.subscribe();
    let show = async {
        while newest.changed().await.is_ok() {
            let mut names = newest.borrow_and_update().clone();
            names.sort_unstable();
            println!("{}: {}", names.len(), names.join(", "));
        }
    };
    tokio::select! {
        () = watch.run() => {}
        () = show => {}
        result = tokio::signal::ctrl_c() => result.context("cannot wait for Ctrl-C")?,
    }
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

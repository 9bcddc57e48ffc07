//! Keeps a number in /mediciones/NAME, a new one each second, until Ctrl-C:
//! `cargo run -p atalaya-recipes --example persistent_node -- 127.0.0.1:2181 [NAME]`.
//!
//! Restart ZooKeeper, delete the znode, suspend the program with Ctrl-Z: the znode is created again. A second
//! program of the same name gives up.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{PersistentNode, Session, SessionOptions};
use tokio::sync::watch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let name = arguments.next().unwrap_or_else(|| format!("process {}", std::process::id()));

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let node = PersistentNode::new(session.clone(), format!("/mediciones/{name}"));
    let mut state = node.state();
    let (newest, data) = watch::channel(None);
    let measure = async {
        for number in 0_u64.. {
            newest.send_replace(Some(number.to_string().into_bytes()));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let show = async {
        while state.changed().await.is_ok() {
            let now = *state.borrow_and_update();
            println!("{}, stored {} times", if now.held { "held" } else { "not held" }, now.stored);
        }
    };
    tokio::select! {
        conflict = node.run(data) => return Err(conflict.into()),
        () = async { tokio::join!(measure, show); } => {}
        result = tokio::signal::ctrl_c() => result.context("cannot wait for Ctrl-C")?,
    }
    session.close(Duration::from_secs(2)).await;
    Ok(())
}

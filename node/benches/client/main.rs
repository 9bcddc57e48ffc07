//! The Rust side of `cargo xtask bench`: a ZooKeeper client that executes commands, so that its rounds can alternate
//! with those of other programs. Argument: HOSTS. Certificates and user are those of
//! the environment, as for a node (`ATALAYA_ZOOKEEPER_CA` and others). Commands, one per line of standard input:
//!
//! ```text
//! fill N         creates znodes below /mediciones until there are N
//! cycle TIMES    reads and averages them TIMES times, with each implementation in `cycle`
//! watch PATH     waits until PATH exists
//! ```
//!
//! Prints one line of JSON per command on standard output. `watch` prints two: `{"watching":…}` when the watch is
//! set, and `{"appeared":…}` when the znode exists.
//!
//! Manually, with any ZooKeeper: `cargo bench -p atalaya --bench client -- 127.0.0.1:2181`, then type.

mod cycle;
#[path = "../../tests/program/common/tls_tunnel.rs"]
#[allow(unreachable_pub, clippy::unwrap_used, reason = "serves tests, too")]
mod tls_tunnel;

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use zookeeper_client as zk;

use cycle::Fleet;

/// Longer than a client on a busy machine computes between two commands.
const SESSION_TIMEOUT: Duration = Duration::from_secs(40);

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds --bench to the arguments.
    let Some(hosts) = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')) else {
        println!(
            "run this as `cargo xtask bench`, or with the address of a ZooKeeper: see the top of its source"
        );
        return Ok(());
    };
    // One thread, as in a node.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut fleet = Fleet::connect(&hosts).await.context("cannot connect")?;
        let mut lines = lines();
        while let Some(line) = lines.recv().await {
            match line.split_once(' ') {
                Some(("fill", count)) => print(fleet.fill(count.parse()?).await?)?,
                Some(("cycle", times)) => print(fleet.cycle(times.parse()?).await?)?,
                Some(("watch", path)) => watch(fleet.client(), path).await?,
                _ => bail!("unknown command: {line}"),
            }
        }
        Ok(())
    })
}

/// Reads the lines of standard input in a separate thread, because the session needs its heartbeats while no command
/// comes.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

fn print(value: Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

/// Waits until `path` exists.
async fn watch(client: &zk::Client, path: &str) -> anyhow::Result<()> {
    let (stat, watcher) = client.check_and_watch_stat(path).await?;
    ensure!(stat.is_none(), "{path} exists already");
    print(json!({"watching": path}))?;
    let event = watcher.changed().await;
    ensure!(event.event_type == zk::EventType::NodeCreated, "{path}: {event:?}");
    print(json!({"appeared": path}))?;
    Ok(())
}

//! The Rust side of `cargo xtask bench`: a ZooKeeper client that does what it is told, so that its rounds can alternate
//! with those of other programs. Arguments: HOSTS. Commands, one a line of standard input:
//!
//! ```text
//! fill N         makes it N znodes below /mediciones, the first of them where there are fewer
//! cycle TIMES    reads and averages them TIMES times, in each of the ways of `cycle`
//! watch PATH     waits until PATH exists
//! ```
//!
//! Answers each with one line of JSON on standard output. `watch` answers twice: `{"watching":…}` when the watch is set,
//! `{"appeared":…}` when the znode is there.
//!
//! By hand, against any ZooKeeper: `cargo bench -p atalaya --bench client -- 127.0.0.1:2181`, then type.

mod cycle;

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use zookeeper_client as zk;

use cycle::Fleet;

/// Longer than anything that a busy machine may do to a client that computes between its answers.
const SESSION_TIMEOUT: Duration = Duration::from_secs(40);

fn main() -> anyhow::Result<()> {
    // `cargo bench` puts --bench behind the arguments it was given.
    let Some(hosts) = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')) else {
        println!(
            "run this as `cargo xtask bench`, or with the address of a ZooKeeper: see the top of its source"
        );
        return Ok(());
    };
    // As the node does it: one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut fleet = Fleet::connect(&hosts).await.context("cannot connect")?;
        let mut lines = lines();
        while let Some(line) = lines.recv().await {
            match line.split_once(' ') {
                Some(("fill", count)) => answer(fleet.fill(count.parse()?).await?)?,
                Some(("cycle", times)) => answer(fleet.cycle(times.parse()?).await?)?,
                Some(("watch", path)) => watch(fleet.client(), path).await?,
                _ => bail!("no such command: {line}"),
            }
        }
        Ok(())
    })
}

/// Standard input, read on a thread of its own: a session needs its signs of life also while nothing is asked.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

fn answer(value: Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

/// Tells when `path` comes into being.
async fn watch(client: &zk::Client, path: &str) -> anyhow::Result<()> {
    let (stat, watcher) = client.check_and_watch_stat(path).await?;
    ensure!(stat.is_none(), "{path} is there already");
    answer(json!({"watching": path}))?;
    let event = watcher.changed().await;
    ensure!(event.event_type == zk::EventType::NodeCreated, "{path}: {event:?}");
    answer(json!({"appeared": path}))?;
    Ok(())
}

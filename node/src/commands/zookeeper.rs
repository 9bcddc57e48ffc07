//! `atalaya zookeeper`: the server in memory, alone.

use std::time::Duration;

use anyhow::{Context, anyhow};
use atalaya_hal::duration;
use atalaya_sim::zookeeper::Server;
use clap::Args;
use tracing::{info, warn};

use super::signals::stop_signal;
use crate::commands::exit::Failure;
use crate::settings::listen_addr::ListenAddr;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya zookeeper                               for atalaya run, without any settings
  atalaya zookeeper --listen 127.0.0.1:0          at a port that is free, which it logs
  atalaya zookeeper --tick 500                    sessions may be as short as 1 s

It speaks the protocol of Apache ZooKeeper 3.8: zkCli.sh, Kazoo and Curator can use it. It is one
server, has no security beyond ACLs, keeps nothing, and is for development.")]
pub(super) struct ZooKeeperArgs {
    /// Address to listen at; `:2181` for all addresses.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181")]
    listen: ListenAddr,

    /// The unit of time, in milliseconds or as a duration: session timeouts last from 2 to 20 ticks.
    #[arg(long, value_name = "TICK", default_value = "2000")]
    tick: String,
}

/// A tick that a server can keep, and one that somebody waits for.
const TICKS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

pub(super) fn main(args: &ZooKeeperArgs) -> Result<(), Failure> {
    let tick = tick(&args.tick)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    runtime.block_on(async {
        let stop = stop_signal().map_err(Failure::internal)?;
        let listen = &args.listen;
        let server = async {
            Server::builder().tick(tick).listen(listen.resolve()?.to_string()).start().await
        };
        let server = server.await;
        let server = server
            .with_context(|| format!("cannot listen on {listen}; choose another address with --listen"))
            .map_err(Failure::unavailable)?;
        info!(address = %server.local_addr(), ?tick, "a ZooKeeper server in memory is listening");
        warn!(
            "it is for development: one server, nothing is kept, and all is gone when it stops. For everything else: \
             Apache ZooKeeper (apt-get install zookeeperd, or https://zookeeper.apache.org/releases.html)"
        );
        let signal = stop.await;
        info!(signal, "stopping");
        server.shutdown().await;
        info!("stopped; what it held is gone");
        Ok(())
    })
}

/// In milliseconds, as Apache ZooKeeper's `tickTime` is, or a duration.
fn tick(text: &str) -> Result<Duration, Failure> {
    let tick = match text.trim().parse::<u64>() {
        Ok(milliseconds) => Duration::from_millis(milliseconds),
        Err(_) => duration::parse(text).map_err(|error| Failure::usage(anyhow!("--tick: {error}")))?,
    };
    if !TICKS.contains(&tick) {
        return Err(Failure::usage(anyhow!(
            "--tick: {tick:?} is out of bounds; expected milliseconds or a duration from 10ms to 60s"
        )));
    }
    Ok(tick)
}

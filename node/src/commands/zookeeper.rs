//! `atalaya zookeeper`: the in-memory ZooKeeper server.

use std::time::Duration;

use anyhow::Context;
use atalaya_hal::duration;
use atalaya_sim::zookeeper::Server;
use clap::Args;
use tracing::{info, warn};

use super::current_thread_runtime;
use super::signals::stop_signal;
use crate::commands::exit::Failure;
use crate::settings::listen_addr::ListenAddr;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya zookeeper                               server for atalaya run with default settings
  atalaya zookeeper --listen 127.0.0.1:0          use a free port, which is logged
  atalaya zookeeper --tick 500                    allow session timeouts from 1 s

The server speaks the protocol of Apache ZooKeeper 3.8, for zkCli.sh, Kazoo and Curator. It is a single \
server for development: no security except ACLs, and all data is lost when it stops.")]
pub(super) struct ZooKeeperArgs {
    /// Address to listen on; `:2181` for all interfaces.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181")]
    listen: ListenAddr,

    /// Tick, as milliseconds or a duration, from 10ms to 60s. Session timeouts are limited to 2 to 20 ticks.
    #[arg(long, value_name = "TICK", value_parser = parse_tick, default_value = "2000")]
    tick: Duration,
}

const TICKS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

pub(super) fn main(args: &ZooKeeperArgs) -> Result<(), Failure> {
    let tick = args.tick;
    current_thread_runtime()?.block_on(async {
        let stop = stop_signal()?;
        let listen = &args.listen;
        let start = async {
            Server::builder().tick(tick).listen(listen.resolve()?.to_string()).start().await
        };
        let server = start
            .await
            .with_context(|| format!("cannot listen on {listen}; choose another address with --listen"))
            .map_err(Failure::unavailable)?;
        info!(address = %server.local_addr(), ?tick, "in-memory ZooKeeper server is listening");
        warn!(
            "this server is for development: its data is lost when it stops. In production use Apache ZooKeeper \
             (apt-get install zookeeperd, or https://zookeeper.apache.org/releases.html)"
        );
        let signal = stop.await;
        info!(signal, "stopping");
        server.shutdown().await;
        info!("stopped; all data is lost");
        Ok(())
    })
}

/// Parses a tick: milliseconds, as `tickTime` of Apache ZooKeeper, or a duration.
fn parse_tick(text: &str) -> Result<Duration, String> {
    let tick = match text.trim().parse::<u64>() {
        Ok(milliseconds) => Duration::from_millis(milliseconds),
        Err(_) => duration::parse(text).map_err(|error| error.to_string())?,
    };
    let problem =
        || format!("{tick:?} is out of range; expected milliseconds or a duration from 10ms to 60s");
    TICKS.contains(&tick).then_some(tick).ok_or_else(problem)
}

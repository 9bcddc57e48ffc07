//! `atalaya zookeeper`: the in-memory ZooKeeper server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use atalaya_config::duration;
use atalaya_hal::read_limited;
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
  atalaya zookeeper --users users.txt             authenticate users by SASL DIGEST-MD5

The server speaks the protocol of Apache ZooKeeper 3.8, for zkCli.sh, Kazoo and Curator. It is a single \
server for development: no TLS, and all data is lost when it stops.")]
pub(super) struct ZooKeeperArgs {
    /// Address to listen on; `:2181` for all interfaces.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181")]
    listen: ListenAddr,

    /// Tick, as milliseconds or a duration, from 10ms to 60s. Session timeouts are limited to 2 to 20 ticks.
    #[arg(long, value_name = "TICK", value_parser = parse_tick, default_value = "2000")]
    tick: Duration,

    /// File with one USER:PASSWORD a line, in ASCII, of the users that SASL DIGEST-MD5 authenticates.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
}

/// Maximum size of the file with the users, in bytes.
const MAX_USERS_SIZE: usize = 64 * 1024;

const TICKS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

pub(super) fn main(args: &ZooKeeperArgs) -> Result<(), Failure> {
    let tick = args.tick;
    let users = match &args.users {
        Some(file) => read_users(file)
            .with_context(|| format!("cannot read the users from {}", file.display()))
            .map_err(Failure::config)?,
        None => Vec::new(),
    };
    current_thread_runtime()?.block_on(async {
        let stop = stop_signal()?;
        let listen = &args.listen;
        let start = async {
            let builder = Server::builder().tick(tick).sasl_users(users);
            builder.listen(listen.resolve()?.to_string()).start().await
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

/// Reads lines of the form USER:PASSWORD. Empty lines and lines that begin with # are ignored. An error contains no
/// password.
fn read_users(file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = String::from_utf8(read_limited(file, MAX_USERS_SIZE)?).context("it is not text")?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let parse = |(index, line): (usize, &str)| {
        let user = line.split_once(':').filter(|(user, _)| !user.is_empty() && line.is_ascii());
        let (user, password) =
            user.with_context(|| format!("line {} is not USER:PASSWORD in ASCII", index + 1))?;
        Ok((user.to_owned(), password.to_owned()))
    };
    lines.map(parse).collect()
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

//! `atalaya status`: shows a fleet once, or every second.

mod read;
mod show;

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use tokio::time::{MissedTickBehavior, timeout};

use super::args::{ConnectionArgs, Output};
use super::load_settings;
use super::signals::stop_signal;
use super::tools::connection::with_session;
use crate::commands::exit::Failure;
use read::FleetReader;
use show::StatusOutput;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya status                                the leader, the reports, the nodes and their measurements
  atalaya status --watch                        the same once a second, until Ctrl-C
  atalaya status --output json | jq '.nodes[] | select(.age > 60) | .id'
  atalaya status --watch --output json          one JSON object per line, once a second

Ages are by an estimate of ZooKeeper's clock, because the command writes nothing. If this machine's clock
is fast, the ages are too large at first; with --watch they are corrected.")]
pub(super) struct StatusArgs {
    /// Show the status every second, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,

    /// Output format: a table, or one JSON object (with --watch, one per line).
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,

    /// Parent znode of the measurements [default: boards.toml, or /mediciones] [env: ATALAYA_MEASUREMENTS].
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    measurements: Option<String>,

    /// Template for the name of a measurement's znode [default: boards.toml, or {id}] [env: ATALAYA_NAME].
    #[arg(long, value_name = "TEMPLATE", help_heading = "Fleet")]
    name: Option<String>,

    /// Parent znode of the contenders of the election [default: boards.toml, or /election] [env: ATALAYA_ELECTION].
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    election: Option<String>,
}

const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Time limit of one reading with `--watch`.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of attempts without `--watch`: after a lost connection, the session usually reconnects.
const ATTEMPTS: u32 = 3;

pub(super) fn main(args: &StatusArgs) -> Result<(), Failure> {
    let fleet = (args.connection.flags.0.clone())
        .with_optional("measurements", args.measurements.as_ref())
        .with_optional("name", args.name.as_ref())
        .with_optional("election", args.election.as_ref());
    let (_, settings) = load_settings(None, &fleet)?;
    with_session(&args.connection, async |session| {
        let reader = FleetReader::new(session, settings);
        if args.watch { watch(reader, args).await } else { show_once(reader, args).await }
    })
}

async fn show_once(mut reader: FleetReader, args: &StatusArgs) -> Result<(), Failure> {
    let mut output = StatusOutput::new(args.output, false)?;
    let session_timeout = reader.settings.session_timeout;
    let servers = reader.settings.zookeeper.clone();
    for _ in 0..ATTEMPTS {
        match timeout(session_timeout, reader.read()).await {
            Ok(Ok(status)) => return output.show(&status).await.map(|_| ()),
            Ok(Err(error)) if error.is_connection_loss() => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let late =
                    anyhow!("ZooKeeper at {servers} did not answer all requests within {session_timeout:?}");
                return Err(Failure::unavailable(late));
            }
        }
    }
    Err(Failure::unavailable(anyhow!("the connection to ZooKeeper at {servers} was lost")))
}

async fn watch(mut reader: FleetReader, args: &StatusArgs) -> Result<(), Failure> {
    let stop = stop_signal()?;
    tokio::pin!(stop);
    let mut output = StatusOutput::new(args.output, true)?;
    let mut ticks = tokio::time::interval(WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let read_and_show = async {
            ticks.tick().await;
            match timeout(READ_TIMEOUT, reader.read()).await {
                Ok(Ok(status)) => output.show(&status).await,
                Ok(Err(error)) if !error.is_connection_loss() => Err(error.into()),
                _ => output.show_unreachable().await,
            }
        };
        tokio::select! {
            biased;
            _ = &mut stop => return Ok(()),
            is_open = read_and_show => if !is_open? { return Ok(()) },
        }
    }
}

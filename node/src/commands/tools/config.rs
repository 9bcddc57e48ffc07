//! `atalaya config get|set|watch|init`: znodes that many follow.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::anyhow;
use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{Connection, DataWatch, Error, Watched};
use clap::{Args, Subcommand};
use tokio::sync::watch;
use tracing::warn;

use super::connection::{input, path, with_session};
use crate::commands::args::ConnectionArgs;
use crate::commands::exit::Failure;
use crate::commands::signals::stop_signal;
use crate::commands::stdout::{StdoutThread, print};
use crate::dynamic_config::{self, fleet_path};
use crate::model::text;
use crate::settings;
use crate::settings::table::{API_URL, SAMPLING_PERIOD};

#[derive(Debug, Subcommand)]
pub(in crate::commands) enum ConfigCommand {
    /// Print the value.
    Get(ConfigGetArgs),
    /// Write it. What fleets follow (the keys below /config and /config/nodes/ID) is checked before.
    #[command(after_help = "\
Examples:
  atalaya config set /config/sampling_period 2s         the whole fleet, at once
  atalaya config set /config/nodes/3/log debug          node 3 only; its own keys come first
  atalaya config set /config/nodes/3/log ''             not any more: as it was started

Fleets follow sampling_period, api_url, sync and log. Empty means not set.")]
    Set(ConfigSetArgs),
    /// Print the value, and each new one as it is written, until Ctrl-C.
    Watch(ConfigGetArgs),
    /// Tell a fleet how often to measure and where to report, both at once.
    #[command(after_help = "\
Examples:
  atalaya config init 5s http://127.0.0.1:8000/nuevo
  atalaya config init 2.5 http://api:80/ --zookeeper zk1:2181,zk2:2181/fleet

Nodes that run follow at once, those that come later from their start on. The period is written in
seconds, as Kazoo's programs read it.")]
    Init(ConfigInitArgs),
}

#[derive(Debug, Args)]
pub(in crate::commands) struct ConfigInitArgs {
    /// How often to measure, for /config/sampling_period.
    #[arg(value_name = "PERIOD")]
    sampling_period: String,
    /// Where the leader reports, for /config/api_url.
    #[arg(value_name = "URL")]
    api_url: String,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// `atalaya config get` and `watch`.
#[derive(Debug, Args)]
pub(in crate::commands) struct ConfigGetArgs {
    /// The znode.
    path: String,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::commands) struct ConfigSetArgs {
    /// The znode; made if it does not exist.
    path: String,
    /// The value; - reads standard input.
    value: String,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(in crate::commands) fn main(command: &ConfigCommand) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Get(args) => {
            let at = path(&args.path)?;
            with_session(&args.connection, |session| async move {
                let connection = session.connection().await;
                connection.sync().await.map_err(Failure::temp_fail)?;
                match connection.get(&at).await {
                    Ok((value, _)) => print(&line(value)).map(|()| ExitCode::SUCCESS),
                    Err(error) if error.is_no_node() => Err(Failure::io(anyhow!("there is no znode {at}"))),
                    Err(error) => Err(Failure::temp_fail(error)),
                }
            })
        }
        ConfigCommand::Set(args) => {
            let (at, value) = (path(&args.path)?, input(&args.value)?);
            dynamic_config::check(&at, &value)
                .map_err(|problem| Failure::usage(anyhow!("{at}: {problem}")))?;
            with_session(&args.connection, |session| async move {
                let connection = session.connection().await;
                store(&connection, &at, &value).await.map_err(Failure::temp_fail)?;
                Ok(ExitCode::SUCCESS)
            })
        }
        ConfigCommand::Init(args) => {
            let period = settings::sampling_period(args.sampling_period.trim())
                .map_err(|problem| Failure::usage(anyhow!("the sampling period: {problem}")))?;
            let url = args.api_url.trim();
            dynamic_config::check(&fleet_path(API_URL), url.as_bytes())
                .map_err(|problem| Failure::usage(anyhow!("the address of the API: {problem}")))?;
            // Kazoo's programs read a number of seconds.
            let values = [(SAMPLING_PERIOD, period.as_secs_f64().to_string()), (API_URL, url.to_owned())];
            with_session(&args.connection, |session| async move {
                let connection = session.connection().await;
                for (name, value) in values {
                    store(&connection, &fleet_path(name), value.as_bytes())
                        .await
                        .map_err(Failure::temp_fail)?;
                }
                Ok(ExitCode::SUCCESS)
            })
        }
        ConfigCommand::Watch(args) => {
            let at = path(&args.path)?;
            with_session(&args.connection, |session| async move {
                let stop = stop_signal().map_err(Failure::internal)?;
                let watch = DataWatch::new(session, &at);
                let newest = watch.subscribe();
                let printer = StdoutThread::start()?;
                tokio::select! {
                    biased;
                    _ = stop => Ok(ExitCode::SUCCESS),
                    shown = follow(&at, newest, &printer) => shown.map(|()| ExitCode::SUCCESS),
                    error = watch.run() => Err(Failure::temp_fail(error)),
                }
            })
        }
    }
}

/// Prints each value, until nobody reads them.
async fn follow(
    path: &str,
    mut newest: watch::Receiver<Watched>,
    printer: &StdoutThread,
) -> Result<(), Failure> {
    let mut shown = None;
    while newest.changed().await.is_ok() {
        let now = newest.borrow_and_update().clone();
        match now {
            Watched::There(value, _) => {
                // A value that is written again is no change.
                if shown.as_ref() == Some(&value) {
                    continue;
                }
                if !printer.print(line(value.clone())).await? {
                    return Ok(());
                }
                shown = Some(value);
            }
            Watched::Missing => {
                shown = None;
                warn!(path, "there is no such znode; waiting for it");
            }
            Watched::Unseen => {}
        }
    }
    Ok(())
}

/// Returns a value and a line break: the exact bytes for a script, safe text for a terminal.
pub(super) fn line(mut value: Vec<u8>) -> Vec<u8> {
    if std::io::stdout().is_terminal() {
        value = text::sanitize_lines(&String::from_utf8_lossy(&value)).into_owned().into_bytes();
    }
    value.push(b'\n');
    value
}

/// Writes the znode, or makes it with that value, and what is missing above it.
async fn store(connection: &Connection, path: &str, value: &[u8]) -> Result<(), Error> {
    match connection.set(path, value, None).await {
        Err(error) if error.is_no_node() => {}
        done => return done.map(|_| ()),
    }
    if let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
        connection.ensure(parent).await?;
    }
    match connection.create(path, value, CreateMode::Persistent).await {
        // Somebody was faster: now it can be written.
        Err(error) if error.is_node_exists() => connection.set(path, value, None).await.map(|_| ()),
        done => done.map(|_| ()),
    }
}

//! `atalaya config get|set|watch|init`: values that several programs share, such as the dynamic configuration of a
//! fleet.

use std::io::IsTerminal as _;

use anyhow::anyhow;
use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{Connection, DataWatch, Error, WatchedData};
use clap::{Args, Subcommand};
use tokio::sync::watch;
use tracing::warn;

use super::connection::{value_or_stdin, with_session};
use crate::commands::args::{ConnectionArgs, znode_path};
use crate::commands::exit::Failure;
use crate::commands::signals::stop_signal;
use crate::commands::stdout::{StdoutThread, print};
use crate::dynamic_config::{self, fleet_path};
use crate::model::text;
use crate::settings;
use crate::settings::table::{API_URL, SAMPLING_PERIOD};

#[derive(Debug, Subcommand)]
pub(in crate::commands) enum ConfigCommand {
    /// Print a value.
    #[command(after_help = "\
Example:
  atalaya config get /config/sampling_period

Exit codes: 0 done; 74 the znode does not exist.")]
    Get(ConfigGetArgs),
    /// Write a value. Dynamic configuration of a fleet (keys below /config and /config/nodes/ID) is checked first.
    #[command(after_help = "\
Examples:
  atalaya config set /config/sampling_period 2s         set the period of the whole fleet
  atalaya config set /config/nodes/3/log debug          set the log filter of node 3 only
  atalaya config set /config/nodes/3/log ''             unset: node 3 uses its start value again

The keys of a fleet are sampling_period, api_url, sync and log. A key of a node has precedence over the \
key of the fleet. An empty value means not set.")]
    Set {
        /// Znode of the value; created if missing.
        #[arg(value_parser = znode_path)]
        path: String,

        /// Value; - reads standard input.
        value: String,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Print a value and each change, until Ctrl-C.
    Watch(ConfigGetArgs),
    /// Set the sampling period and the API of a fleet.
    #[command(after_help = "\
Examples:
  atalaya config init 5s http://127.0.0.1:8000/nuevo
  atalaya config init 2.5 http://api:80/ --zookeeper zk1:2181,zk2:2181/fleet

Running nodes apply the values at once, and nodes that start later apply them at their start. The period \
is written in seconds, the format that Kazoo programs read.")]
    Init {
        /// Sampling period, for /config/sampling_period.
        #[arg(value_name = "PERIOD")]
        sampling_period: String,

        /// Address that the leader reports to, for /config/api_url.
        #[arg(value_name = "URL")]
        api_url: String,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

#[derive(Debug, Args)]
pub(in crate::commands) struct ConfigGetArgs {
    /// Znode of the value.
    #[arg(value_parser = znode_path)]
    path: String,

    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(in crate::commands) fn main(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Get(args) => get(args),
        ConfigCommand::Set { path, value, connection } => set(path, value, connection),
        ConfigCommand::Watch(args) => watch(args),
        ConfigCommand::Init { sampling_period, api_url, connection } => {
            init(sampling_period.trim(), api_url.trim(), connection)
        }
    }
}

fn get(ConfigGetArgs { path, connection }: &ConfigGetArgs) -> Result<(), Failure> {
    with_session(connection, async |session| {
        let connection = session.connection().await;
        connection.sync().await?;
        match connection.get_opt(path).await? {
            Some((value, _)) => print(&printable_line(value)),
            None => Err(Failure::io(anyhow!("znode {path} does not exist"))),
        }
    })
}

fn set(path: &str, value: &str, connection: &ConnectionArgs) -> Result<(), Failure> {
    let value = value_or_stdin(value)?;
    dynamic_config::check(path, &value).map_err(|problem| Failure::usage(anyhow!("{path}: {problem}")))?;
    with_session(connection, async |session| {
        let connection = session.connection().await;
        Ok(write(&connection, path, &value).await?)
    })
}

fn init(period: &str, url: &str, connection: &ConnectionArgs) -> Result<(), Failure> {
    let period = settings::sampling_period(period)
        .map_err(|problem| Failure::usage(anyhow!("the sampling period: {problem}")))?;
    dynamic_config::check(&fleet_path(API_URL), url.as_bytes())
        .map_err(|problem| Failure::usage(anyhow!("the address of the API: {problem}")))?;
    // Kazoo programs read a number of seconds.
    let values = [(SAMPLING_PERIOD, period.as_secs_f64().to_string()), (API_URL, url.to_owned())];
    with_session(connection, async |session| {
        let connection = session.connection().await;
        for (key, value) in values {
            write(&connection, &fleet_path(key), value.as_bytes()).await?;
        }
        Ok(())
    })
}

fn watch(ConfigGetArgs { path, connection }: &ConfigGetArgs) -> Result<(), Failure> {
    with_session(connection, async |session| {
        let stop = stop_signal()?;
        let watch = DataWatch::new(session, path);
        let values = watch.subscribe();
        let stdout = StdoutThread::start()?;
        tokio::select! {
            biased;
            _ = stop => Ok(()),
            printed = print_changes(path, values, &stdout) => printed,
            error = watch.run() => Err(error.into()),
        }
    })
}

/// Prints each new value, until stdout is closed.
async fn print_changes(
    path: &str,
    mut values: watch::Receiver<WatchedData>,
    stdout: &StdoutThread,
) -> Result<(), Failure> {
    let mut printed = None;
    while values.changed().await.is_ok() {
        let value = values.borrow_and_update().clone();
        match value {
            // The znode was written with the same value.
            WatchedData::Present(value, _) if printed.as_ref() == Some(&value) => {}
            WatchedData::Present(value, _) => {
                if !stdout.print(printable_line(value.clone())).await? {
                    return Ok(());
                }
                printed = Some(value);
            }
            WatchedData::Missing => {
                printed = None;
                warn!(path, "there is no such znode; waiting for it");
            }
            WatchedData::Unknown => {}
        }
    }
    Ok(())
}

/// Returns a value and a line break: the exact bytes for a pipe, without control characters for a terminal.
pub(super) fn printable_line(mut value: Vec<u8>) -> Vec<u8> {
    if std::io::stdout().is_terminal() {
        value = text::sanitize_lines(&String::from_utf8_lossy(&value)).into_owned().into_bytes();
    }
    value.push(b'\n');
    value
}

/// Writes a znode. Creates it, and its missing parents, if it does not exist.
async fn write(connection: &Connection, path: &str, value: &[u8]) -> Result<(), Error> {
    let set = async || connection.set(path, value, None).await.map(drop);
    match set().await {
        Err(error) if error.is_no_node() => {}
        done => return done,
    }
    if let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
        connection.ensure(parent).await?;
    }
    match connection.create(path, value, CreateMode::Persistent).await {
        // Another client was faster, so the znode can be written now.
        Err(error) if error.is_node_exists() => set().await,
        done => done.map(drop),
    }
}

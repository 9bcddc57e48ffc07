//! `atalaya status`: a fleet at one moment, or once a second.

mod read;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_recipes::{Error, Session};
use clap::Args;
use tokio::time::MissedTickBehavior;

use super::args::{ConnectionArgs, Output};
use super::process_environment;
use super::signals::stop_signal;
use super::tools::with_session_of;
use crate::commands::exit::Failure;
use crate::fleet_status::FleetStatus;
use crate::fleet_status::clock::Clock;
use crate::fleet_status::znodes::now;
use crate::settings::{FleetArgs, Settings, load_boards};
use read::Reader;
use show::Show;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya status                                who leads, what waits, which nodes measure what
  atalaya status --watch                        the same once a second, until Ctrl-C
  atalaya status --output json | jq '.nodes[] | select(.age > 60) | .id'
  atalaya status --watch --output json          an object a line, a line a second

Ages are by ZooKeeper's clock, as far as it is known: nothing is written to ask it. If this machine's
clock is fast, they are too large at first; --watch finds that out.")]
pub(super) struct StatusArgs {
    /// Look again every second, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,

    /// How to print; json is one object, and with --watch one a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,

    /// The znode below which measurements stand [default: boards.toml, else /mediciones]. Also ATALAYA_MEASUREMENTS.
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    measurements: Option<String>,

    /// What a node calls its measurement [default: boards.toml, else {id}]. Also ATALAYA_NAME.
    #[arg(long, value_name = "TEMPLATE", help_heading = "Fleet")]
    name: Option<String>,

    /// The znode at which the election is held [default: boards.toml, else /election]. Also ATALAYA_ELECTION.
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    election: Option<String>,
}

/// How often to look with `--watch`.
const EVERY: Duration = Duration::from_secs(1);
/// How long one look may take before that is said.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn main(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let fleet = FleetArgs::default()
        .with_optional("zookeeper", args.connection.zookeeper.as_ref())
        .with_optional("measurements", args.measurements.as_ref())
        .with_optional("name", args.name.as_ref())
        .with_optional("election", args.election.as_ref());
    let settings =
        Settings::assemble(&fleet, &load_boards(None, process_environment())?, process_environment())?;
    with_session_of(None, &args.connection, |session| async move {
        let looker = Looker { session, settings, reader: Reader::default(), clock: Clock::default() };
        if args.watch { watch(looker, args).await } else { once(looker, args).await }?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn once(mut looker: Looker, args: &StatusArgs) -> Result<(), Failure> {
    let mut show = Show::new(args.output, false)?;
    // A connection that is lost meanwhile mostly comes back.
    for _ in 0..3 {
        match tokio::time::timeout(looker.session_timeout(), looker.look()).await {
            Ok(Ok(overview)) => return show.overview(&overview).await.map(|_| ()),
            Ok(Err(error)) if error.is_connection_loss() => {}
            Ok(Err(error)) => return Err(Failure::temp_fail(error)),
            Err(_) => break,
        }
    }
    let servers = &looker.settings.zookeeper;
    Err(Failure::unavailable(anyhow!("the connection to ZooKeeper at {servers} was lost")))
}

async fn watch(mut looker: Looker, args: &StatusArgs) -> Result<(), Failure> {
    let stop = stop_signal().map_err(Failure::internal)?;
    tokio::pin!(stop);
    let mut show = Show::new(args.output, true)?;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let look = async {
            ticks.tick().await;
            match tokio::time::timeout(PATIENCE, looker.look()).await {
                Ok(Ok(overview)) => show.overview(&overview).await,
                Ok(Err(error)) if !error.is_connection_loss() => Err(Failure::temp_fail(error)),
                _ => show.nothing().await,
            }
        };
        let read = tokio::select! {
            biased;
            _ = &mut stop => return Ok(()),
            read = look => read?,
        };
        if !read {
            return Ok(());
        }
    }
}

struct Looker {
    session: Session,
    settings: Settings,
    reader: Reader,
    clock: Clock,
}

impl Looker {
    fn session_timeout(&self) -> Duration {
        self.settings.session_timeout
    }

    async fn look(&mut self) -> Result<FleetStatus, Error> {
        let connection = self.session.connection().await;
        let began = now();
        let seen = self.reader.read(&connection, &self.settings).await?;
        let ended = now();
        if seen.newest > 0 {
            self.clock.look(seen.newest, began, ended);
        }
        Ok(FleetStatus::of(
            self.settings.zookeeper.to_string(),
            seen,
            ended.saturating_add(self.clock.ahead()),
        ))
    }
}

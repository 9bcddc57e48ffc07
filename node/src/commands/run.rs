//! `atalaya run`: one node, in a process of its own.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::anyhow;
use atalaya_hal::{Boards, duration};
use clap::Args;
use tracing::warn;

use super::args::{BoardArgs, StateArgs};
use super::signals::{reload_signals, stop_signal};
use super::{process_environment, respawn};
use crate::commands::exit::Failure;
use crate::logging::Logs;
use crate::model::node_id::NodeId;
use crate::node::Node;
use crate::observe::{HttpServer, Observer};
use crate::process::state_dir::{Holder, OpenError, Purpose, StateDir, StateFile, file_stem};
use crate::process::systemd::Notifier;
use crate::reload::{LoadError, OpenedBoard, Reload};
use crate::settings::api_token::ApiToken;
use crate::settings::listen_addr::ListenAddr;
use crate::settings::{FleetArgs, Settings, SettingsError, environment, load_boards};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya run 1
  atalaya run greenhouse-2 --board greenhouse --zookeeper zk1:2181,zk2:2181,zk3:2181
  ZK_HOST=zoo1 API_URL=http://api:80/ SAMPLING_PERIOD=5 atalaya run 1
  atalaya run 1 --metrics-listen 127.0.0.1:9100    then: curl http://127.0.0.1:9100/readyz
  atalaya run 1 --supervised                 killed, it is back at once, and another leads meanwhile

ZooKeeper need not be up yet: the node waits for it, says so, and goes on when it
comes. It exits with 73 if another live node has the same id. SIGHUP makes it read
boards.toml again: other sensors take their places, session and leadership stay.

What a killed node leaves in ZooKeeper goes when its session times out; or at once, if it
is started again, reaped (atalaya reap), or supervised. --supervised starts it as a process
of its own, which ends with this one, passes signals on, and starts it again unless it ends
with 0, 64, 73 or 78. Under systemd that is not needed.")]
pub(super) struct RunArgs {
    /// This node's id, unique in the fleet: a short name without blanks or slashes.
    pub(super) id: NodeId,

    /// Which board.
    #[command(flatten)]
    board: BoardArgs,

    /// The settings of the fleet.
    #[command(flatten)]
    fleet: FleetArgs,

    /// Give up (exit 69) when ZooKeeper has not been reached for so long at the start [default: wait for ever].
    #[arg(long, value_name = "DURATION", help_heading = "Fleet")]
    connect_timeout: Option<String>,

    /// What is remembered of it.
    #[command(flatten)]
    pub(super) state: StateArgs,

    /// Run it as a process of its own, clear up after it when it is killed, and start it again.
    #[arg(long)]
    pub(super) supervised: bool,

    /// The process that supervises this one, which ends with it: it holds the other end of standard input.
    #[arg(long, hide = true, value_name = "PROCESS", conflicts_with = "supervised")]
    supervised_by: Option<u32>,
}

pub(super) fn main(args: RunArgs, logs: Option<Logs>) -> Result<(), Failure> {
    let boards = load_boards(args.board.boards.as_ref(), process_environment())?;
    let settings = Settings::assemble(&args.fleet, &boards, process_environment())?;
    let connect_timeout = match &args.connect_timeout {
        Some(text) => Some(
            duration::parse(text).map_err(|error| Failure::usage(anyhow!("--connect-timeout: {error}")))?,
        ),
        None => None,
    };
    read_token(&settings)?;
    // First of all: nothing has begun that would have to be ended.
    let listener = settings.metrics_listen.as_ref().map(listen).transpose()?;
    // Before the sensors: another process of this id may be using them.
    let remembrance = remember(&args, &settings)?;
    let observer = listener.is_some().then(|| Observer::new(&args.id));
    // Serves until the node has stopped.
    let _server = match listener.zip(observer.clone()) {
        Some((listener, observer)) => Some(HttpServer::start(listener, observer).map_err(Failure::internal)?),
        None => None,
    };
    let node =
        Node::build(args.id.clone(), args.board.board_name(), &boards, settings)?.with_observer(observer);
    // One thread is enough for what a node does, and on a Pi two would cost memory; buses have threads of their own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    runtime.block_on(async {
        let signal = stop_signal().map_err(Failure::internal)?;
        let is_supervised = args.supervised_by.is_some();
        let stop = async move {
            let orphaned = async {
                if !is_supervised {
                    std::future::pending::<()>().await;
                }
                respawn::orphaned().await;
            };
            tokio::select! {
                signal = signal => signal,
                () = orphaned => "the end of its parent",
            }
        };
        let requests = reload_signals().map_err(Failure::internal)?;
        let described = !is_builtin(&boards);
        let reload = Reload { requests, load: Arc::new(move || load(&args, described)) };
        let node = node
            .with_reload(reload)
            .with_notifier(Notifier::from_env(&environment))
            .with_state_file(remembrance);
        let node = match logs {
            Some(logs) => node.with_logs(logs),
            None => node,
        };
        node.run(connect_timeout, stop).await.map_err(Failure::from)
    })
}

/// Listens for those who watch.
fn listen(address: &ListenAddr) -> Result<TcpListener, Failure> {
    let failed =
        |error| Failure::unavailable(anyhow!("cannot listen at {address} for --metrics-listen: {error}"));
    address.bind().map_err(failed)
}

/// Begins to remember, if it can: a node works without.
fn remember(args: &RunArgs, settings: &Settings) -> Result<Option<StateFile>, Failure> {
    let folder = match StateDir::find(args.state.state_dir.as_ref(), process_environment()) {
        StateDir::At(folder) => folder,
        StateDir::Off => return Ok(None),
        StateDir::Unknown => {
            warn!(
                "there is no home to remember in (--state-dir); if this node is killed, its session must time out"
            );
            return Ok(None);
        }
    };
    let id = args.id.as_str();
    let stem = file_stem(id, &settings.zookeeper, &settings.measurement_path(id));
    match StateFile::open(&folder, &stem, id, &settings.zookeeper.to_string()) {
        Ok(remembrance) => Ok(Some(remembrance)),
        Err(OpenError::Held(Holder { process, purpose })) => {
            let process =
                process.map_or("another process".to_owned(), |process| format!("process {process}"));
            Err(match purpose {
                Purpose::Run => Failure::id_in_use(anyhow!(
                    "the node id {id} is taken: {process} on this machine is that node; stop it, or give this node another id"
                )),
                Purpose::CleanUp => {
                    Failure::temp_fail(anyhow!("{process} clears up after node {id}, and comes to no end"))
                }
            })
        }
        Err(OpenError::Io(error)) => {
            warn!(
                "nothing can be remembered in {}: {error}; if this node is killed, its session must time out",
                folder.display()
            );
            Ok(None)
        }
    }
}

fn read_token(settings: &Settings) -> Result<(), SettingsError> {
    settings.read_token()?;
    if let Some(exposure) = settings.api_token.as_ref().and_then(ApiToken::exposure) {
        warn!("the file with the API token is not private: {exposure}");
    }
    if let Some(unsent) = settings.unsent_token() {
        warn!("{unsent}");
    }
    Ok(())
}

/// The configuration as it is now, by the same flags. `described`: some file described the boards at the start.
fn load(args: &RunArgs, described: bool) -> Result<(OpenedBoard, Settings), LoadError> {
    let boards = load_boards(args.board.boards.as_ref(), process_environment())?;
    if described && is_builtin(&boards) {
        // Nobody whose board measured something means random numbers; a file that is just being written has no boards.
        return Err(LoadError::NoBoards);
    }
    let settings = Settings::assemble(&args.fleet, &boards, process_environment())?;
    read_token(&settings)?;
    let opened = OpenedBoard::open(args.board.board_name().as_deref(), &boards)?;
    Ok((opened, settings))
}

/// Whether these are the boards of whoever has no boards.toml, or one without boards.
fn is_builtin(boards: &Boards) -> bool {
    boards.boards == Boards::builtin().boards
}

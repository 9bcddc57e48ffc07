//! `atalaya run`: runs one node in this process.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_config::{Boards, duration};
use clap::Args;
use tracing::warn;

use super::args::{BoardArgs, StateArgs};
use super::signals::{reload_signals, stop_signal};
use super::{current_thread_runtime, load_settings, process_environment, respawn, state_file};
use crate::commands::exit::Failure;
use crate::logging::Logs;
use crate::model::node_id::NodeId;
use crate::node::Node;
use crate::observe::{HttpServer, Observer};
use crate::outputs;
use crate::process::systemd::Notifier;
use crate::reload::{LoadError, OpenedBoard, Reload};
use crate::settings::api_token::ApiToken;
use crate::settings::listen_addr::ListenAddr;
use crate::settings::zookeeper_access::ZooKeeperAccess;
use crate::settings::{FleetArgs, Settings, SettingsError, boards_path, environment};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya run 1
  atalaya run greenhouse-2 --board greenhouse --zookeeper zk1:2181,zk2:2181,zk3:2181
  ZK_HOST=zoo1 API_URL=http://api:80/ SAMPLING_PERIOD=5 atalaya run 1
  atalaya run 1 --metrics-listen 127.0.0.1:9100    then: curl http://127.0.0.1:9100/readyz
  atalaya run 1 --supervised                       restart the node when it is killed or fails

The node waits until ZooKeeper is reachable. SIGHUP reloads boards.toml: sensors are replaced, while \
session and leadership continue. SIGINT and SIGTERM stop the node.

The znodes of a killed node remain until its session times out. They are deleted at once if the node is \
started again, by atalaya reap, or with --supervised. That flag runs the node in a child process, which \
stops when its parent ends. The parent forwards signals and restarts the node unless it exits with 0, \
64, 73 or 78. Under systemd the flag is not needed.

Exit codes: 0 stopped by a signal; 64 wrong usage; 69 ZooKeeper not reached within --connect-timeout, or \
the address of --metrics-listen not available; 70 internal error; 73 node id in use; 75 a cleanup of \
this node is still running; 76 TLS handshake with ZooKeeper failed, and 77 ZooKeeper refused the identity, \
within --connect-timeout; 78 wrong configuration.")]
pub(super) struct RunArgs {
    /// Node id, unique in the fleet: at most 128 bytes, without slashes or white space.
    pub(super) id: NodeId,

    #[command(flatten)]
    board: BoardArgs,

    #[command(flatten)]
    fleet: FleetArgs,

    /// Maximum time to reach ZooKeeper after the start; exits with 69 after it [default: no limit].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "Fleet")]
    connect_timeout: Option<Duration>,

    #[command(flatten)]
    pub(super) state: StateArgs,

    /// Run the node in a child process; delete its znodes and restart it when it is killed.
    #[arg(long)]
    pub(super) supervised: bool,

    /// Process id of the parent that `--supervised` made. It holds the other end of standard input.
    #[arg(long, hide = true, value_name = "PROCESS", conflicts_with = "supervised")]
    supervised_by: Option<u32>,
}

impl RunArgs {
    /// Reads the certificates and the identity for ZooKeeper.
    pub(super) fn access(&self) -> Result<ZooKeeperAccess, SettingsError> {
        let (_, settings) = load_settings(self.board.boards.as_ref(), &self.fleet)?;
        Ok(ZooKeeperAccess::read(&settings)?)
    }
}

pub(super) fn main(args: RunArgs, logs: Option<Logs>) -> Result<(), Failure> {
    let (boards, settings) = load_settings(args.board.boards.as_ref(), &args.fleet)?;
    read_token(&settings)?;
    let access = read_access(&settings)?;
    // First, because a failure here needs no cleanup.
    let listener = settings.metrics_listen.as_ref().map(listen_for_metrics).transpose()?;
    // Before the sensors are opened: another process with this id may be using them.
    let path = settings.measurement_path(args.id.as_str());
    let state_file = state_file::open(&args.state, "node", args.id.as_str(), &settings, &path)?;
    if state_file.is_none() && settings.measurements_url.is_some() {
        warn!(
            "without a state folder, samples for the collector are in memory only, and a restart loses them"
        );
    }
    let observer = listener.is_some().then(|| Observer::new(&args.id));
    // Serves until the node has stopped.
    let server =
        listener.zip(observer.clone()).map(|(listener, observer)| HttpServer::start(listener, observer));
    let _server = server.transpose().map_err(Failure::internal)?;
    let outputs = outputs::prepare(&settings, &args.id).map_err(SettingsError::from)?;
    let mut node = Node::build(args.id.clone(), args.board.board_name(), &boards, settings)?;
    node.access = access.clone();
    node.observer = observer;
    node.state_file = state_file;
    node.outputs = outputs;
    node.notifier = Notifier::from_env(&environment);
    node.logs = logs;
    // One thread is enough for the tasks of a node, and a second one costs memory on a Pi. Each bus has its own thread.
    let runtime = current_thread_runtime()?;
    runtime.block_on(async {
        let signal = stop_signal()?;
        let is_supervised = args.supervised_by.is_some();
        let stop = async move {
            tokio::select! {
                signal = signal => signal,
                () = respawn::parent_ended(), if is_supervised => "the exit of its parent process",
            }
        };
        let (sender, requests) = reload_signals()?;
        let has_file = !is_builtin(&boards);
        let file = boards_path(args.board.boards.as_ref(), process_environment());
        let file = file.map(|file| (sender, file));
        let connect_timeout = args.connect_timeout;
        node.reload = Some(Reload { requests, file, load: Arc::new(move || load(&args, has_file, &access)) });
        node.run(connect_timeout, stop).await.map_err(Failure::from)
    })
}

fn listen_for_metrics(address: &ListenAddr) -> Result<TcpListener, Failure> {
    let failed =
        |error| Failure::unavailable(anyhow!("cannot listen on {address} (--metrics-listen): {error}"));
    address.bind().map_err(failed)
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

/// Reads the certificates and the identity for ZooKeeper, and warns about missing protection.
fn read_access(settings: &Settings) -> Result<ZooKeeperAccess, SettingsError> {
    let access = ZooKeeperAccess::read(settings)?;
    for exposure in access.exposures() {
        warn!("a file with a secret for ZooKeeper is not private: {exposure}");
    }
    if !access.has_identity() && !settings.zookeeper.is_loopback() {
        let servers = &settings.zookeeper;
        warn!(
            "ZooKeeper at {servers} is not on this machine, and the connection has no identity: whoever reaches it can \
             change the znodes of the fleet (zookeeper_user, zookeeper_ca and acl protect them)"
        );
    }
    Ok(access)
}

/// Reloads the configuration with the same flags. `has_file`: at the start, a file described the boards.
fn load(
    args: &RunArgs,
    has_file: bool,
    access: &ZooKeeperAccess,
) -> Result<(OpenedBoard, Settings), LoadError> {
    // Also if boards.toml is wrong.
    access.read_again();
    let (boards, settings) = load_settings(args.board.boards.as_ref(), &args.fleet)?;
    if has_file && is_builtin(&boards) {
        // The built-in board measures random numbers, which must not replace real sensors. A file that is being
        // written may have no boards yet.
        return Err(LoadError::NoBoards);
    }
    read_token(&settings)?;
    let opened = OpenedBoard::open(args.board.board_name().as_deref(), &boards)?;
    Ok((opened, settings))
}

/// Returns true if boards.toml is missing or has no boards.
fn is_builtin(boards: &Boards) -> bool {
    boards.boards == Boards::builtin().boards
}

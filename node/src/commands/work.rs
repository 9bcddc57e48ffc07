//! `atalaya work`: a worker without sensors, which executes the tasks that the leader of the fleet assigns to it.

use std::time::Duration;

use anyhow::anyhow;
use atalaya_config::duration;
use atalaya_recipes::node_names::ContenderId;
use clap::Args;
use tokio::sync::watch;
use tracing::{info, warn};

use super::args::{BoardArgs, ConnectionArgs, StateArgs};
use super::signals::stop_signal;
use super::tools::connection::connect;
use super::{current_thread_runtime, load_settings, state_file};
use crate::commands::exit::Failure;
use crate::model::node_id::NodeId;
use crate::model::task::paths;
use crate::process::stale_sessions;
use crate::process::state_dir::{OwnProcess, StateFile, start_session};
use crate::settings::zookeeper_access::{self, ZooKeeperAccess};
use crate::settings::{Settings, SettingsError};
use crate::tasks::actions::{ActionHandles, BoardActions, Executor};
use crate::tasks::worker::{self, Worker};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya work builder-1 --board builder --zookeeper zk1:2181,zk2:2181,zk3:2181
  atalaya work w1 --boards tasks.toml              then: atalaya task submit ACTION --to w1 --wait

The actions are those of [boards.NAME.tasks] in boards.toml. The leader of the fleet, a node started with \
`atalaya run`, assigns the tasks. SIGINT and SIGTERM stop the worker: its tasks are assigned to another one. \
After kill -9 they are assigned again when its session expires, or at once after atalaya reap ID or the \
next start of the worker.

Exit codes: 0 stopped by a signal, 69 ZooKeeper unreachable, 73 id in use, 75 a cleanup of this worker is \
still running, 78 wrong configuration.")]
pub(super) struct WorkArgs {
    /// Id of the worker, unique in the fleet, also among nodes.
    id: NodeId,

    #[command(flatten)]
    board: BoardArgs,

    #[command(flatten)]
    connection: ConnectionArgs,

    #[command(flatten)]
    state: StateArgs,

    /// Maximum time at the end for the tasks in progress to stop.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "6s")]
    stop_timeout: Duration,
}

/// Maximum time for closing the session.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1_200);

pub(super) fn main(args: &WorkArgs) -> Result<(), Failure> {
    let (boards, settings) = load_settings(args.board.boards.as_ref(), &args.connection.flags.0)?;
    let (name, board) = boards.board(args.board.board_name().as_deref()).map_err(Failure::config)?;
    if board.tasks.is_none() {
        let file = boards.origin();
        return Err(Failure::config(anyhow!(
            "{file}: the board {name} allows no tasks; add the table [boards.{name}.tasks]"
        )));
    }
    let access = ZooKeeperAccess::read(&settings).map_err(SettingsError::from)?;
    let actions = BoardActions::of(name, board);
    let state_file = state_file::open(
        &args.state,
        "worker",
        args.id.as_str(),
        &settings,
        &paths::alive(args.id.as_str()),
    )?;
    current_thread_runtime()?.block_on(work(args, &settings, actions, &access, state_file))
}

async fn work(
    args: &WorkArgs,
    settings: &Settings,
    actions: BoardActions,
    access: &ZooKeeperAccess,
    state_file: Option<StateFile>,
) -> Result<(), Failure> {
    let stop = stop_signal().map_err(Failure::internal)?;
    let process = state_file.map(|file| {
        let znodes = vec![paths::alive(args.id.as_str())];
        // A worker does not contend for leadership, so no znode has this name.
        OwnProcess::add(file, znodes, &settings.election, &ContenderId::random())
    });
    let options = access.options(settings.zookeeper.clone(), settings.session_timeout);
    let session = start_session(options, process.clone());
    let handles = ActionHandles { session: Some(session.clone()), ..ActionHandles::default() };
    let executor = Executor::new(args.id.as_str(), actions, settings, handles);
    let info = watch::Sender::default();
    let worker = Worker::new(
        session.clone(),
        args.id.as_str(),
        executor.clone(),
        info.subscribe(),
        access.policy().clone(),
    );
    connect(&session, settings, args.connection.connect_timeout).await?;
    info!(id = %args.id, zookeeper = %settings.zookeeper, "starting");
    let stopped = async {
        let signal = stop.await;
        info!(signal, "stopping");
        worker.stop(args.stop_timeout).await;
    };
    let serve = async {
        // First, because the znode of a dead process with this id would look like another worker.
        if let Some(process) = &process {
            stale_sessions::clean_up_earlier_processes(&session, process).await;
        }
        worker.run().await
    };
    let outcome = tokio::select! {
        biased;
        () = stopped => Ok(()),
        conflict = serve => {
            let error = anyhow!("the id {} is in use: another process is a worker with this id: {conflict}", args.id);
            Err(Failure::id_in_use(error))
        }
        // These do not end.
        () = worker::info::follow(&executor, None, &info) => Ok(()),
        () = zookeeper_access::keep_current(access) => Ok(()),
    };
    if session.close(CLOSE_TIMEOUT).await {
        if let Some(process) = &process {
            process.remove();
        }
        info!("stopped");
    } else {
        warn!("ZooKeeper did not confirm that the session is closed; it ends after the session timeout");
    }
    outcome
}

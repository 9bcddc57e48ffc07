//! `atalaya run`: one node, in a process of its own.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::anyhow;
use atalaya_hal::{Boards, duration};
use tracing::warn;

use super::{board_name, reload_signals, stop_signal, supervised, surroundings};
use crate::cli::RunArgs;
use crate::exit::Failure;
use crate::logging::Logs;
use crate::metrics::{Metrics, Server};
use crate::node::Node;
use crate::process::state_dir::{Holder, OpenError, Purpose, StateDir, StateFile, file_stem};
use crate::process::systemd::Systemd;
use crate::reload::{Carried, Reload};
use crate::settings::api_token::ApiToken;
use crate::settings::listen_addr::ListenAddr;
use crate::settings::{Settings, environment, load_boards};

pub(super) fn main(args: RunArgs, logs: Option<Logs>) -> Result<(), Failure> {
    let boards = load_boards(args.board.boards.as_ref(), surroundings())?;
    let settings = Settings::assemble(&args.fleet, &boards, surroundings())?;
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
    let metrics = if listener.is_some() { Metrics::of(&args.id) } else { Metrics::default() };
    // It answers until the node has ended.
    let start = |listener| Server::start(listener, &metrics).map_err(Failure::software);
    let _server = listener.map(start).transpose()?;
    let node = Node::build(args.id.clone(), board_name(&args.board), &boards, settings)?.watched(metrics);
    // One thread is enough for what a node does, and on a Pi two would cost memory; buses have threads of their own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
    runtime.block_on(async {
        let signal = stop_signal().map_err(Failure::software)?;
        let is_supervised = args.supervised_by.is_some();
        let stop = async move {
            let orphaned = async {
                if !is_supervised {
                    std::future::pending::<()>().await;
                }
                supervised::orphaned().await;
            };
            tokio::select! {
                signal = signal => signal,
                () = orphaned => "the end of its parent",
            }
        };
        let asked = reload_signals().map_err(Failure::software)?;
        let described = !is_builtin(&boards);
        let reload = Reload { asked, load: Arc::new(move || load(&args, described)) };
        let node = node.reload(reload).supervised(Systemd::of(&environment)).remembered(remembrance);
        let node = match logs {
            Some(logs) => node.logs(logs),
            None => node,
        };
        node.run(connect_timeout, stop).await
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
    let folder = match StateDir::find(args.state.state_dir.as_ref(), surroundings()) {
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
                Purpose::Run => Failure::taken(anyhow!(
                    "the node id {id} is taken: {process} on this machine is that node; stop it, or give this node another id"
                )),
                Purpose::CleanUp => {
                    Failure::not_now(anyhow!("{process} clears up after node {id}, and comes to no end"))
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

fn read_token(settings: &Settings) -> Result<(), Failure> {
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
fn load(args: &RunArgs, described: bool) -> Result<(Carried, Settings), Failure> {
    let boards = load_boards(args.board.boards.as_ref(), surroundings())?;
    if described && is_builtin(&boards) {
        // Nobody whose board measured something means random numbers; a file that is just being written has no boards.
        return Err(Failure::config(anyhow!("boards.toml is gone, or describes no board any more")));
    }
    let settings = Settings::assemble(&args.fleet, &boards, surroundings())?;
    read_token(&settings)?;
    let carried = Carried::open(board_name(&args.board).as_deref(), &boards)?;
    Ok((carried, settings))
}

/// Whether these are the boards of whoever has no boards.toml, or one without boards.
fn is_builtin(boards: &Boards) -> bool {
    boards.boards == Boards::builtin().boards
}

//! Reload at SIGHUP: reads boards.toml again and replaces sensors and settings of the running node. Session, znodes and
//! leadership stay.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use atalaya_config::{Boards, BoardsError};
use atalaya_hal::OpenError;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::dynamic_config::DynamicConfig;
use crate::process::systemd::Notifier;
use crate::sampling::{self, Sensors};
use crate::settings::{Settings, SettingsError};
use crate::tasks::actions::{BoardActions, Executor, ReloadRequest};

/// A board whose sensors are open.
#[derive(Debug)]
pub(crate) struct OpenedBoard {
    /// Name of the board in boards.toml.
    pub(crate) name: String,
    /// Group of its nodes.
    pub(crate) group: Option<String>,
    /// Its sensors, with one thread per bus.
    pub(crate) sensors: Sensors,
    /// The actions that it allows.
    pub(crate) actions: BoardActions,
}

/// Error of `OpenedBoard::open`.
#[derive(Debug, thiserror::Error)]
pub enum OpenBoardError {
    /// No such board.
    #[error(transparent)]
    Board(#[from] BoardsError),
    /// A sensor needs something that this machine or this build does not have.
    #[error(transparent)]
    Sensor(#[from] OpenError),
    /// The operating system refuses a thread for a bus.
    #[error("cannot start the thread of a bus: {0}")]
    Thread(io::Error),
}

impl OpenedBoard {
    /// Opens the board with this name. `None`: the only board, or the one called `default`.
    ///
    /// # Errors
    /// See [`OpenBoardError`].
    pub(crate) fn open(name: Option<&str>, boards: &Boards) -> Result<OpenedBoard, OpenBoardError> {
        let (name, board) = boards.board(name)?;
        let buses = sampling::open(board, &boards.base_dir)?;
        let sensors = Sensors::start(buses).map_err(OpenBoardError::Thread)?;
        let (name, group) = (name.to_owned(), board.group.clone());
        Ok(OpenedBoard { group, sensors, actions: BoardActions::of(&name, board), name })
    }
}

/// Error of reading the configuration again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Open(#[from] OpenBoardError),
    /// A file described the boards when the node started, and does not any more.
    #[error("boards.toml is missing or no longer describes a board")]
    NoBoards,
    #[error("cannot start a thread to read the configuration: {0}")]
    Thread(io::Error),
    /// The thread that reads the configuration panicked; the panic is in the log.
    #[error("reading the configuration panicked")]
    Panicked,
}

/// Reads the current configuration; may block.
pub(crate) type Load = dyn Fn() -> Result<(OpenedBoard, Settings), LoadError> + Send + Sync;

/// Requests to reload, and the function that reads the configuration.
pub(crate) struct Reload {
    /// One message per request. Signals that arrive while one is served count as one.
    pub(crate) requests: mpsc::Receiver<ReloadRequest>,
    /// Sender of requests, and the file that is read; `None` without a file.
    pub(crate) file: Option<(mpsc::Sender<ReloadRequest>, PathBuf)>,
    pub(crate) load: Arc<Load>,
}

/// Serves requests until dropped. `board` and `group`, `executor` and `sensors` receive the new board; `config` the new
/// settings.
///
/// # Cancellation safety
/// The result of a reload in progress is discarded.
pub(crate) async fn serve(
    reload: Option<Reload>,
    notifier: &Notifier,
    config: &DynamicConfig,
    (board, group): (&watch::Sender<String>, &watch::Sender<Option<String>>),
    executor: &Executor,
    sensors: mpsc::Sender<Sensors>,
) {
    let Some(Reload { mut requests, load, file: _requests }) = reload else {
        return std::future::pending().await;
    };
    while let Some(reply) = requests.recv().await {
        notifier.reloading().await;
        // Boxed: it is rarely needed and takes much memory.
        let result = Box::pin(apply(&load, config, (board, group), executor, &sensors)).await;
        if let Err(error) = &result {
            warn!("the new configuration is rejected, keeping the current one: {error}");
        }
        let result = result.map_err(|error| error.to_string());
        if let Some(reply) = reply {
            let _ = reply.send(result);
        }
        // systemd waits for this after an error as well.
        notifier.notify("READY=1").await;
    }
    std::future::pending().await
}

/// Loads the configuration and applies it.
async fn apply(
    load: &Arc<Load>,
    config: &DynamicConfig,
    (board, group): (&watch::Sender<String>, &watch::Sender<Option<String>>),
    executor: &Executor,
    sensors: &mpsc::Sender<Sensors>,
) -> Result<(), LoadError> {
    let (opened, new) = load_in_thread(load).await?;
    apply_settings(config, &new);
    let names: Vec<&str> = opened.sensors.infos().map(|info| info.name.as_str()).collect();
    info!(board = opened.name, sensors = names.join(", "), "configuration reloaded");
    board.send_if_modified(|name| std::mem::replace(name, opened.name.clone()) != opened.name);
    group.send_if_modified(|group| std::mem::replace(group, opened.group.clone()) != opened.group);
    executor.replace(opened.actions);
    // The receiver lives as long as the node.
    let _ = sensors.send(opened.sensors).await;
    Ok(())
}

/// Replaces the node's own settings, except for those that only a restart can change.
fn apply_settings(config: &DynamicConfig, new: &Settings) {
    let current = config.base();
    let fixed = current.fixed_changes(new);
    if !fixed.is_empty() {
        warn!("changed in the configuration, but takes effect only after a restart: {}", fixed.join(", "));
    }
    let next = current.reloaded(new);
    if current != next {
        let effective = config.set_base(next);
        info!(period = ?effective.sampling_period, api = effective.api_url.is_some(), "applied the new settings");
    }
}

/// Loads the configuration in a separate thread, because the disk may hang. The end of the node does not wait for that
/// thread.
async fn load_in_thread(load: &Arc<Load>) -> Result<(OpenedBoard, Settings), LoadError> {
    let (sender, receiver) = oneshot::channel();
    let load = load.clone();
    let thread = std::thread::Builder::new().name("reload".to_owned());
    thread.spawn(move || drop(sender.send(load()))).map_err(LoadError::Thread)?;
    receiver.await.map_err(|_| LoadError::Panicked)?
}

//! Reads boards.toml again while a node runs, when somebody asks for it (SIGHUP), and puts new sensors in the place of the
//! old ones. Session, znodes and leadership are not touched.

use std::sync::Arc;
use std::{fmt, io};

use atalaya_hal::{Boards, BoardsError, OpenError};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::dynamic_config::DynamicConfig;
use crate::process::systemd::Notifier;
use crate::sampling::{self, Sensors};
use crate::settings::{Settings, SettingsError};

/// Error of [`Carried::open`].
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

/// Error of reading the configuration again.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Wrong settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Board that cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenBoardError),
    /// A file described the boards when the node started, and does not any more.
    #[error("boards.toml is missing or no longer describes a board")]
    NoBoards,
    /// The operating system refuses a thread.
    #[error("cannot start a thread to read the configuration: {0}")]
    Thread(io::Error),
    /// The thread that reads the configuration panicked; the panic is in the log.
    #[error("reading the configuration panicked")]
    Panicked,
}

/// What a board carries, opened.
#[derive(Debug)]
pub struct Carried {
    /// The board's name.
    pub board: String,
    /// Its sensors, with a thread for each bus.
    pub sensors: Sensors,
}

impl Carried {
    /// Opens the board called `name`.
    ///
    /// # Errors
    /// There is no such board, it asks for what this machine or this build cannot give, or there are no more threads.
    pub fn open(name: Option<&str>, boards: &Boards) -> Result<Carried, OpenBoardError> {
        let (board, carries) = boards.board(name)?;
        let buses = sampling::open(carries, &boards.base_dir)?;
        let sensors = Sensors::start(buses).map_err(OpenBoardError::Thread)?;
        Ok(Carried { board: board.to_owned(), sensors })
    }
}

/// What gives the configuration as it is now; may block.
pub type Load = dyn Fn() -> Result<(Carried, Settings), LoadError> + Send + Sync;

/// When to read the configuration again, and how.
pub struct Reload {
    /// A message for each time. Several that come while one is being served count as one.
    pub asked: mpsc::Receiver<()>,
    /// How.
    pub load: Arc<Load>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

/// The parts of a running node that take over what is new.
pub(crate) struct Adopt<'a> {
    /// Who measures.
    pub(crate) exchange: mpsc::Sender<Sensors>,
    /// What the node is told.
    pub(crate) live: &'a DynamicConfig,
    /// Who says which board this is.
    pub(crate) board: &'a watch::Sender<String>,
}

/// Serves until it is dropped.
///
/// # Cancellation safety
/// What is being loaded is dropped when it comes; the node goes on as it is.
pub(crate) async fn serve(
    reload: Option<Reload>,
    settings: &Settings,
    notifier: &Notifier,
    adopt: Adopt<'_>,
) {
    let Some(Reload { mut asked, load }) = reload else { return std::future::pending().await };
    let mut running = settings.clone();
    while asked.recv().await.is_some() {
        notifier.reloading().await;
        match loaded(&load).await {
            Ok((carried, new)) => adopt.take(carried, &mut running, new).await,
            Err(failure) => warn!("the new configuration is refused, the old one stays: {failure}"),
        }
        notifier.ready().await;
    }
    std::future::pending().await
}

/// In a thread of its own, because files may be on disks that hang. Nobody waits for that thread when the node ends.
async fn loaded(load: &Arc<Load>) -> Result<(Carried, Settings), LoadError> {
    let (give, given) = oneshot::channel();
    let load = load.clone();
    let thread = std::thread::Builder::new().name("reload".to_owned());
    thread.spawn(move || drop(give.send(load()))).map_err(LoadError::Thread)?;
    // A thread that gives nothing has panicked, and said so.
    given.await.map_err(|_| LoadError::Panicked)?
}

impl Adopt<'_> {
    async fn take(&self, carried: Carried, running: &mut Settings, new: Settings) {
        let fixed = running.fixed_that_differ(&new);
        if !fixed.is_empty() {
            let fixed = fixed.join(", ");
            warn!("{fixed}: changed in the configuration, but only a restart of this node can follow");
        }
        let next = Settings {
            sampling_period: new.sampling_period,
            api_url: new.api_url,
            api_method: new.api_method,
            api_token: new.api_token,
            api_origins: new.api_origins,
            sync: new.sync,
            release: new.release,
            counter: new.counter,
            ..running.clone()
        };
        if *running != next {
            let live = self.live.rebase(next.clone());
            info!(period = ?live.sampling_period, api = live.api_url.is_some(), "follows the new settings");
            *running = next;
        }
        let Carried { board, sensors } = carried;
        let names: Vec<&str> = sensors.infos().map(|info| info.name.as_str()).collect();
        info!(board, sensors = names.join(", "), "the configuration was read again; measuring with");
        self.board.send_if_modified(|known| {
            let renamed = *known != board;
            *known = board;
            renamed
        });
        // Its receiver ends with the node only.
        let _ = self.exchange.send(sensors).await;
    }
}

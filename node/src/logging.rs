//! Logs: to stderr, through `tracing`, as text or JSON lines. What is let through can be changed while a program runs.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use clap::ValueEnum;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged when nothing else is asked for. The client crate reports every connection of its own accord; what of
/// it matters is said by the session, once.
const DEFAULT_FILTER: &str = "info,zookeeper_client=error";

/// What is let through by `filter`, as in `tracing`: `debug`, or `info,atalaya_recipes=debug`.
///
/// # Errors
/// The filter is not one.
pub fn filter(filter: Option<&str>) -> Result<EnvFilter, String> {
    let text = match filter {
        // A bare level is for our own crates; the client stays quiet below it.
        Some(level) if level.parse::<LevelFilter>().is_ok() => format!("{level},zookeeper_client=error"),
        Some(filter) => filter.to_owned(),
        None => DEFAULT_FILTER.to_owned(),
    };
    EnvFilter::try_new(&text).map_err(|error| {
        format!("bad log filter \"{text}\": {error}; expected a level such as debug, or target=level pairs")
    })
}

/// The hand on a log that runs. Clones are the same hand.
#[derive(Clone)]
pub struct Logs {
    start: EnvFilter,
    turn: Arc<dyn Fn(EnvFilter) + Send + Sync>,
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

impl Logs {
    /// From now on what `filter` says is let through; `None`: what was at the start.
    ///
    /// # Errors
    /// The filter is not one, and nothing changes.
    pub fn follow(&self, filter: Option<&str>) -> Result<(), String> {
        let filter = match filter {
            Some(text) => self::filter(Some(text))?,
            None => self.start.clone(),
        };
        (self.turn)(filter);
        Ok(())
    }
}

/// Starts logging.
///
/// # Errors
/// The filter is not one; see [`filter`].
pub fn start(format: LogFormat, filter: Option<&str>) -> Result<Logs, String> {
    let start = self::filter(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(start.clone()).with_writer(std::io::stderr);
    // Logging may be running already when a test calls twice in one process; the first stays, and this hand moves nothing.
    let turn: Arc<dyn Fn(EnvFilter) + Send + Sync> = match format {
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal();
            let builder = builder.with_ansi(ansi).with_target(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Arc::new(move |filter| drop(handle.reload(filter)))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Arc::new(move |filter| drop(handle.reload(filter)))
        }
    };
    Ok(Logs { start, turn })
}

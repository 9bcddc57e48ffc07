//! Logs: to stderr, through `tracing`, as text or JSON lines.

use std::io::IsTerminal;

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

/// Starts logging.
///
/// # Errors
/// The filter is not one; see [`filter`].
pub fn start(format: LogFormat, filter: Option<&str>) -> Result<(), String> {
    let filter = self::filter(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Logging may be running already when a test calls twice in one process; the first stays.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

//! Logs: to stderr, through `tracing`, as text or JSON lines. The filter can be changed while a program runs. A
//! stderr that takes nothing costs lines and nothing else: see [`lines_lost`].

mod filter;
mod writer;

use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use filter::filter;
pub use writer::lines_lost;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Maximum time for writing the last lines when the process ends.
const END: Duration = Duration::from_millis(500);
/// Whether lines are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);

/// Handle to the filter of a running log. Clones share it.
#[derive(Clone)]
pub struct Logs {
    start: Targets,
    filter: reload::Handle<Targets, Registry>,
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

impl Logs {
    /// Replaces the filter; `None` restores the one from the start.
    ///
    /// # Errors
    /// The filter is malformed, and nothing changes.
    pub fn follow(&self, filter: Option<&str>) -> Result<(), String> {
        let filter = match filter {
            Some(text) => self::filter(Some(text))?,
            None => self.start.clone(),
        };
        // It fails if the subscriber is gone, and then nothing is logged.
        let _ = self.filter.reload(filter);
        Ok(())
    }
}

/// Starts logging.
///
/// # Errors
/// The filter is malformed; see [`filter()`].
pub fn start(format: LogFormat, filter: Option<&str>) -> Result<Logs, String> {
    let start = self::filter(filter)?;
    let (reloadable, handle) = reload::Layer::new(start.clone());
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    // Without `log_internal_errors`: it prints with `eprintln!`, which panics if stderr fails.
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(move || writer::Lines { terminal });
    let lines = lines.log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(terminal).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // A test may call this twice in one process: the first subscriber stays, and the second handle has no effect.
    let _ = tracing_subscriber::registry().with(reloadable).with(lines).try_init();
    Ok(Logs { start, filter: handle })
}

/// Writes `text` to stderr unchanged, after all log lines, and waits up to half a second for them: stderr may be a pipe that
/// is not read. Called at the end of the process.
pub fn conclude(text: &str) {
    if !text.is_empty() {
        writer::put(text.as_bytes());
    }
    writer::flush(END);
}

/// Like [`conclude`], in the format of the log. It works while the process panics: it does not use `tracing`.
pub(crate) fn conclude_with_error(message: &str) {
    let time = jiff::Timestamp::now();
    let line = if JSON.load(Ordering::Relaxed) {
        serde_json::json!({"timestamp": time.to_string(), "level": "ERROR", "message": message}).to_string()
    } else {
        format!("{time} ERROR {message}")
    };
    conclude(&(line + "\n"));
}

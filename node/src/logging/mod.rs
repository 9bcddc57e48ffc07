//! Log to stderr, through `tracing`, as text or JSON lines. The filter can be changed at run time. If stderr blocks
//! or fails, log lines are dropped and counted ([`lines_lost`]); the program is not affected.

mod filter;
mod writer;

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

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Maximum time for writing the last lines when the process ends.
const FINISH_TIMEOUT: Duration = Duration::from_millis(500);
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Handle to the filter of the log. Clones share the filter.
#[derive(Clone, Debug)]
pub struct Logs {
    initial: Targets,
    filter: reload::Handle<Targets, Registry>,
}

impl Logs {
    /// Replaces the filter. `None` restores the initial one. A malformed filter is an error and changes nothing.
    pub(crate) fn set_filter(&self, filter: Option<&str>) -> Result<(), String> {
        let filter = filter.map_or_else(|| Ok(self.initial.clone()), |text| self::filter(Some(text)))?;
        // This fails only if the subscriber was dropped, which ends the log.
        let _ = self.filter.reload(filter);
        Ok(())
    }
}

/// Starts logging. Fails if the filter is malformed.
pub(crate) fn start(format: LogFormat, filter: Option<&str>) -> Result<Logs, String> {
    let initial = self::filter(filter)?;
    let (reloadable, handle) = reload::Layer::new(initial.clone());
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    // `log_internal_errors` is off, because it prints with `eprintln!`, which panics if stderr fails.
    let terminal = std::io::stderr().is_terminal();
    let has_colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer().with_writer(move || writer::Lines { terminal });
    let lines = lines.log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(has_colours).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Fails if a test calls this twice in one process. The first subscriber remains, and the second handle has no
    // effect.
    let _ = tracing_subscriber::registry().with(reloadable).with(lines).try_init();
    Ok(Logs { initial, filter: handle })
}

/// Writes all log lines and then `text`, unchanged, to stderr. Waits at most 500 ms, because stderr may be a pipe
/// that is not read. Must be called at the end of the process.
pub(crate) fn finish(text: &str) {
    if !text.is_empty() {
        writer::put(text.as_bytes());
    }
    writer::flush(FINISH_TIMEOUT);
}

/// As [`finish`], with an error line in the format of the log. Does not use `tracing`, so that it works during a panic.
pub(crate) fn finish_with_error(message: &str) {
    let time = jiff::Timestamp::now();
    let line = if IS_JSON.load(Ordering::Relaxed) {
        serde_json::json!({"timestamp": time.to_string(), "level": "ERROR", "message": message}).to_string()
    } else {
        format!("{time} ERROR {message}")
    };
    finish(&(line + "\n"));
}

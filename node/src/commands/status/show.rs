//! Output of `atalaya status`: lines for a pipe or a terminal, or, with `--watch` on a terminal, the alternate screen.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Instant;

use crate::commands::args::Output;
use crate::commands::exit::Failure;
use crate::commands::stdout::StdoutThread;
use crate::fleet_status::{FleetStatus, StyledLine, render_lines, render_table};
use crate::settings::environment;

/// Maximum number of nodes in a table that is not limited by a screen.
const MAX_NODES: usize = 100_000;
/// Rows of the screen that are kept free for the lines about the whole fleet.
const SUMMARY_ROWS: usize = 10;

pub(super) struct StatusOutput {
    format: Output,
    colours: bool,
    watch: bool,
    stdout: Arc<StdoutThread>,
    screen: Option<Screen>,
    /// Last status and the time of its output.
    last: Option<(Vec<StyledLine>, Instant)>,
}

impl StatusOutput {
    /// Returns an output for one status, or with `watch` for any number.
    pub(super) fn new(format: Output, watch: bool) -> Result<StatusOutput, Failure> {
        let stdout = Arc::new(StdoutThread::start()?);
        let is_terminal = io::stdout().is_terminal();
        let colours = is_terminal && environment("NO_COLOR").is_none_or(|value| value.is_empty());
        let uses_screen = watch && is_terminal && format == Output::Table;
        let screen = uses_screen.then(|| Screen::enter(&stdout)).flatten();
        Ok(StatusOutput { format, colours, watch, stdout, screen, last: None })
    }

    /// Shows a status. Returns false if stdout is a closed pipe.
    pub(super) async fn show(&mut self, status: &FleetStatus) -> Result<bool, Failure> {
        let text = match self.format {
            Output::Json => to_json(status) + "\n",
            Output::Table => {
                let max_nodes = match &self.screen {
                    Some(_) => screen_size().1.saturating_sub(SUMMARY_ROWS).max(1),
                    None => MAX_NODES,
                };
                let lines = render_table(status, max_nodes);
                let text = self.render(&lines, None);
                self.last = Some((lines, Instant::now()));
                text
            }
        };
        self.stdout.print(text).await
    }

    /// Shows that ZooKeeper does not respond: below the last status on a screen, otherwise in the log.
    pub(super) async fn show_unreachable(&mut self) -> Result<bool, Failure> {
        let age = self.last.as_ref().map(|(_, at)| at.elapsed().as_secs());
        let message = match age {
            Some(seconds) => format!("ZooKeeper does not respond; this status is {seconds} s old"),
            None => "ZooKeeper does not respond".to_owned(),
        };
        if self.screen.is_none() {
            tracing::error!("{message}");
            return Ok(true);
        }
        let lines = self.last.as_ref().map(|(lines, _)| lines.clone()).unwrap_or_default();
        self.stdout.print(self.render(&lines, Some(&message))).await
    }

    fn render(&self, lines: &[StyledLine], message: Option<&str>) -> String {
        if self.screen.is_none() {
            // Statuses in a pipe are separated by empty lines.
            let gap = if self.watch && self.last.is_some() { "\n" } else { "" };
            return format!("{gap}{}", render_lines(lines, self.colours));
        }
        let (width, height) = screen_size();
        // Each line is overwritten in place and the rest of it erased. Erasing the screen first would flicker.
        let mut text = "\x1b[H".to_owned();
        let texts = lines.iter().map(|line| line.render(width, self.colours));
        let message = message.map(|message| message.chars().take(width).collect());
        let rows: Vec<String> = texts.chain(message).take(height).collect();
        text.push_str(&rows.join("\x1b[K\r\n"));
        text.push_str("\x1b[K\x1b[J");
        text
    }
}

#[expect(clippy::expect_used, reason = "strings and finite numbers can always be serialised")]
fn to_json(status: &FleetStatus) -> String {
    serde_json::to_string(status).expect("a fleet status can be serialised")
}

/// Enters the alternate screen and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Undoes [`ENTER`].
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// The alternate screen of the terminal. Dropping it restores the normal one.
struct Screen {
    stdout: Arc<StdoutThread>,
}

impl Screen {
    /// Returns `None` if the size of the terminal is unknown.
    fn enter(stdout: &Arc<StdoutThread>) -> Option<Screen> {
        terminal_size()?;
        stdout.finish(ENTER);
        Some(Screen { stdout: Arc::clone(stdout) })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.stdout.finish(LEAVE);
    }
}

/// Returns the columns and rows of the screen.
fn screen_size() -> (usize, usize) {
    terminal_size().map_or((80, 24), |(columns, rows)| (columns.into(), rows.into()))
}

/// Returns the columns and rows of the terminal.
#[cfg(feature = "demo")]
fn terminal_size() -> Option<(u16, u16)> {
    crossterm::terminal::size().ok()
}

/// Returns `None`: builds without the demo have no terminal library, and never use the alternate screen.
#[cfg(not(feature = "demo"))]
fn terminal_size() -> Option<(u16, u16)> {
    None
}

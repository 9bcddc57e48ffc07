//! Output of `atalaya status`: lines for a pipe or a terminal, or, with `--watch` on a terminal, the alternate screen.

use std::io::{self, IsTerminal as _};
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
    stdout: StdoutThread,
    /// True while the alternate screen is shown.
    uses_screen: bool,
    /// Last status and the time of its output.
    last: Option<(Vec<StyledLine>, Instant)>,
}

impl StatusOutput {
    /// Returns an output for one status, or with `watch` for any number.
    pub(super) fn new(format: Output, watch: bool) -> Result<StatusOutput, Failure> {
        let stdout = StdoutThread::start()?;
        let is_terminal = io::stdout().is_terminal();
        let colours = is_terminal && environment("NO_COLOR").is_none_or(|value| value.is_empty());
        let uses_screen = watch && is_terminal && format == Output::Table && terminal_size().is_some();
        if uses_screen {
            stdout.finish(ENTER);
        }
        Ok(StatusOutput { format, colours, stdout, uses_screen, last: None })
    }

    /// Shows a status. Returns false if stdout is a closed pipe.
    pub(super) async fn show(&mut self, status: &FleetStatus) -> Result<bool, Failure> {
        let text = match self.format {
            Output::Json => serde_json::to_string(status).map_err(Failure::internal)? + "\n",
            Output::Table => {
                let rows = self.uses_screen.then(|| screen_size().1.saturating_sub(SUMMARY_ROWS).max(1));
                let lines = render_table(status, rows.unwrap_or(MAX_NODES));
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
        if !self.uses_screen {
            tracing::error!("{message}");
            return Ok(true);
        }
        let lines = self.last.as_ref().map(|(lines, _)| lines.clone()).unwrap_or_default();
        self.stdout.print(self.render(&lines, Some(&message))).await
    }

    fn render(&self, lines: &[StyledLine], message: Option<&str>) -> String {
        if !self.uses_screen {
            // Statuses in a pipe are separated by empty lines.
            let gap = if self.last.is_some() { "\n" } else { "" };
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

/// Enters the alternate screen and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Undoes [`ENTER`].
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

impl Drop for StatusOutput {
    fn drop(&mut self) {
        if self.uses_screen {
            self.stdout.finish(LEAVE);
        }
    }
}

/// Returns the columns and rows of the screen.
fn screen_size() -> (usize, usize) {
    terminal_size().map_or((80, 24), |(columns, rows)| (columns.into(), rows.into()))
}

/// Returns the columns and rows of the terminal, or `None` if they are unknown.
#[cfg(feature = "demo")]
fn terminal_size() -> Option<(u16, u16)> {
    crossterm::terminal::size().ok()
}

/// Returns `None`: builds without the demo have no terminal library, and never use the alternate screen.
#[cfg(not(feature = "demo"))]
fn terminal_size() -> Option<(u16, u16)> {
    None
}

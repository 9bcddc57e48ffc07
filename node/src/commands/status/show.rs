//! Where the status goes: a pipe, a terminal, or, with `--watch`, a screen that is drawn over and given back at the end.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Instant;

use crate::commands::args::Output;
use crate::commands::exit::Failure;
use crate::commands::stdout::StdoutThread;
use crate::fleet_status::{FleetStatus, Line, block, table};
use crate::settings::environment;

/// Most nodes of a table that nobody can scroll.
const MOST: usize = 100_000;

/// Shows one status after another.
pub(super) struct Show {
    output: Output,
    colours: bool,
    watch: bool,
    printer: Arc<StdoutThread>,
    screen: Option<Screen>,
    /// What was shown last, and when.
    last: Option<(Vec<Line>, Instant)>,
}

impl Show {
    /// With `watch` there is more than one to come.
    pub(super) fn new(output: Output, watch: bool) -> Result<Show, Failure> {
        let printer = Arc::new(StdoutThread::start()?);
        let terminal = io::stdout().is_terminal();
        let colours = terminal && environment("NO_COLOR").is_none_or(|value| value.is_empty());
        let screen = (watch && terminal && output == Output::Table).then(|| Screen::take(&printer)).flatten();
        Ok(Show { output, colours, watch, printer, screen, last: None })
    }

    /// Shows it. False when nobody reads any more.
    pub(super) async fn overview(&mut self, overview: &FleetStatus) -> Result<bool, Failure> {
        let text = match self.output {
            // Strings and finite numbers only: this cannot fail.
            Output::Json => serde_json::to_string(overview).unwrap_or_default() + "\n",
            Output::Table => {
                // A few lines are about the whole fleet, one may say that there are more.
                let most =
                    self.screen.as_ref().map_or(MOST, |screen| screen.rows().saturating_sub(10).max(1));
                let lines = table(overview, most);
                let text = self.drawn(&lines, None);
                self.last = Some((lines, Instant::now()));
                text
            }
        };
        self.printer.print(text).await
    }

    /// Says that there was no answer.
    pub(super) async fn nothing(&mut self) -> Result<bool, Failure> {
        let since = self.last.as_ref().map(|(_, at)| at.elapsed().as_secs());
        let said = match since {
            Some(seconds) => format!("ZooKeeper does not answer; this was seen {seconds} s ago"),
            None => "ZooKeeper does not answer".to_owned(),
        };
        if self.screen.is_none() {
            tracing::error!("{said}");
            return Ok(true);
        }
        let lines = self.last.as_ref().map(|(lines, _)| lines.clone()).unwrap_or_default();
        self.printer.print(self.drawn(&lines, Some(&said))).await
    }

    fn drawn(&self, lines: &[Line], said: Option<&str>) -> String {
        let Some(screen) = &self.screen else {
            // One block after the other.
            let gap = if self.watch && self.last.is_some() { "\n" } else { "" };
            return format!("{gap}{}", block(lines, self.colours));
        };
        let width = screen.columns();
        // Drawn over, line by line, so that nothing flickers.
        let mut text = "\x1b[H".to_owned();
        let texts = lines.iter().map(|line| line.text(width, self.colours));
        let said = said.map(|said| said.chars().take(width).collect());
        let all: Vec<String> = texts.chain(said).take(screen.rows()).collect();
        text.push_str(&all.join("\x1b[K\r\n"));
        text.push_str("\x1b[K\x1b[J");
        text
    }
}

/// The terminal's other screen; dropping it gives back the one that was there.
struct Screen {
    #[cfg_attr(not(feature = "demo"), expect(dead_code, reason = "there, no screen is taken"))]
    printer: Arc<StdoutThread>,
}

#[cfg(feature = "demo")]
impl Screen {
    fn take(printer: &Arc<StdoutThread>) -> Option<Screen> {
        use crossterm::cursor::Hide;
        use crossterm::terminal::EnterAlternateScreen;

        crossterm::terminal::size().ok()?;
        let mut enter = Vec::new();
        crossterm::queue!(enter, EnterAlternateScreen, Hide).ok()?;
        printer.conclude(enter);
        Some(Screen { printer: Arc::clone(printer) })
    }

    fn rows(&self) -> usize {
        crossterm::terminal::size().map_or(24, |(_, rows)| rows.into())
    }

    fn columns(&self) -> usize {
        crossterm::terminal::size().map_or(80, |(columns, _)| columns.into())
    }
}

#[cfg(feature = "demo")]
impl Drop for Screen {
    fn drop(&mut self) {
        let mut leave = Vec::new();
        // Writing to memory does not fail.
        let _ = crossterm::queue!(leave, crossterm::cursor::Show, crossterm::terminal::LeaveAlternateScreen);
        self.printer.conclude(leave);
    }
}

/// Builds without the demo know nothing of terminals.
#[cfg(not(feature = "demo"))]
impl Screen {
    fn take(_: &Arc<StdoutThread>) -> Option<Screen> {
        None
    }

    fn rows(&self) -> usize {
        24
    }

    fn columns(&self) -> usize {
        80
    }
}

//! The terminal: taken, and given back however the demo ends.

use std::io::{self, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossterm::cursor::Show;
use crossterm::event::EventStream;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};

use super::state::State;
use super::view::{self, Sight};

/// Whether the terminal is ours at the moment.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, as long as it is ours. Dropping it gives it back.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    pub(super) sight: Sight,
    pub(super) events: EventStream,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn take() -> io::Result<Screen> {
        TAKEN.store(true, Ordering::Relaxed);
        // From here on, whatever fails gives it back.
        let given_back = |error| {
            give_back();
            error
        };
        enable_raw_mode().map_err(given_back)?;
        crossterm::execute!(io::stdout(), EnterAlternateScreen).map_err(given_back)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).map_err(given_back)?;
        Ok(Screen { terminal, sight: Sight::default(), events: EventStream::new() })
    }

    pub(super) fn draw(&mut self, state: &State) -> io::Result<()> {
        let sight = &mut self.sight;
        self.terminal.draw(|frame| view::draw(frame, state, sight, Instant::now())).map(|_| ())
    }

    /// Draws everything anew with the next frame, whatever others have written over it.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        // Not `clear`: that asks the terminal where its cursor is, and whoever reads keys may get the answer.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    if TAKEN.swap(false, Ordering::Relaxed) {
        // There is nobody left to tell what fails here.
        let _ = crossterm::execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// From now on a panic of this thread gives the terminal back before it is reported. One of another thread, a node's, is
/// an event like others: it must not write over the screen.
pub(super) fn guard_against_panics() {
    let here = std::thread::current().id();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == here {
            give_back();
            report(panic);
        } else {
            tracing::error!("a defect: {panic}");
        }
    }));
}

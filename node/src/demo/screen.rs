//! The terminal. Its original state is restored when the demo ends, for any reason.

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
use super::view::{self, ViewState};

/// True while the terminal is in raw mode.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// The terminal in raw mode, with the alternate screen. Restored when dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    pub(super) view: ViewState,
    pub(super) events: EventStream,
}

impl Screen {
    /// Switches the terminal to raw mode and the alternate screen.
    pub(super) fn enter() -> io::Result<Screen> {
        IN_USE.store(true, Ordering::Relaxed);
        // From here on, each error must restore the terminal.
        let restored = |error| {
            restore();
            error
        };
        enable_raw_mode().map_err(restored)?;
        crossterm::execute!(io::stdout(), EnterAlternateScreen).map_err(restored)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).map_err(restored)?;
        Ok(Screen { terminal, view: ViewState::default(), events: EventStream::new() })
    }

    pub(super) fn draw(&mut self, state: &State) -> io::Result<()> {
        let view = &mut self.view;
        self.terminal.draw(|frame| view::draw(frame, state, view, Instant::now())).map(|_| ())
    }

    /// Redraws everything with the next frame, in case another program has written to the terminal.
    pub(super) fn force_redraw(&mut self) -> io::Result<()> {
        // Not `clear`: that asks the terminal for the position of its cursor, and the reader of the keys may get the
        // answer.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if IN_USE.swap(false, Ordering::Relaxed) {
        // Errors cannot be reported, because the terminal is the place for reports.
        let _ = crossterm::execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Makes a panic of this thread restore the terminal before the panic is reported. A panic of another thread, a
/// node's, becomes a log line instead: it must not be written over the screen.
pub(super) fn install_panic_hook() {
    let main_thread = std::thread::current().id();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == main_thread {
            restore();
            report(panic);
        } else {
            tracing::error!("panic: {panic}");
        }
    }));
}

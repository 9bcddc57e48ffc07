//! Several programs talking on one terminal: a prefix says who, a colour helps to see it.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use tokio::sync::Notify;

/// Colours that are told apart on dark and light ground; the first is for what is no node.
const COLOURS: [u8; 7] = [90, 36, 33, 35, 32, 34, 31];

/// Standard output, line by line. Clones write to the same one.
#[derive(Clone)]
pub(crate) struct Console {
    coloured: bool,
    /// Columns of the prefix.
    width: usize,
    /// Told when nobody reads the output any more.
    deaf: Arc<Notify>,
}

impl Console {
    /// Colours only on a terminal, and not where NO_COLOR is set.
    pub(crate) fn new(width: usize) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { coloured: wanted && io::stdout().is_terminal(), width, deaf: Arc::new(Notify::new()) }
    }

    /// Whether its readers see colours.
    pub(crate) fn is_coloured(&self) -> bool {
        self.coloured
    }

    /// One line of `who`, the `number`th node, or 0 for what is no node.
    pub(crate) fn line(&self, number: usize, who: &str, text: &str) {
        let prefix = format!("{who:>width$} │", width = self.width);
        let colour = if number == 0 { COLOURS[0] } else { COLOURS[1 + (number - 1) % (COLOURS.len() - 1)] };
        let line = match self.coloured {
            true => format!("\x1b[{colour}m{prefix}\x1b[0m {text}\n"),
            false => format!("{prefix} {text}\n"),
        };
        // One write: the lines of several threads stay whole.
        let mut stdout = io::stdout().lock();
        if stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            self.deaf.notify_one();
        }
    }

    /// Waits until nobody reads the output any more, as when `head` has seen enough.
    pub(crate) async fn unheard(&self) {
        self.deaf.notified().await;
    }
}

//! Output of several programs on one terminal: a prefix and a colour identify the program.

use std::io::{self, IsTerminal as _, Write as _};

/// Colours that can be distinguished on a dark and on a light background. The first one is for programs other than
/// nodes.
const COLOURS: [u8; 7] = [90, 36, 33, 35, 32, 34, 31];

/// Standard output, line by line.
#[derive(Clone, Copy)]
pub(crate) struct Console {
    pub(crate) coloured: bool,
    width: usize,
}

impl Console {
    /// Creates the console. It uses colours only on a terminal, and not if NO_COLOR is set.
    pub(crate) fn new(width: usize) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { coloured: wanted && io::stdout().is_terminal(), width }
    }

    /// Writes a line of program `who`: the `number`th node, or 0 for other programs. Ends this process, and with it the
    /// others, if the output has no reader any more, for example because `head` has exited.
    pub(crate) fn line(self, number: usize, who: &str, text: &str) {
        let prefix = format!("{who:>width$} │", width = self.width);
        let colour = if number == 0 { COLOURS[0] } else { COLOURS[1 + (number - 1) % (COLOURS.len() - 1)] };
        let line = match self.coloured {
            true => format!("\x1b[{colour}m{prefix}\x1b[0m {text}\n"),
            false => format!("{prefix} {text}\n"),
        };
        // A single write keeps the lines of several threads whole.
        let mut stdout = io::stdout().lock();
        if stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            std::process::exit(1);
        }
    }
}

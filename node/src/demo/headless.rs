//! Output of the demo without a screen: one line per event.

use std::io::{self, Write};

use super::state::{Line, State};

/// Prints lines to stdout. Returns false if no process reads stdout any more.
pub(super) fn print(lines: impl Iterator<Item = Line>) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    for line in lines {
        let text = format!("{:>9.3}  {:<10} {}\n", line.at.as_secs_f64(), line.source, line.text);
        if !is_read(out.write_all(text.as_bytes()))? {
            return Ok(false);
        }
    }
    is_read(out.flush())
}

pub(super) fn print_summary(state: &State) -> io::Result<()> {
    let text = format!("\nsummary\n{}", state.summary());
    is_read(io::stdout().lock().write_all(text.as_bytes())).map(|_| ())
}

/// Returns false for a closed pipe, as of `| head`, which is not an error.
fn is_read(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

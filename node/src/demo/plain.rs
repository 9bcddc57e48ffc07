//! The demo without a screen: one line for each event.

use std::io::{self, Write};

use super::state::{Line, State};

/// Writes lines to where the demo's result goes. False when nobody reads them any more.
pub(super) fn print(lines: impl Iterator<Item = Line>) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    for line in lines {
        let text = format!("{:>9.3}  {:<10} {}\n", line.at.as_secs_f64(), line.who, line.text);
        if !written(out.write_all(text.as_bytes()))? {
            return Ok(false);
        }
    }
    written(out.flush())
}

/// What it came to.
pub(super) fn conclude(state: &State) -> io::Result<()> {
    let text = format!("\nsummary\n{}", state.summary());
    written(io::stdout().lock().write_all(text.as_bytes())).map(|_| ())
}

/// A reader that has gone away (`| head`) is no failure.
fn written(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

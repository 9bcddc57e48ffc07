//! Standard output, of which the reader may have ended.

use std::io::{self, ErrorKind, Write as _};

/// Writes `text` to stdout. Returns false for a closed pipe, as of `| head`, which is not an error.
pub(crate) fn write(text: &[u8]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        done => done.map(|()| true),
    }
}

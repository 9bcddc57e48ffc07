//! Writer of the log: a bounded queue, and a thread that writes to stderr. Logging never waits for stderr and never
//! fails. Lines that cannot be written or do not fit into the queue are dropped and counted.
//!
//! `tracing-appender` has a similar writer, but it does not count failed writes, its queue is not limited in bytes,
//! and when its thread is stuck at the end of the process it calls `println!`, which can panic.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::model::text::is_unsafe;

/// Maximum size of the queue, in bytes.
const MAX_QUEUE_SIZE: usize = 1 << 20;
/// Interval between attempts to write to a non-blocking stderr (`O_NONBLOCK`) that is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

static LOST: AtomicU64 = AtomicU64::new(0);
/// Queue of this process, created by the first log line.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Returns the number of log lines of this process that were dropped because stderr was blocked or failed.
pub fn lines_lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Puts `line` into the queue. Starts the writer thread if necessary. Never blocks and never fails.
pub(super) fn put(line: &[u8]) {
    let queue = QUEUE.get_or_init(|| {
        let queue = Arc::new(Queue::default());
        let reading = Arc::clone(&queue);
        let started =
            thread::Builder::new().name("log".to_owned()).spawn(move || reading.drain(io::stderr()));
        // Without the thread, every line is dropped and counted.
        queue.lock().closed = started.is_err();
        queue
    });
    queue.put(line);
}

/// Waits until all lines have been written, at most for `timeout`. Remaining lines count as lost.
pub(super) fn flush(timeout: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.flush(timeout);
    }
}

/// Writer for `tracing_subscriber`, which writes one line per call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    /// True if stderr is a terminal. The subscriber escapes control characters, but no other unsafe characters.
    pub(super) terminal: bool,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.terminal && !line.is_ascii() {
            let hidden = |c: char| is_unsafe(c) && !c.is_control();
            put(String::from_utf8_lossy(line).replace(hidden, "\u{fffd}").as_bytes());
        } else {
            put(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// Notified when a line is added and when a line has been written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// True while a line that was removed from the queue is being written.
    writing: bool,
    /// True if the writer thread could not be started.
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.closed || state.bytes + line.len() > MAX_QUEUE_SIZE {
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.to_vec());
        drop(state);
        self.changed.notify_all();
    }

    fn flush(&self, timeout: Duration) {
        let end = Instant::now() + timeout;
        let mut state = self.lock();
        while !state.closed && (state.writing || !state.lines.is_empty()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                LOST.fetch_add(state.lines.len() as u64, Ordering::Relaxed);
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes the lines of the queue. Never returns.
    fn drain(&self, mut out: impl Write) {
        loop {
            let mut state = self.lock();
            let line = loop {
                if let Some(line) = state.lines.pop_front() {
                    break line;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.bytes -= line.len();
            state.writing = true;
            drop(state);
            if write(&mut out, &line).is_err() {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }
}

/// Writes the whole line. Waits if `out` is non-blocking and full.
fn write(out: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_INTERVAL),
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Output that accepts one line per permit.
    struct GatedOutput(mpsc::Receiver<io::Result<()>>, mpsc::Sender<Vec<u8>>);

    impl Write for GatedOutput {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.recv().unwrap_or(Ok(()))?;
            let _ = self.1.send(line.to_vec());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn log_queue_drops_and_counts_lines_that_do_not_fit_and_lines_that_fail() {
        let queue = Arc::new(Queue::default());
        let (permits, permitted) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let draining = Arc::clone(&queue);
        thread::spawn(move || draining.drain(GatedOutput(permitted, written)));
        let before = lines_lost();
        let line = vec![b'x'; MAX_QUEUE_SIZE / 4];
        queue.put(b"first");
        // The writer has removed it and blocks.
        while !queue.lock().writing {
            thread::yield_now();
        }
        let started_at = Instant::now();
        for _ in 0..10 {
            queue.put(&line);
        }
        queue.flush(Duration::from_millis(50));
        assert!(started_at.elapsed() < Duration::from_secs(5), "nothing blocks");
        assert_eq!(queue.lock().lines.len(), 4);
        assert_eq!(lines_lost() - before, 6 + 4, "six did not fit, four remained at the flush");
        let before = lines_lost();
        permits.send(Err(ErrorKind::StorageFull.into())).unwrap();
        permits.send(Err(ErrorKind::Interrupted.into())).unwrap();
        permits.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        drop(permits);
        queue.flush(Duration::from_secs(30));
        assert_eq!(lines.iter().take(4).map(|line| line.len()).collect::<Vec<_>>(), [line.len(); 4]);
        assert_eq!(lines_lost() - before, 1, "the first line failed");
    }
}

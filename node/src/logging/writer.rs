//! The log's way to stderr: a bounded queue, and a thread that writes. Nothing that logs waits for stderr, and
//! nothing fails because of it: lines that cannot be written, or that find the queue full, are counted and dropped.
//!
//! `tracing-appender` offers the same, but neither counts failed writes nor bounds its queue in bytes, and prints to
//! stdout with `println!`, which panics, when its thread is stuck at the end.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::model::text::is_unsafe;

/// Maximum size of the lines in the queue, in bytes.
const ROOM: usize = 1 << 20;
/// Pause before another try to write to a stderr that does not block (`O_NONBLOCK`) and is full.
const PAUSE: Duration = Duration::from_millis(20);

/// Number of log lines that were dropped.
static LOST: AtomicU64 = AtomicU64::new(0);
/// The queue of this process, from the first log line on.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Returns how many log lines of this process were dropped because stderr did not take them.
pub fn lines_lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Puts `line` into the queue, starting its thread if necessary. Never blocks, never fails.
pub(super) fn put(line: &[u8]) {
    let queue = QUEUE.get_or_init(|| {
        let queue = Arc::new(Queue::default());
        let reading = Arc::clone(&queue);
        let started =
            thread::Builder::new().name("log".to_owned()).spawn(move || reading.drain(io::stderr()));
        // Without its thread nothing is taken out, and each line that finds no room is counted.
        queue.lock().closed = started.is_err();
        queue
    });
    queue.put(line);
}

/// Waits until the queue is empty and everything is written, for `patience` at most. Lines that are left count as
/// lost.
pub(super) fn flush(patience: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.flush(patience);
    }
}

/// A writer for `tracing_subscriber`, which writes one line with each call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    /// Whether a terminal shows them. The subscriber escapes control characters, but none of the others that are
    /// unsafe.
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
    /// Notified when a line is put in, and when all have been written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// A line was taken out and is not written yet.
    writing: bool,
    /// No thread writes.
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.closed || state.bytes + line.len() > ROOM {
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.to_vec());
        drop(state);
        self.changed.notify_all();
    }

    fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
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

    /// Writes each line that is put in; never returns.
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

/// Writes the whole line, waiting for an output that does not block.
fn write(out: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An output that takes one line for each permit.
    struct Gate(mpsc::Receiver<io::Result<()>>, mpsc::Sender<Vec<u8>>);

    impl Write for Gate {
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
    fn log_queue_drops_lines_beyond_its_room_and_lines_that_fail_and_counts_both() {
        let queue = Arc::new(Queue::default());
        let (permits, permitted) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let draining = Arc::clone(&queue);
        thread::spawn(move || draining.drain(Gate(permitted, written)));
        let before = lines_lost();
        let line = vec![b'x'; ROOM / 4];
        queue.put(b"first");
        // It is taken out, and blocks.
        while !queue.lock().writing {
            thread::yield_now();
        }
        let began = Instant::now();
        for _ in 0..10 {
            queue.put(&line);
        }
        queue.flush(Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(5), "nothing blocks");
        assert_eq!(queue.lock().lines.len(), 4);
        assert_eq!(lines_lost() - before, 6 + 4, "six found no room, four were left at the flush");
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

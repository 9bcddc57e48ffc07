//! Read end of a child's standard error: it can stall, like a hanging log reader, or close, like a dead one.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StderrTarget {
    /// A pipe, whose lines are kept.
    Pipe,
    /// `/dev/full`, which fails every write with `ENOSPC`.
    Full,
}

/// Timeout for the thread that reads the pipe; it needs one line to notice a change.
const NOTICED: Duration = Duration::from_secs(5);

/// Start of the lines that fill a pipe; such lines are not kept.
pub(crate) const FILLER: &str = "~~~~~~~~";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Reading,
    Stalled,
    Closed,
}

#[derive(Debug)]
struct State {
    flow: Flow,
    /// True while the reading thread waits and reads nothing.
    parked: bool,
    /// True if the reading thread has closed its end.
    ended: bool,
    /// File descriptor of the read end; valid until `ended`.
    descriptor: Option<i32>,
}

/// Switch between the reading thread and the test that controls it.
#[derive(Debug)]
pub(crate) struct StderrGate {
    state: Mutex<State>,
    changed: Condvar,
}

impl StderrGate {
    /// Creates a gate that lets the thread read.
    pub(crate) fn new(descriptor: Option<i32>) -> Self {
        let state = State { flow: Flow::Reading, parked: false, ended: false, descriptor };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits while the pipe is stalled. Returns false when the thread must close it. For the reading thread.
    pub(crate) fn may_read(&self) -> bool {
        let mut state = self.state.lock();
        while state.flow == Flow::Stalled {
            state.parked = true;
            self.changed.notify_all();
            self.changed.wait(&mut state);
        }
        state.parked = false;
        state.flow != Flow::Closed
    }

    /// Closes the read end. For the reading thread.
    pub(crate) fn end<T>(&self, source: T) {
        let mut state = self.state.lock();
        state.ended = true;
        // Closed while the lock is held, so that the descriptor cannot belong to another file.
        drop(source);
        self.changed.notify_all();
    }

    /// Stops reading and fills the pipe: the child's next write blocks, or fails with `EAGAIN`.
    pub(crate) fn stall(&self) {
        let Some(mut pipe) = self.switch(Flow::Stalled) else { return };
        // One line wakes the thread, which then parks; after that everything stays in the pipe.
        fill(&mut pipe, 1);
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| !state.parked && !state.ended, NOTICED);
        drop(state);
        fill(&mut pipe, usize::MAX);
    }

    pub(crate) fn resume(&self) {
        let mut state = self.state.lock();
        if state.flow == Flow::Stalled {
            state.flow = Flow::Reading;
        }
        self.changed.notify_all();
    }

    /// Closes the read end: the child's next write fails with `EPIPE`.
    pub(crate) fn close(&self) {
        if let Some(mut pipe) = self.switch(Flow::Closed) {
            fill(&mut pipe, 1);
        }
        self.changed.wait_while_for(&mut self.state.lock(), |state| !state.ended, NOTICED);
    }

    /// Changes the flow, and opens another write end of the pipe.
    fn switch(&self, flow: Flow) -> Option<File> {
        let mut state = self.state.lock();
        if state.flow != Flow::Closed {
            state.flow = flow;
        }
        self.changed.notify_all();
        if state.ended { None } else { state.descriptor.and_then(open_for_writing) }
    }
}

/// Opens a write end of the pipe with this read end.
#[cfg(target_os = "linux")]
fn open_for_writing(descriptor: i32) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).ok()?;
    let path = format!("/proc/self/fd/{descriptor}");
    File::options().write(true).custom_flags(nonblocking).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_for_writing(_descriptor: i32) -> Option<File> {
    None
}

/// Writes up to `lines` lines of filler, until the pipe is full.
fn fill(pipe: &mut File, lines: usize) {
    let long = format!("{}\n", FILLER.repeat(512).split_at(4_095).0);
    let short = format!("{FILLER}\n");
    let mut written = 0;
    for line in [&long, &short] {
        // Writes up to a page are atomic: the complete line, or EAGAIN.
        while written < lines {
            match pipe.write(line.as_bytes()) {
                Ok(_) => written += 1,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process::Process;

    const SECONDS: Duration = Duration::from_secs(10);

    /// Returns a shell that ignores SIGPIPE, and writes lines to stderr until a write fails; then it writes to stdout
    /// and waits.
    fn writer() -> Command {
        let script = "trap '' PIPE; n=0; while echo line $n >&2; do n=$((n+1)); sleep 0.01; done 2>&2; \
                      echo failed after $n; sleep 60";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn stderr_pipe_that_is_closed_fails_the_next_write() {
        let process = Process::spawn_with_stderr(writer(), StderrTarget::Pipe);
        process.wait_for_line("line 3", SECONDS);
        process.stderr().close();
        process.wait_for_line("failed after", SECONDS);
    }

    #[test]
    fn stderr_pipe_that_is_stalled_blocks_the_writer_until_it_is_read_again() {
        let mut process = Process::spawn_with_stderr(writer(), StderrTarget::Pipe);
        process.wait_for_line("line 3", SECONDS);
        process.stderr().stall();
        let before = process.log().len();
        // Blocked in write(2), according to the wait channel of its process.
        let channel = format!("/proc/{}/wchan", process.pid());
        let stack = format!("/proc/{}/syscall", process.pid());
        crate::wait::eventually("the writer blocks", SECONDS, || {
            let blocked = std::fs::read_to_string(&channel).is_ok_and(|text| text.contains("pipe"))
                || std::fs::read_to_string(&stack).is_ok_and(|text| text.starts_with("1 "));
            blocked.then_some(())
        });
        assert_eq!(process.log().len(), before, "nothing is read while the pipe is stalled");
        process.stderr().resume();
        let log = process.wait_for_line(&format!("line {}", before + 5), SECONDS);
        assert!(!log.text.contains(FILLER));
        assert!(process.is_running());
    }

    #[test]
    fn stderr_at_dev_full_fails_the_first_write() {
        let process = Process::spawn_with_stderr(writer(), StderrTarget::Full);
        process.wait_for_line("failed after 0", SECONDS);
    }
}

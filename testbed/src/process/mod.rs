//! A child process. Every line that it writes is kept with its time of arrival.

mod stderr_gate;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::signals::{self, Signal};
use crate::spawn;
use crate::wait::eventually;
use stderr_gate::{FILLER, StderrGate};

pub(crate) use stderr_gate::StderrTarget;

/// Timeout until a stopped or killed child is in that state; the kernel needs only moments.
const KERNEL: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: results.
    Stdout,
    /// Standard error: logs.
    Stderr,
}

#[derive(Clone, Debug)]
pub struct Line {
    pub at: Instant,
    pub stream: Stream,
    /// Text without the line end; invalid UTF-8 is replaced.
    pub text: String,
}

type Watcher = Box<dyn Fn(&Line) + Send + Sync>;

struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
    watcher: Option<Watcher>,
}

struct LogState {
    lines: Vec<Line>,
    /// Number of streams that have not reached their end.
    open: usize,
}

impl Log {
    fn follow(self: &Arc<Self>, stream: Stream, source: impl Read + Send + 'static, gate: Arc<StderrGate>) {
        let log = Arc::clone(self);
        let follow = move || {
            let mut source = BufReader::new(source);
            let mut bytes = Vec::new();
            while gate.may_read() && matches!(source.read_until(b'\n', &mut bytes), Ok(read) if read > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
                bytes.clear();
                if text.starts_with(FILLER) {
                    continue;
                }
                let line = Line { at: Instant::now(), stream, text };
                if let Some(watcher) = &log.watcher {
                    watcher(&line);
                }
                log.state.lock().lines.push(line);
                log.changed.notify_all();
            }
            gate.end(source);
            log.state.lock().open -= 1;
            log.changed.notify_all();
        };
        thread::Builder::new().name("log".into()).spawn(follow).expect("start a thread that reads a log");
    }
}

/// A child process. Dropping it kills it, stopped or not, and waits until it is gone. If it is dropped because a test
/// panics, its log is printed.
pub struct Process {
    name: String,
    child: Child,
    /// Set after it was reaped: from then on its id may belong to another process.
    exit: Option<ExitStatus>,
    stdin: Option<ChildStdin>,
    log: Arc<Log>,
    stderr: Arc<StderrGate>,
    /// Number of last lines that are printed when a test panics.
    shown_on_panic: usize,
}

impl Process {
    /// Starts a child without standard input. Arguments, folder, and variables set or removed are taken from `command`;
    /// to clear the whole environment start from [`parent_death_command`](crate::parent_death_command).
    #[track_caller]
    pub fn spawn(command: Command) -> Self {
        Self::launch(command, Stdio::null(), None, StderrTarget::Pipe)
    }

    /// Starts a child like [`spawn`](Self::spawn), and waits for a line, like [`wait_for_line`](Self::wait_for_line).
    #[track_caller]
    pub fn start(command: Command, pattern: &str, deadline: Duration) -> Self {
        let process = Self::spawn(command);
        process.wait_for_line(pattern, deadline);
        process
    }

    /// Starts a child like [`spawn`](Self::spawn), and passes each line to `watcher` when it arrives, on a separate
    /// thread.
    #[track_caller]
    pub fn spawn_watched(command: Command, watcher: impl Fn(&Line) + Send + Sync + 'static) -> Self {
        Self::launch(command, Stdio::null(), Some(Box::new(watcher)), StderrTarget::Pipe)
    }

    /// Starts a child like [`spawn`](Self::spawn), with a standard input for [`write_line`](Self::write_line).
    #[track_caller]
    pub fn spawn_piped(command: Command) -> Self {
        Self::launch(command, Stdio::piped(), None, StderrTarget::Pipe)
    }

    /// Starts a child like [`spawn`](Self::spawn), with standard error at `stderr`.
    #[track_caller]
    pub(crate) fn spawn_with_stderr(command: Command, stderr: StderrTarget) -> Self {
        Self::launch(command, Stdio::null(), None, stderr)
    }

    #[track_caller]
    fn launch(command: Command, stdin: Stdio, watcher: Option<Watcher>, stderr: StderrTarget) -> Self {
        let name = describe(&command);
        let mut command = spawn::with_parent_death(command);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(match stderr {
            StderrTarget::Pipe => Stdio::piped(),
            StderrTarget::Full => {
                File::options().write(true).open("/dev/full").expect("open /dev/full").into()
            }
        });
        let mut child = match spawn::spawn(command) {
            Ok(child) => child,
            Err(error) => panic!("cannot start `{name}`: {error}"),
        };
        let open = 1 + usize::from(child.stderr.is_some());
        let state = Mutex::new(LogState { lines: Vec::new(), open });
        let log = Arc::new(Log { state, changed: Condvar::new(), watcher });
        let stdout = child.stdout.take().expect("stdout is piped");
        log.follow(Stream::Stdout, stdout, Arc::new(StderrGate::new(None)));
        let stderr = Arc::new(StderrGate::new(child.stderr.as_ref().and_then(descriptor)));
        if let Some(source) = child.stderr.take() {
            log.follow(Stream::Stderr, source, Arc::clone(&stderr));
        }
        let stdin = child.stdin.take();
        Self { name, child, exit: None, stdin, log, stderr, shown_on_panic: usize::MAX }
    }

    /// Sets the `name` in messages, and prints at most `lines` of the log when a test panics.
    pub(crate) fn called(mut self, name: impl Into<String>, lines: usize) -> Self {
        self.name = name.into();
        self.shown_on_panic = lines;
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL, and waits until it is gone.
    #[track_caller]
    pub fn kill9(&mut self) -> ExitStatus {
        if let Some(exit) = self.exit {
            return exit;
        }
        // Not by signal number: this also works on systems without signals. An error means that it has just ended.
        let _ = self.child.kill();
        self.wait_exit(KERNEL)
    }

    /// Sends SIGSTOP, and waits until the process is frozen.
    #[track_caller]
    pub fn stop(&mut self) {
        assert!(self.is_running(), "`{}` has ended and cannot be stopped", self.name);
        let pid = self.pid();
        signals::send(pid, Signal::Stop);
        eventually(&format!("`{}` is stopped", self.name), KERNEL, || {
            signals::has_stopped(pid).then_some(())
        });
    }

    /// Sends SIGSTOP without waiting until the process is frozen. It may have ended already.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::Stop);
    }

    /// Returns true if it was stopped by any process since the last call.
    pub fn has_stopped(&self) -> bool {
        self.exit.is_none() && signals::has_stopped(self.pid())
    }

    /// Sends SIGCONT: the process continues.
    pub fn cont(&self) {
        self.signal(Signal::Continue);
    }

    pub fn term(&self) {
        self.signal(Signal::Term);
    }

    /// Sends SIGHUP: the process reads its configuration again.
    pub fn hup(&self) {
        self.signal(Signal::Hup);
    }

    /// Sends SIGINT, like Ctrl-C.
    pub fn int(&self) {
        self.signal(Signal::Int);
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        if self.exit.is_none() {
            signals::send(self.pid(), signal);
        }
    }

    /// Returns its standard error, to stall or close it.
    pub(crate) fn stderr(&self) -> &StderrGate {
        &self.stderr
    }

    /// Returns true if it has not ended; a stopped process counts as running.
    pub fn is_running(&mut self) -> bool {
        self.try_exit().is_none()
    }

    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().expect("ask for a child of our own");
        }
        self.exit
    }

    /// Waits until it has ended and its log is complete.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("`{}` (process {}) ends", self.name, self.pid());
        let exit = eventually(&what, deadline, || self.try_exit());
        self.stderr.resume();
        // A grandchild may keep a stream open for longer than the child lives, so the wait is bounded.
        let mut log = self.log.state.lock();
        self.log.changed.wait_while_for(&mut log, |log| log.open > 0, Duration::from_secs(2));
        exit
    }

    /// Sends SIGTERM, and waits until it has ended with success.
    #[track_caller]
    pub fn shut_down(&mut self, deadline: Duration) {
        self.term();
        let exit = self.wait_exit(deadline);
        assert!(exit.success(), "`{}` ended with {exit}", self.name);
    }

    /// Returns all lines so far, in the order of their arrival.
    pub fn log(&self) -> Vec<Line> {
        self.log.state.lock().lines.clone()
    }

    /// Waits for a line that contains `pattern`. A line that arrived before the call counts.
    ///
    /// # Panics
    ///
    /// At the deadline, or as soon as the process has ended without such a line.
    #[track_caller]
    pub fn wait_for_line(&self, pattern: &str, deadline: Duration) -> Line {
        self.search(pattern, deadline, |line| line.text.contains(pattern))
    }

    /// Waits like [`wait_for_line`](Self::wait_for_line), for lines that arrived after `since`.
    #[track_caller]
    pub fn wait_for_line_since(&self, since: Instant, pattern: &str, deadline: Duration) -> Line {
        self.search(pattern, deadline, |line| line.at > since && line.text.contains(pattern))
    }

    #[track_caller]
    fn search(&self, pattern: &str, deadline: Duration, wanted: impl Fn(&Line) -> bool) -> Line {
        match self.find_from(0, deadline, wanted) {
            Ok((_, line)) => line,
            Err(why) => panic!("`{}` wrote no line with {pattern:?}: {why}", self.name),
        }
    }

    /// Finds the first wanted line at or after position `from`. Returns it with the position after it.
    pub(crate) fn find_from(
        &self,
        from: usize,
        deadline: Duration,
        wanted: impl Fn(&Line) -> bool,
    ) -> Result<(usize, Line), String> {
        let end = Instant::now() + deadline;
        let mut seen = from;
        let mut log = self.log.state.lock();
        loop {
            if let Some(at) = log.lines.iter().skip(seen).position(&wanted) {
                return Ok((seen + at + 1, log.lines[seen + at].clone()));
            }
            seen = log.lines.len().max(from);
            if log.open == 0 {
                return Err("it has ended".into());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("not within {deadline:?}"));
            }
            self.log.changed.wait_for(&mut log, left);
        }
    }

    /// Writes one line to the standard input of a process that was started with [`spawn_piped`](Self::spawn_piped).
    #[track_caller]
    pub fn write_line(&mut self, line: &str) {
        let Some(stdin) = &mut self.stdin else { panic!("`{}` has no standard input", self.name) };
        if let Err(error) = stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush()) {
            panic!("`{}` does not read its standard input: {error}", self.name);
        }
    }

    /// Returns the last `lines` lines as text, with times since the first one. Long lines are cut.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let log = self.log();
        let Some(first) = log.first().map(|line| line.at) else { return "  (it wrote nothing)\n".into() };
        let mut text = String::new();
        for line in &log[log.len().saturating_sub(lines)..] {
            let cut: String = line.text.chars().take(400).collect();
            let _ = writeln!(text, "  {:9.3} {cut}", line.at.duration_since(first).as_secs_f64());
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.is_none() {
            let _ = self.child.kill();
            self.exit = self.child.wait().ok();
        }
        if thread::panicking() && self.shown_on_panic > 0 {
            eprintln!(
                "--- log of `{}` (process {}):\n{}",
                self.name,
                self.pid(),
                self.tail(self.shown_on_panic)
            );
        }
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
fn descriptor(stderr: &std::process::ChildStderr) -> Option<i32> {
    Some(std::os::fd::AsRawFd::as_raw_fd(stderr))
}

#[cfg(not(unix))]
fn descriptor(_stderr: &std::process::ChildStderr) -> Option<i32> {
    None
}

/// Returns the program's name and its first arguments, for messages.
fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let own = words.iter().position(|word| word == "--").filter(|_| words[0].ends_with("setpriv"));
    let mut words = words[own.map_or(0, |at| at + 1)..].iter();
    let program = words.next().map_or("", |word| word.rsplit('/').next().unwrap_or(word));
    words.take(3).fold(program.to_owned(), |name, word| name + " " + word.get(..60).unwrap_or(word))
}

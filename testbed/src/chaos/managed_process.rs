//! A program of a schedule over all of its processes, of which one runs at a time.

use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::process::StderrTarget;
use crate::process::{Line, Process};

/// Timeout for the end of a process after its end was requested. It needs at most 2 s; this is for a busy machine.
pub(super) const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Logs = Vec<(String, Vec<Line>)>;

/// A program that is restarted after it has ended.
pub(super) struct ManagedProcess {
    name: String,
    pub(super) process: Option<Process>,
    /// Number of processes so far.
    pub(super) starts: usize,
    pub(super) restart_at: Option<Instant>,
    /// Logs of the processes that have ended.
    pub(super) logs: Logs,
}

impl ManagedProcess {
    pub(super) fn new(name: String) -> Self {
        Self { name, process: None, starts: 0, restart_at: None, logs: Vec::new() }
    }

    pub(super) fn start(&mut self, command: Command, stderr: StderrTarget) {
        self.starts += 1;
        self.restart_at = None;
        let process = Process::spawn_with_stderr(command, stderr);
        self.process = Some(process.called(self.name.clone(), 0));
    }

    /// Returns true if no process runs and the next one is due.
    pub(super) fn is_due(&self) -> bool {
        self.process.is_none() && self.restart_at.is_some_and(|at| at <= Instant::now())
    }

    /// Returns the exit status of a process that has ended and was not reaped yet.
    pub(super) fn try_exit(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::try_exit)
    }

    /// Kills the process, and restarts it after the delay, if there is one. Returns false if no process runs.
    pub(super) fn kill(&mut self, delay: Option<Duration>) -> bool {
        let Some(process) = &mut self.process else { return false };
        process.kill9();
        self.reap();
        self.restart_at = delay.map(|delay| Instant::now() + delay);
        true
    }

    /// Waits until the process has ended, and keeps its log.
    pub(super) fn reap(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.wait_exit(EXIT_TIMEOUT);
        self.logs.push((format!("{}-{}", self.name, self.starts), process.log()));
    }

    /// Returns the last lines of the process that was reaped last, the last one first.
    pub(super) fn last_lines(&self) -> impl Iterator<Item = &str> {
        let lines = self.logs.last().into_iter().flat_map(|(_, log)| log.iter().rev());
        lines.map(|line| line.text.as_str())
    }
}

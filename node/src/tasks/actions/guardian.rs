//! Decisions of the guardian process of a command, and its protocol with the worker. No I/O.
//!
//! The worker writes lines to the guardian's stdin: `lease TERM_AT KILL_AT` for each renewal of its local lease, and
//! `stop GRACE_MS` to stop the command. The end of stdin means that the worker has ended. The guardian writes a
//! [`Report`] to its stdout when no process of the command is left.
//!
//! Times are milliseconds since the start of the machine, of a clock that all processes share and that includes
//! suspended time.
//!
//! # Deadlines
//! Another worker can start the task 0.6 session timeouts after the last contact of this one at the earliest. The local
//! lease ends after 0.5. All processes get SIGTERM a quarter of the session timeout before the end of the lease, and
//! SIGKILL a tenth before it, so that none is left when it ends.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LocalLease, millis};

/// Milliseconds since the start of the machine.
pub(crate) type BootMillis = u64;

/// Returns the current time by the clock that worker and guardian share.
pub(crate) fn now() -> BootMillis {
    use rustix::time::{ClockId, clock_gettime};
    // On macOS, CLOCK_MONOTONIC includes suspended time.
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let now = clock_gettime(clock);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000).saturating_add(nanos.unwrap_or(0) / 1_000_000)
}

/// Times at which the command is ended unless the lease is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseDeadlines {
    /// Time of SIGTERM.
    pub(crate) term_at: BootMillis,
    /// Time of SIGKILL.
    pub(crate) kill_at: BootMillis,
}

impl LeaseDeadlines {
    /// Returns the deadlines of a lease that was read at `now` or later. `None` if SIGTERM would be due already.
    pub(crate) fn of(lease: LocalLease, now: BootMillis) -> Option<LeaseDeadlines> {
        let end = now.saturating_add(millis(lease.remaining));
        let timeout = millis(lease.session_timeout);
        let deadlines = LeaseDeadlines {
            term_at: end.saturating_sub(timeout / 4),
            kill_at: end.saturating_sub(timeout / 10),
        };
        (deadlines.term_at > now).then_some(deadlines)
    }
}

impl fmt::Display for LeaseDeadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {} {}", self.term_at, self.kill_at)
    }
}

/// Returns the line that stops the command.
pub(crate) fn stop_line(grace: Duration) -> String {
    format!("stop {}\n", millis(grace))
}

/// Result of a command, as the guardian reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// First reason why processes were ended.
    pub(crate) cause: Cause,
    /// Exit code of the command.
    pub(crate) code: Option<i32>,
    /// Signal that ended the command.
    pub(crate) signal: Option<i32>,
}

/// First reason why the processes of a command were ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// The command has ended by itself.
    Ended,
    /// The time limit was reached.
    TimedOut,
    /// The worker has stopped it.
    Stopped,
    /// The local lease was about to end.
    LeaseEnding,
    /// The worker has ended.
    WorkerGone,
}

/// Start of the line with the report.
const REPORT: &str = "atalaya-report ";

impl Report {
    /// Returns the line for stdout.
    #[expect(clippy::expect_used, reason = "numbers and names can always be serialised")]
    pub(crate) fn to_line(&self) -> String {
        let json = serde_json::to_string(self).expect("a report can be serialised");
        format!("{REPORT}{json}\n")
    }

    /// Finds the report in the stdout of a guardian.
    pub(crate) fn find(stdout: &str) -> Option<Report> {
        stdout.lines().find_map(|line| serde_json::from_str(line.strip_prefix(REPORT)?).ok())
    }
}

/// Action that the guardian must take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// None until the time.
    WaitUntil(BootMillis),
    /// Send SIGTERM to all processes of the command.
    Terminate,
    /// Send SIGKILL to all processes of the command, until none is left.
    Kill,
}

#[derive(Clone, Debug)]
pub(crate) struct Guardian {
    lease: LeaseDeadlines,
    run_until: BootMillis,
    /// Time from SIGTERM to SIGKILL, for the time limit and for processes that the command has left.
    grace: u64,
    cause: Option<Cause>,
    /// Time of SIGKILL after SIGTERM.
    kill_at: Option<BootMillis>,
    /// True from the cause until SIGTERM is sent.
    must_terminate: bool,
}

impl Guardian {
    /// Creates the guardian of a command that starts now and may run until `run_until`.
    pub(crate) fn new(lease: LeaseDeadlines, run_until: BootMillis, grace: Duration) -> Guardian {
        Guardian { lease, run_until, grace: millis(grace), cause: None, kill_at: None, must_terminate: false }
    }

    /// Returns the reason why the processes are ended; `None` while the command runs.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Handles a line of the worker. Unknown lines are ignored.
    pub(crate) fn on_line(&mut self, line: &str, now: BootMillis) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["lease", term_at, kill_at] => {
                if let (Ok(term_at), Ok(kill_at)) = (term_at.parse(), kill_at.parse()) {
                    self.renew(LeaseDeadlines { term_at, kill_at });
                }
            }
            ["stop", grace] => {
                let grace: u64 = grace.parse().unwrap_or(0);
                // A second order shortens the time of the first one.
                let kill_at = now.saturating_add(grace);
                self.end(Cause::Stopped, kill_at);
            }
            _ => {}
        }
    }

    /// Renews the lease. It never becomes shorter.
    fn renew(&mut self, lease: LeaseDeadlines) {
        self.lease.term_at = self.lease.term_at.max(lease.term_at);
        self.lease.kill_at = self.lease.kill_at.max(lease.kill_at);
    }

    /// Handles the end of the worker: its session will expire without another renewal.
    pub(crate) fn on_worker_gone(&mut self) {
        self.end(Cause::WorkerGone, 0);
    }

    /// Handles the end of the command. Processes that it has left are ended.
    pub(crate) fn on_command_ended(&mut self, now: BootMillis) {
        if self.cause.is_none() {
            self.end(Cause::Ended, now.saturating_add(self.grace));
        }
    }

    fn end(&mut self, cause: Cause, kill_at: BootMillis) {
        if self.cause.is_none() {
            self.cause = Some(cause);
            self.must_terminate = true;
        }
        self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
    }

    /// Returns the action that is due at `now`. Call it again after each event, after each action and at the time that
    /// it returns.
    pub(crate) fn step(&mut self, now: BootMillis) -> Step {
        if now >= self.lease.term_at && self.cause.is_none() {
            self.end(Cause::LeaseEnding, self.lease.kill_at);
        }
        if now >= self.run_until && self.cause.is_none() {
            self.end(Cause::TimedOut, now.saturating_add(self.grace));
        }
        let kill_at = self.kill_at.unwrap_or(u64::MAX).min(self.lease.kill_at);
        if now >= kill_at {
            // Permanently: a late renewal does not save processes of which some have been killed.
            self.end(Cause::LeaseEnding, 0);
            self.must_terminate = false;
            return Step::Kill;
        }
        if std::mem::take(&mut self.must_terminate) {
            return Step::Terminate;
        }
        match self.cause {
            Some(_) => Step::WaitUntil(kill_at),
            None => Step::WaitUntil(kill_at.min(self.lease.term_at).min(self.run_until)),
        }
    }
}

#[cfg(test)]
#[path = "guardian_tests.rs"]
mod tests;

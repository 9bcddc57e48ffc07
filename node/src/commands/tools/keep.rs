//! `atalaya keep CMD…` (hidden, Linux only): runs a command and ends all its processes with it.
//!
//! This process is a subreaper, so it is the ancestor of every process that the command starts, including daemons.
//! When the command ends, its remaining processes get SIGTERM, and SIGKILL after the grace period. When the parent of
//! this process ends, all of them are killed at once. This process exits with the status of the command, after all
//! processes have ended.
//!
//! It installs no signal handlers, so that the command inherits ignored signals (`nohup`). It is in its own process
//! group, so that the signals of a terminal reach only the command, which stays in the group of the caller and can
//! read the terminal.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitStatus, getpid, kill_process, pidfd_open,
    set_child_subreaper, setpgid, setrlimit,
};

use super::exec::{check_parent, is_child_of};
use crate::commands::exit::{Failure, shell_code};
use crate::process::child_processes::{own_program, reap};
use crate::process::process_tree;

#[derive(Debug, Args)]
pub(in crate::commands) struct KeepArgs {
    /// Process id of the parent.
    #[arg(long)]
    parent: u32,

    /// Grace period from SIGTERM to SIGKILL for the remaining processes of the command, in milliseconds.
    #[arg(long, default_value_t = 0)]
    grace_ms: u64,

    /// Run the command of a sensor, which gets its own process group.
    #[arg(long)]
    sensor: bool,

    /// Command to run.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Maximum time until an orphan that has ended is reaped.
const REAP_INTERVAL: Duration = Duration::from_secs(1);
/// Poll interval while processes are being ended, or if the system has no pidfds.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

pub(in crate::commands) fn main(args: &KeepArgs) -> Result<ExitCode, Failure> {
    set_child_subreaper(Some(getpid())).map_err(Failure::internal)?;
    check_parent(args.parent)?;
    let parent = Pid::from_raw(args.parent.cast_signed()).and_then(open_pidfd);
    let mut command = own_program();
    // A group whose leader is outside of this process namespace has no number here. Then the command stays in it.
    if let Some(group) = own_group() {
        // This fails if this process leads a session. Then it receives no signals of a terminal anyway.
        let _ = setpgid(None, None);
        command.process_group(if args.sensor { 0 } else { group });
    }
    command.arg("exec").arg("--parent").arg(std::process::id().to_string());
    if args.sensor {
        command.arg("--sensor");
    }
    command.arg("--").args(&args.command);
    let child =
        command.spawn().map_err(|error| Failure::internal(anyhow!("cannot start the command: {error}")))?;
    let main = Pid::from_child(&child);
    let tree = ProcessTree {
        command: main,
        parent,
        command_end: open_pidfd(main),
        grace: Duration::from_millis(args.grace_ms),
    };
    Ok(end_like(tree.wait_for_end(args.parent)?))
}

/// Returns the process group of this process. `getpgrp` of `rustix` panics where it has no number.
fn own_group() -> Option<i32> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(2)?.parse().ok().filter(|group| *group > 0)
}

/// Returns a pidfd, which is readable when the process has ended. Kernels before 5.3 and some sandboxes do not
/// support it.
fn open_pidfd(pid: Pid) -> Option<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// The command and its descendants.
struct ProcessTree {
    command: Pid,
    /// Pidfd of the parent; `None` if it has ended or pidfds are not supported.
    parent: Option<OwnedFd>,
    /// Pidfd of the command; `None` if it has ended or pidfds are not supported.
    command_end: Option<OwnedFd>,
    grace: Duration,
}

impl ProcessTree {
    /// Waits until all processes have ended, and ends them if necessary. Returns the status of the command.
    fn wait_for_end(mut self, parent: u32) -> Result<Option<WaitStatus>, Failure> {
        let mut status = None;
        let mut kill_at = None;
        while !reap(self.command, &mut status) {
            if status.is_some() {
                self.command_end = None;
            }
            let now = Instant::now();
            let orphaned = !is_child_of(parent);
            if orphaned {
                self.parent = None;
            }
            if orphaned || kill_at.is_some_and(|kill_at| now >= kill_at) {
                process_tree::kill(getpid()).map_err(Failure::internal)?;
            } else if status.is_some() && kill_at.is_none() {
                kill_at = Some(now + self.grace);
                if self.grace.is_zero() {
                    continue;
                }
                process_tree::terminate(getpid()).map_err(Failure::internal)?;
            }
            let has_pidfds = self.command_end.is_some() && self.parent.is_some();
            self.sleep(if has_pidfds { REAP_INTERVAL } else { POLL_INTERVAL })?;
        }
        Ok(status)
    }

    /// Sleeps until the parent or the command ends, at most for `timeout`.
    fn sleep(&self, timeout: Duration) -> Result<(), Failure> {
        let watched = self.parent.iter().chain(&self.command_end);
        let mut watched: Vec<PollFd<'_>> = watched.map(|file| PollFd::new(file, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(timeout).map_err(Failure::internal)?;
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Failure::internal(error)),
        }
    }
}

/// Ends this process like the command: by the same signal if possible, otherwise with the returned exit code.
fn end_like(status: Option<WaitStatus>) -> ExitCode {
    let Some(status) = status else { return ExitCode::FAILURE };
    if let Some(signal) = status.terminating_signal().and_then(Signal::from_named_raw) {
        // The command has already dumped core.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        let _ = kill_process(getpid(), signal);
    }
    // If it was a signal, this process ignores it.
    ExitCode::from(shell_code(status.exit_status(), status.terminating_signal()))
}

//! `atalaya keep CMD…`, hidden, on Linux: the parent of a command and of all processes that descend from it. See
//! [`super::guarded_command`].
//!
//! It has no signal handlers, so the command inherits what its caller ignores (`nohup`), and it is in a process group
//! of its own, so that the signals of a terminal reach the command and not this process; the command stays in the
//! caller's group and can read the terminal.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use atalaya_hal::tree;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, WaitOptions, WaitStatus, getpid, kill_process, pidfd_open,
    set_child_subreaper, setpgid, setrlimit, wait,
};

use super::guarded_command::{has_parent, is_child_of};
use crate::commands::exit::Failure;
use crate::commands::own_program::own_program;

#[derive(Debug, Args)]
pub(in crate::commands) struct KeepArgs {
    /// Process that started this one.
    #[arg(long)]
    parent: u32,

    /// Time from SIGTERM to SIGKILL for the processes that the command leaves, in milliseconds.
    #[arg(long, default_value_t = 0)]
    grace_ms: u64,

    /// Run the command of a sensor: in a process group of its own.
    #[arg(long)]
    sensor: bool,

    /// Command to run.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Maximum time that an orphan which has ended stays a zombie.
const REAP: Duration = Duration::from_secs(1);
/// Interval between two looks at a tree that is ending, or where the end of a process is not announced.
const GLANCE: Duration = Duration::from_millis(10);

pub(in crate::commands) fn main(args: &KeepArgs) -> Result<ExitCode, Failure> {
    set_child_subreaper(Some(getpid())).map_err(Failure::internal)?;
    has_parent(args.parent)?;
    let parent = Pid::from_raw(args.parent.cast_signed()).and_then(open);
    let mut command = own_program();
    // A group whose leader is outside of this process namespace has no number here: the command stays in it.
    if let Some(group) = own_group() {
        // It fails for the leader of a session, and then no terminal signals this process.
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
    let tree = Tree { main, parent, exit: open(main), grace: Duration::from_millis(args.grace_ms) };
    Ok(conclude(tree.keep(args.parent)?))
}

/// Returns the process group of this process. `getpgrp` of `rustix` panics where it has no number.
fn own_group() -> Option<i32> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(2)?.parse().ok().filter(|group| *group > 0)
}

/// Returns a file that is readable when the process has ended. Kernels before 5.3 and some sandboxes have none.
fn open(pid: Pid) -> Option<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

struct Tree {
    main: Pid,
    parent: Option<OwnedFd>,
    exit: Option<OwnedFd>,
    grace: Duration,
}

impl Tree {
    /// Waits until every process has ended. Returns the status of the first one.
    fn keep(mut self, parent: u32) -> Result<Option<WaitStatus>, Failure> {
        let mut status = None;
        let mut end = None;
        while !self.reap(&mut status) {
            let now = Instant::now();
            let orphaned = !is_child_of(parent);
            if orphaned {
                self.parent = None;
            }
            if orphaned || end.is_some_and(|end| now >= end) {
                tree::kill(getpid()).map_err(Failure::internal)?;
            } else if status.is_some() && end.is_none() {
                end = Some(now + self.grace);
                if self.grace.is_zero() {
                    continue;
                }
                tree::terminate(getpid()).map_err(Failure::internal)?;
            }
            let announced = self.exit.is_some() && self.parent.is_some();
            self.sleep(if announced { REAP } else { GLANCE })?;
        }
        Ok(status)
    }

    /// Takes the status of each process that has ended. Returns true if no process is left.
    fn reap(&mut self, status: &mut Option<WaitStatus>) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, ended))) if pid == self.main => {
                    *status = Some(ended);
                    self.exit = None;
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Sleeps until the parent or the command ends, for `longest` at most.
    fn sleep(&self, longest: Duration) -> Result<(), Failure> {
        let watched = self.parent.iter().chain(&self.exit);
        let mut watched: Vec<PollFd<'_>> = watched.map(|file| PollFd::new(file, PollFlags::IN)).collect();
        let longest = Timespec::try_from(longest).map_err(Failure::internal)?;
        match poll(&mut watched, Some(&longest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Failure::internal(error)),
        }
    }
}

/// Ends this process as the command ended, by the same signal if that is possible.
fn conclude(status: Option<WaitStatus>) -> ExitCode {
    let Some(status) = status else { return ExitCode::FAILURE };
    if let Some(code) = status.exit_status() {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let Some(number) = status.terminating_signal() else { return ExitCode::FAILURE };
    // One core dump, the command's, is enough.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if let Some(signal) = rustix::process::Signal::from_named_raw(number) {
        let _ = kill_process(getpid(), signal);
    }
    // A signal that this process ignores: a shell has this code for it.
    ExitCode::from(u8::try_from(128 + number).unwrap_or(1))
}

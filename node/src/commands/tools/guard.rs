//! `atalaya guard CMD…` (hidden): runs the command of a task, and ends all its processes before the local lease of the
//! worker ends, when the worker ends, at the time limit, and at an order of the worker. See
//! [`guardian`](crate::tasks::actions::guardian) for the decisions and the protocol.
//!
//! On Linux, this process is a subreaper, so it is the ancestor of every process that the command starts, including
//! daemons. On other systems, only the processes in the process group of the command are ended.
//!
//! The command's stdout and stderr are both the stderr of this process; the report goes to stdout.

use std::ffi::OsString;
use std::io::{BufRead as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use rustix::process::{Pid, Signal, WaitStatus, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::exec::is_child_of;
use crate::commands::current_thread_runtime;
use crate::commands::exit::Failure;
use crate::process::child_processes::{own_program, reap};
#[cfg(target_os = "linux")]
use crate::process::process_tree;
use crate::tasks::actions::guardian::{BootMillis, Cause, Guardian, LeaseDeadlines, Report, Step, now};

#[derive(Debug, Args)]
pub(in crate::commands) struct GuardArgs {
    /// Process id of the worker.
    #[arg(long)]
    parent: u32,

    /// Time of SIGTERM unless the lease is renewed, in milliseconds since the start of the machine.
    #[arg(long)]
    term_at: BootMillis,

    /// Time of SIGKILL unless the lease is renewed.
    #[arg(long)]
    kill_at: BootMillis,

    /// Time limit of the command, in milliseconds.
    #[arg(long)]
    run_for_ms: u64,

    /// Grace period from SIGTERM to SIGKILL, in milliseconds.
    #[arg(long)]
    grace_ms: u64,

    /// Command to run.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Maximum time between two looks at the clock: timers do not advance while the machine is suspended.
const CLOCK_INTERVAL: Duration = Duration::from_millis(100);
/// Interval between two attempts to kill the processes.
const KILL_INTERVAL: Duration = Duration::from_millis(10);

pub(in crate::commands) fn main(args: &GuardArgs) -> Result<ExitCode, Failure> {
    let report = current_thread_runtime()?.block_on(guard(args))?;
    // Fails if the worker has ended.
    let _ = std::io::stdout().write_all(report.to_line().as_bytes());
    Ok(ExitCode::SUCCESS)
}

async fn guard(args: &GuardArgs) -> Result<Report, Failure> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Failure::internal)?;
    let handler = |handled: Signal| signal(SignalKind::from_raw(handled.as_raw())).map_err(Failure::internal);
    // The service manager sends SIGTERM to all processes of the node. The worker orders the end of the command.
    let _ignored = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT].map(handler);
    let mut child_ended = handler(Signal::CHILD)?;
    let mut lines = read_lines();
    let lease = LeaseDeadlines { term_at: args.term_at, kill_at: args.kill_at };
    let run_until = now().saturating_add(args.run_for_ms);
    let mut guardian = Guardian::new(lease, run_until, Duration::from_millis(args.grace_ms));
    if !is_child_of(args.parent) || !matches!(guardian.step(now()), Step::WaitUntil(_)) {
        return Ok(Report { cause: Cause::LeaseEnding, code: None, signal: None });
    }
    let command = start(&args.command)?;
    let mut status = None;
    let mut worker_gone = false;
    while !reap(command, &mut status) || has_group(command) {
        // The end of the worker also closes the pipe to stdin.
        worker_gone = worker_gone || !is_child_of(args.parent);
        if worker_gone {
            guardian.on_worker_gone();
        }
        if status.is_some() {
            guardian.on_command_ended(now());
        }
        let wait = match guardian.step(now()) {
            Step::WaitUntil(time) => Duration::from_millis(time.saturating_sub(now())).min(CLOCK_INTERVAL),
            Step::Terminate => {
                terminate(command);
                continue;
            }
            Step::Kill => {
                kill(command);
                KILL_INTERVAL
            }
        };
        tokio::select! {
            _ = child_ended.recv() => {}
            line = lines.recv(), if !worker_gone => match line {
                Some(line) => guardian.on_line(&line, now()),
                None => worker_gone = true,
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
    Ok(Report {
        cause: guardian.cause().unwrap_or(Cause::Ended),
        code: status.and_then(WaitStatus::exit_status),
        signal: status.and_then(WaitStatus::terminating_signal),
    })
}

/// Reads lines from stdin in a thread, which ends with the process. The channel closes at the end of stdin.
fn read_lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Starts the command in its own process group. On Linux, the operating system kills it when this process ends.
fn start(words: &[OsString]) -> Result<Pid, Failure> {
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().map_err(Failure::internal)?;
    let mut command = own_program();
    command.arg("exec").arg("--parent").arg(std::process::id().to_string()).arg("--").args(words);
    command.process_group(0).stdin(Stdio::null()).stdout(stderr);
    let child = command.spawn();
    let child = child.map_err(|error| Failure::internal(anyhow!("cannot start the command: {error}")))?;
    Ok(Pid::from_child(&child))
}

/// Sends SIGTERM to all processes of the command.
fn terminate(command: Pid) {
    #[cfg(target_os = "linux")]
    if process_tree::terminate(rustix::process::getpid()).is_ok() {
        return;
    }
    // Without /proc, and on other systems. A process that has ended is not an error.
    let _ = kill_process_group(command, Signal::TERM);
    let _ = kill_process_group(command, Signal::CONT);
}

/// Sends SIGKILL to all processes of the command.
fn kill(command: Pid) {
    #[cfg(target_os = "linux")]
    if process_tree::kill(rustix::process::getpid()).is_ok() {
        return;
    }
    let _ = kill_process_group(command, Signal::KILL);
}

/// Returns true if the process group of the command still has processes that are not children of this process.
fn has_group(command: Pid) -> bool {
    cfg!(not(target_os = "linux")) && rustix::process::test_kill_process_group(command).is_ok()
}

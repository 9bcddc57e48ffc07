//! `atalaya exec CMD…` (hidden): replaces this process with a command.
//!
//! On Linux, the operating system kills the command when the parent of this process ends.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::{Command, ExitCode};

use anyhow::anyhow;
use clap::Args;

use crate::commands::exit::Failure;

#[derive(Debug, Args)]
pub(in crate::commands) struct ExecArgs {
    /// Process id of the parent.
    #[arg(long)]
    parent: u32,

    /// Print a failed execution in the format that the reader of a `command` sensor expects.
    #[arg(long)]
    sensor: bool,

    /// Command to execute.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Executes the command. Returns only if that fails. Systems other than Unix cannot replace a process: there the
/// command runs in a child process, and this process exits with its exit code.
pub(in crate::commands) fn main(args: &ExecArgs) -> Result<ExitCode, Failure> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::internal)?;
        check_parent(args.parent)?;
    }
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| Failure::usage(anyhow!("no command")))?;
    let mut command = Command::new(program);
    command.args(arguments);
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    };
    if args.sensor {
        let number = error.raw_os_error().unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "{}{number}", atalaya_hal::command::CANNOT_RUN);
        return Ok(Failure::not_run(&error, anyhow!("")).code());
    }
    Err(Failure::not_run(&error, anyhow!("cannot run {}: {error}", program.display())))
}

/// Returns an error if the parent has already ended, in which case the death signal is never sent.
#[cfg(target_os = "linux")]
pub(super) fn check_parent(parent: u32) -> Result<(), Failure> {
    if is_child_of(parent) { Ok(()) } else { Err(Failure::internal(anyhow!("the parent process has ended"))) }
}

#[cfg(unix)]
pub(super) fn is_child_of(parent: u32) -> bool {
    rustix::process::getppid().is_some_and(|now| now.as_raw_nonzero().get().unsigned_abs() == parent)
}

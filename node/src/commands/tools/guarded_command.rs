//! `atalaya become CMD…` and `atalaya keep CMD…`, hidden: what this program starts, `CMD`, runs below a copy of this
//! program, so that no process of it is left behind.
//!
//! `become` asks the system to kill this process when its parent ends (Linux), and becomes the command.
//!
//! `keep` is the parent of the command, and of every process that the command starts, daemons included: it is a
//! subreaper. It ends with the command's exit status once all of them have ended. When the command ends, the
//! remaining ones get SIGTERM, and SIGKILL after the grace; when `keep` loses its own parent, all are killed at once.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::anyhow;
use clap::Args;

use crate::commands::exit::Failure;

#[derive(Debug, Args)]
pub(in crate::commands) struct ExecArgs {
    /// Who started it.
    #[arg(long)]
    parent: u32,

    /// Report why the command cannot be run as the reader of a sensor expects it.
    #[arg(long)]
    sensor: bool,

    /// What to become.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the command. Returns only if that fails.
#[cfg(unix)]
pub(in crate::commands) fn main(args: &ExecArgs) -> Result<ExitCode, Failure> {
    use std::io::Write as _;
    use std::os::unix::process::CommandExt as _;

    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::internal)?;
        has_parent(args.parent)?;
    }
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| Failure::usage(anyhow!("no command")))?;
    let error = Command::new(program).args(arguments).exec();
    if args.sensor {
        let number = error.raw_os_error().unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "{}{number}", atalaya_hal::command::CANNOT_RUN);
        return Ok(ExitCode::from(Failure::not_run(&error, anyhow!("")).number()));
    }
    Err(Failure::not_run(&error, anyhow!("cannot run {}: {error}", program.display())))
}

/// Checks that the parent has not ended before this process asked for its death signal.
#[cfg(target_os = "linux")]
pub(super) fn has_parent(parent: u32) -> Result<(), Failure> {
    if is_child_of(parent) { Ok(()) } else { Err(Failure::internal(anyhow!("the parent process has ended"))) }
}

#[cfg(target_os = "linux")]
pub(super) fn is_child_of(parent: u32) -> bool {
    rustix::process::getppid().is_some_and(|now| now.as_raw_nonzero().get().unsigned_abs() == parent)
}

/// Runs the command, and ends as it does.
#[cfg(not(unix))]
pub(in crate::commands) fn main(args: &ExecArgs) -> Result<ExitCode, Failure> {
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| Failure::usage(anyhow!("no command")))?;
    match Command::new(program).args(arguments).status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => Err(Failure::not_run(&error, anyhow!("cannot run {}: {error}", program.display()))),
    }
}

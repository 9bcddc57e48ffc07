//! `atalaya become CMD…`, hidden: asks the system to end this process with its parent, and becomes CMD. So what
//! `atalaya lock` and `atalaya elect` run does not outlive them, whatever ends them.

use std::process::{Command, ExitCode};

use anyhow::anyhow;

use crate::cli::BecomeArgs;
use crate::exit::Failure;

/// Never returns but with a failure, where there is a way to become another program.
#[cfg(unix)]
pub(in crate::commands) fn main(args: &BecomeArgs) -> Result<ExitCode, Failure> {
    use std::os::unix::process::CommandExt as _;

    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::software)?;
        // It may have died before.
        let parent = getppid().map(|parent| parent.as_raw_nonzero().get().unsigned_abs());
        if parent != Some(args.parent) {
            return Err(Failure::software(anyhow!("whoever started this is gone")));
        }
    }
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| Failure::usage(anyhow!("no command")))?;
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::not_run(&error, anyhow!("cannot run {}: {error}", program.display())))
}

/// Runs it, and ends as it does.
#[cfg(not(unix))]
pub(in crate::commands) fn main(args: &BecomeArgs) -> Result<ExitCode, Failure> {
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| Failure::usage(anyhow!("no command")))?;
    match Command::new(program).args(arguments).status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => Err(Failure::not_run(&error, anyhow!("cannot run {}: {error}", program.display()))),
    }
}

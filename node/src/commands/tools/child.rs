//! A command that runs only while something is held.
//!
//! It runs below a copy of this program that asks the system to end it with its parent (Linux) and then becomes the
//! command (`super::guarded`): a holder that is killed outright takes its command with it, long before its lock passes
//! on to another.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::anyhow;
use tokio::process::{Child, Command};
use tracing::{info, warn};

use crate::exit::Failure;

/// How it came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit code as a shell has it: 128 and the signal's number, if one ended it.
    pub(super) code: u8,
    /// Whether what it was started for was lost meanwhile.
    pub(super) lost: bool,
}

/// Runs `command` with `variables` added to its environment. When `lost` completes before it ends, it is told to end by
/// SIGTERM and, `grace` later, made to by SIGKILL; likewise when this process is told to stop (`stop`).
///
/// # Cancellation safety
/// Dropping the future kills the command.
pub(super) async fn run(
    command: &[OsString],
    variables: &[(&str, String)],
    grace: Duration,
    lost: impl Future<Output = ()>,
    stop: impl Future<Output = &'static str>,
) -> Result<Ended, Failure> {
    let mut child = start(command, variables)?;
    tokio::select! {
        status = child.wait() => return Ok(Ended { code: code(status.map_err(Failure::software)?), lost: false }),
        () = lost => warn!("ending the command: what it runs under is lost"),
        signal = stop => {
            info!(signal, "passing it on to the command");
            let status = end(&mut child, grace).await?;
            return Ok(Ended { code: code(status), lost: false });
        }
    }
    let status = end(&mut child, grace).await?;
    Ok(Ended { code: code(status), lost: true })
}

/// Starts it, guarded.
fn start(command: &[OsString], variables: &[(&str, String)]) -> Result<Child, Failure> {
    let this = std::env::current_exe().map_err(Failure::software)?;
    let mut guarded = Command::new(this);
    guarded.arg("become").arg("--parent").arg(std::process::id().to_string()).arg("--").args(command);
    guarded.envs(variables.iter().map(|(name, value)| (name, value)));
    guarded
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::software(anyhow!("cannot start the command: {error}")))
}

/// Tells it to end, and makes it.
async fn end(child: &mut Child, grace: Duration) -> Result<ExitStatus, Failure> {
    terminate(child);
    match tokio::time::timeout(grace, child.wait()).await {
        Ok(status) => status.map_err(Failure::software),
        Err(_) => {
            warn!("the command does not end within {grace:?} of SIGTERM; killing it");
            child.start_kill().map_err(Failure::software)?;
            child.wait().await.map_err(Failure::software)
        }
    }
}

#[cfg(unix)]
fn terminate(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended this very moment.
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(not(unix))]
fn terminate(child: &mut Child) {
    let _ = child.start_kill();
}

#[cfg(unix)]
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

#[cfg(not(unix))]
fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

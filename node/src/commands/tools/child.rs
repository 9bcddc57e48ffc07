//! A command that runs only while something is held, with every process that it starts.
//!
//! On Linux it runs below `atalaya keep` (`super::guarded_command`), which is the ancestor of all of them, daemons included,
//! and kills them if this process is killed: long before the lock passes on to another. The command stays in the
//! process group of this process, so that it can read the terminal and gets its signals. Elsewhere the command is the
//! only process that is ended.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::anyhow;
use tokio::process::{Child, Command};
use tracing::{info, warn};

use crate::commands::exit::Failure;
use crate::commands::own_program::own_program;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Exit code as a shell has it: 128 and the signal's number, if one ended it.
    pub(super) code: u8,
    /// True if the lock or the leadership was lost while it ran.
    pub(super) lost: bool,
}

/// Runs `command` with `variables` added to its environment. When `lost` completes before it ends, every process of
/// it gets SIGTERM and, `grace` later, SIGKILL; likewise when `stop` completes. Returns when none of these processes
/// is left.
///
/// # Cancellation safety
/// Not cancellation safe: the command would run on until this process ends.
pub(super) async fn run(
    command: &[OsString],
    variables: &[(&str, String)],
    grace: Duration,
    lost: impl Future<Output = ()>,
    stop: impl Future<Output = &'static str>,
) -> Result<Ended, Failure> {
    let mut child = start(command, variables, grace)?;
    let (status, lost) = tokio::select! {
        status = child.wait() => (status.map_err(Failure::internal)?, false),
        () = lost => {
            warn!("ending the command: the lock is lost");
            (end(&mut child, grace).await?, true)
        }
        signal = stop => {
            info!(signal, "ending the command");
            (end(&mut child, grace).await?, false)
        }
    };
    sweep().await;
    Ok(Ended { code: code(status), lost })
}

#[cfg(target_os = "linux")]
fn start(command: &[OsString], variables: &[(&str, String)], grace: Duration) -> Result<Child, Failure> {
    use rustix::process::{getpid, set_child_subreaper};

    // Should the keeper be killed, its descendants become children of this process.
    set_child_subreaper(Some(getpid())).map_err(Failure::internal)?;
    let mut keeper = own_program();
    keeper.arg("keep").arg("--grace-ms").arg(grace.as_millis().to_string());
    spawn(keeper, command, variables)
}

#[cfg(not(target_os = "linux"))]
fn start(command: &[OsString], variables: &[(&str, String)], _: Duration) -> Result<Child, Failure> {
    let mut guarded = own_program();
    guarded.arg("exec");
    spawn(guarded, command, variables)
}

fn spawn(
    mut guard: std::process::Command,
    command: &[OsString],
    variables: &[(&str, String)],
) -> Result<Child, Failure> {
    guard.arg("--parent").arg(std::process::id().to_string()).arg("--").args(command);
    guard.envs(variables.iter().map(|(name, value)| (name, value)));
    Command::from(guard)
        .spawn()
        .map_err(|error| Failure::internal(anyhow!("cannot start the command: {error}")))
}

/// Tells every process of the command to end, and kills those that do not within `grace`.
#[cfg(target_os = "linux")]
async fn end(keeper: &mut Child, grace: Duration) -> Result<ExitStatus, Failure> {
    use atalaya_hal::tree;
    use rustix::process::Pid;

    /// Interval between two looks at processes that are being killed.
    const GLANCE: Duration = Duration::from_millis(10);
    /// How often they are killed before the keeper is, which must have been stopped.
    const TRIES: u32 = 100;

    let root = keeper.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let Some(root) = root else { return keeper.wait().await.map_err(Failure::internal) };
    // Without /proc no process is found: then the keeper is killed below, and the command with it.
    let _ = tree::terminate(root);
    if let Ok(status) = tokio::time::timeout(grace, keeper.wait()).await {
        return status.map_err(Failure::internal);
    }
    warn!("the command does not end within {grace:?} of SIGTERM; killing it");
    for attempt in 0_u32.. {
        let left = tree::kill(root).unwrap_or(0);
        if attempt == TRIES {
            warn!(processes = left, "the command was killed and has not ended; waiting for it");
            if left == 0 {
                keeper.start_kill().map_err(Failure::internal)?;
            }
        }
        if let Ok(status) = tokio::time::timeout(GLANCE, keeper.wait()).await {
            return status.map_err(Failure::internal);
        }
    }
    keeper.wait().await.map_err(Failure::internal)
}

/// Kills the remaining processes of the command; there are none unless its keeper was killed.
#[cfg(target_os = "linux")]
async fn sweep() {
    while !atalaya_hal::tree::sweep() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(not(target_os = "linux"))]
async fn sweep() {}

/// Tells the command to end, and kills it if it does not within `grace`.
#[cfg(not(target_os = "linux"))]
async fn end(child: &mut Child, grace: Duration) -> Result<ExitStatus, Failure> {
    terminate(child);
    match tokio::time::timeout(grace, child.wait()).await {
        Ok(status) => status.map_err(Failure::internal),
        Err(_) => {
            warn!("the command does not end within {grace:?} of SIGTERM; killing it");
            child.start_kill().map_err(Failure::internal)?;
            child.wait().await.map_err(Failure::internal)
        }
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
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

//! A command that runs only while a lock or the leadership is held, and whose processes all end with it.
//!
//! On Linux it runs below `atalaya keep` (`super::keep`), the ancestor of all these processes, including daemons. If
//! this process is killed, `keep` kills them long before another client can hold the lock. The command stays in the
//! process group of this process, so that it can read the terminal and receives its signals. On other systems, only
//! the command itself is ended.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::anyhow;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout, Command};
use tracing::{info, warn};

use crate::commands::exit::{Failure, code_of};
use crate::process::child_processes::own_program;
#[cfg(target_os = "linux")]
use crate::process::process_tree;

/// Interval between attempts to kill the processes.
#[cfg(target_os = "linux")]
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Runs `command` with `variable` added to its environment. When `lost` or `stop` completes before the command ends,
/// all its processes get SIGTERM and, `grace` later, SIGKILL. A terminal sends its interrupt to the command as well: if
/// `stop` completes with another name than "SIGTERM", the command has `grace` to end by itself first. When all processes
/// have ended, returns the exit code of the command, or 128 plus the number of the signal that killed it; `None` if
/// `lost` completed while it ran.
///
/// # Cancellation safety
/// Not cancellation safe: the command would continue until this process ends.
pub(super) async fn run(
    command: &[OsString],
    variable: (&str, String),
    grace: Duration,
    lost: impl Future<Output = ()>,
    stop: impl Future<Output = &'static str>,
) -> Result<Option<u8>, Failure> {
    let mut child = start(command, variable, grace, Stdio::inherit())?;
    supervise(&mut child, grace, lost, stop).await
}

/// Like [`run`] without `lost`, and returns in addition the first `limit` bytes of the command's output.
///
/// # Cancellation safety
/// Not cancellation safe: the command would continue until this process ends.
pub(in crate::commands) async fn run_captured(
    command: &[OsString],
    variable: (&str, String),
    grace: Duration,
    limit: u64,
    stop: impl Future<Output = &'static str>,
) -> Result<(u8, Vec<u8>), Failure> {
    let mut child = start(command, variable, grace, Stdio::piped())?;
    let stdout = child.stdout.take();
    let supervise = supervise(&mut child, grace, std::future::pending(), stop);
    let (code, output) = tokio::join!(supervise, read_output(stdout, limit));
    Ok((code?.unwrap_or_default(), output))
}

/// Reads the first `limit` bytes, and discards the rest, so that the command never waits for a reader.
async fn read_output(stdout: Option<ChildStdout>, limit: u64) -> Vec<u8> {
    let mut output = Vec::new();
    if let Some(mut stdout) = stdout {
        // An incomplete output is better than none.
        let _ = (&mut stdout).take(limit).read_to_end(&mut output).await;
        let _ = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
    }
    output
}

async fn supervise(
    child: &mut Child,
    grace: Duration,
    lost: impl Future<Output = ()>,
    stop: impl Future<Output = &'static str>,
) -> Result<Option<u8>, Failure> {
    let stopped = async {
        let signal = stop.await;
        info!(signal, "stopping the command");
        if signal != "SIGTERM" {
            tokio::time::sleep(grace).await;
        }
    };
    let (ended, lost) = tokio::select! {
        status = child.wait() => (Some(status.map_err(Failure::internal)?), false),
        () = lost => {
            warn!("the lock was lost; stopping the command");
            (None, true)
        }
        () = stopped => (None, false),
    };
    let status = match ended {
        Some(status) => status,
        None => stop_command(child, grace).await?,
    };
    // There are none unless `keep` was killed.
    end_remaining_processes().await;
    Ok((!lost).then(|| code_of(status)))
}

fn start(
    command: &[OsString],
    variable: (&str, String),
    grace: Duration,
    stdout: Stdio,
) -> Result<Child, Failure> {
    let mut parent = own_program();
    if cfg!(target_os = "linux") {
        parent.args(["keep", "--grace-ms", &grace.as_millis().to_string()]);
    } else {
        parent.arg("exec");
    }
    parent.args(["--parent", &std::process::id().to_string(), "--"]).args(command).envs([variable]);
    // If `keep` is killed, its descendants become children of this process.
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Failure::internal)?;
    let child = Command::from(parent).stdout(stdout).spawn();
    child.map_err(|error| Failure::internal(anyhow!("cannot start the command: {error}")))
}

/// Sends SIGTERM to all processes of the command, and SIGKILL after `grace`.
#[cfg(target_os = "linux")]
async fn stop_command(keep: &mut Child, grace: Duration) -> Result<ExitStatus, Failure> {
    use rustix::process::Pid;

    /// Number of attempts after which `keep` is killed as well: it has probably been stopped (SIGSTOP).
    const MAX_ATTEMPTS: u32 = 100;

    let root = keep.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let Some(root) = root else { return keep.wait().await.map_err(Failure::internal) };
    // Without /proc no process is found. Then `keep` is killed below, and the command with it.
    let _ = process_tree::terminate(root);
    if let Ok(status) = tokio::time::timeout(grace, keep.wait()).await {
        return status.map_err(Failure::internal);
    }
    warn!("the command has not stopped within {grace:?} of SIGTERM; killing it");
    for attempt in 0_u32.. {
        let left = process_tree::kill(root).unwrap_or(0);
        if attempt == MAX_ATTEMPTS {
            warn!(processes = left, "the command was killed but has not ended; waiting for it");
            if left == 0 {
                keep.start_kill().map_err(Failure::internal)?;
            }
        }
        if let Ok(status) = tokio::time::timeout(POLL_INTERVAL, keep.wait()).await {
            return status.map_err(Failure::internal);
        }
    }
    keep.wait().await.map_err(Failure::internal)
}

/// Kills the remaining children of this process and waits until they have ended. Does nothing on other systems than
/// Linux.
pub(in crate::commands) async fn end_remaining_processes() {
    #[cfg(target_os = "linux")]
    while !process_tree::sweep() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Sends SIGTERM to the command, and kills it after `grace`.
#[cfg(not(target_os = "linux"))]
async fn stop_command(child: &mut Child, grace: Duration) -> Result<ExitStatus, Failure> {
    terminate(child);
    match tokio::time::timeout(grace, child.wait()).await {
        Ok(status) => status.map_err(Failure::internal),
        Err(_) => {
            warn!("the command has not stopped within {grace:?} of SIGTERM; killing it");
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
        // The command may just have ended.
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(not(unix))]
fn terminate(child: &mut Child) {
    let _ = child.start_kill();
}

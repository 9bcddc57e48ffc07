//! `atalaya run --supervised`: a small parent process that starts the node in a child process, deletes its znodes
//! when it was killed, and starts it again.
//!
//! The standard input of the node is a pipe from the parent. However the parent ends, the pipe is closed and the node
//! shuts down as at SIGTERM, so that no node continues without its parent, on any operating system.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use futures_util::future;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::signals::stop_signal;
use super::tools::guarded_command::end_remaining_processes;
use super::{current_thread_runtime, process_environment, reap};
use crate::commands::exit::{Failure, INTERNAL, code_of};
use crate::model::node_id::NodeId;
use crate::process::restart_policy::{RestartBackoff, should_restart};
use crate::process::state_dir::StateDir;
use crate::settings::SettingsError;
use crate::settings::zookeeper_access::ZooKeeperAccess;

/// Maximum time for the shutdown of a node, which takes at most 2 s, before it is killed.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time that a cleanup may delay a restart. The node cleans up as well, once it is connected.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(2);

const FLAG: &str = "--supervised";
/// Flag that replaces [`FLAG`] in the arguments of the child.
const CHILD_FLAG: &str = "--supervised-by";

/// Reads the certificates and the identity for ZooKeeper.
type ReadAccess<'a> = dyn Fn() -> Result<ZooKeeperAccess, SettingsError> + 'a;

pub(super) fn main(
    id: &NodeId,
    state_dir: Option<&PathBuf>,
    read_access: &ReadAccess<'_>,
) -> Result<ExitCode, Failure> {
    // Resolved before the first start: an upgrade may replace the file while this process runs.
    let program = std::env::current_exe().map_err(Failure::internal)?;
    let arguments = child_arguments(std::env::args_os().skip(1), std::process::id());
    let state_dir = match StateDir::find(state_dir, process_environment()) {
        StateDir::At(folder) => Some(folder),
        StateDir::Off | StateDir::Unknown => {
            warn!(
                "no state folder: the znodes of a killed node remain until its session times out; set --state-dir"
            );
            None
        }
    };
    let state_dir = state_dir.as_deref();
    let parent = Parent { id, state_dir, read_access, program: &program, arguments: &arguments };
    current_thread_runtime()?.block_on(parent.run())
}

/// Replaces [`FLAG`] in the arguments of this process by [`CHILD_FLAG`].
fn child_arguments(own: impl Iterator<Item = OsString>, parent: u32) -> Vec<OsString> {
    let mut after_dashes = false;
    own.map(|word| {
        after_dashes |= word == "--";
        if !after_dashes && word == FLAG { OsString::from(format!("{CHILD_FLAG}={parent}")) } else { word }
    })
    .collect()
}

struct Parent<'a> {
    id: &'a NodeId,
    state_dir: Option<&'a Path>,
    read_access: &'a ReadAccess<'a>,
    program: &'a Path,
    arguments: &'a [OsString],
}

impl Parent<'_> {
    /// Starts the node again and again, until a signal stops this process or a restart is useless.
    async fn run(&self) -> Result<ExitCode, Failure> {
        // Processes that a killed node leaves become children of this process, which ends them.
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Failure::internal)?;
        let mut signals = signals()?;
        let mut backoff = RestartBackoff::default();
        loop {
            let started = Instant::now();
            let status = match self.start() {
                Ok(child) => {
                    let (status, was_stopped) = wait(child, &mut signals).await.map_err(Failure::internal)?;
                    // The programs of its sensors.
                    if tokio::time::timeout(SHUTDOWN_TIMEOUT, end_remaining_processes()).await.is_err() {
                        warn!("the programs of the node's sensors were killed but have not ended");
                    }
                    if was_stopped {
                        // Killed by a signal, so it has not deleted its znodes.
                        if status.code().is_none() {
                            self.clean_up().await;
                        }
                        return Ok(ExitCode::from(code_of(status)));
                    }
                    Some(status)
                }
                Err(error) => {
                    warn!("cannot start {}: {error}", self.program.display());
                    None
                }
            };
            if let Some(status) = status
                && !should_restart(status.code())
            {
                return Ok(ExitCode::from(code_of(status)));
            }
            let delay = backoff.next_delay(started.elapsed());
            if let Some(status) = status {
                warn!("the node has ended ({status}); restarting it in {delay:?}");
            }
            tokio::select! {
                _ = future::join(tokio::time::sleep(delay), self.clean_up()) => {}
                signal = stop_requested(&mut signals) => {
                    info!(signal, "stopping");
                    self.clean_up().await;
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }

    /// Starts the node. It is in the process group of this process, so that it receives the signals of a terminal, too.
    fn start(&self) -> std::io::Result<Child> {
        let mut command = Command::new(self.program);
        command.args(self.arguments).stdin(Stdio::piped()).kill_on_drop(true);
        // systemd sets WATCHDOG_PID to this process. The node sends the watchdog messages, and does so only if the
        // variable is absent or names the node.
        if std::env::var("WATCHDOG_PID").is_ok_and(|process| process == std::process::id().to_string()) {
            command.env_remove("WATCHDOG_PID");
        }
        command.spawn()
    }

    /// Deletes the znodes of the dead node, if it has a state file.
    async fn clean_up(&self) {
        let Some(folder) = self.state_dir else { return };
        let access = match (self.read_access)() {
            Ok(access) => access,
            Err(error) => return warn!("cannot delete the znodes of the dead node yet: {error}"),
        };
        let cleaned_up = reap::clean_up_after(self.id, folder, &access);
        match tokio::time::timeout(CLEANUP_TIMEOUT, cleaned_up).await {
            Ok(Ok(removed)) if removed.is_empty() => {}
            Ok(Ok(removed)) => info!(znodes = removed.join(", "), "deleted the znodes of the dead node"),
            Ok(Err(problem)) => warn!("cannot delete the znodes of the dead node yet: {problem}"),
            Err(_) => warn!(
                "cannot delete the znodes of the dead node yet: ZooKeeper was not reached within {CLEANUP_TIMEOUT:?}"
            ),
        }
    }
}

/// Waits until the node has ended and forwards signals to it. Returns its status, and true if a signal to this
/// process stopped it.
async fn wait(mut child: Child, signals: &mut Signals) -> std::io::Result<(ExitStatus, bool)> {
    // Taken out of `child`, because `Child::wait` closes stdin, which stops the node.
    let mut stdin = child.stdin.take();
    info!(process = child.id(), "started the node");
    let signal = loop {
        tokio::select! {
            status = child.wait() => return Ok((status?, false)),
            Some(signal) = signals.recv() => match signal {
                RELOAD => forward(&child, RELOAD),
                signal => break signal,
            },
        }
    };
    info!(signal, "stopping the node");
    forward(&child, signal);
    // Without signals, the end of the pipe stops the node.
    if cfg!(not(unix)) {
        drop(stdin.take());
    }
    if let Ok(status) = tokio::time::timeout(SHUTDOWN_TIMEOUT, child.wait()).await {
        return Ok((status?, true));
    }
    warn!("the node has not stopped within {SHUTDOWN_TIMEOUT:?}; killing it");
    child.kill().await?;
    Ok((child.wait().await?, true))
}

/// Waits until the parent of this node has ended, which closes standard input.
pub(super) async fn parent_ended() {
    let (ended, receiver) = oneshot::channel();
    // A thread, because a pending read of `tokio::io::stdin` blocks the shutdown of the runtime.
    let read = std::thread::Builder::new().name("parent".into()).spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
        // A node that hangs does not shut down, and it has no parent that kills it.
        std::thread::sleep(SHUTDOWN_TIMEOUT);
        std::process::exit(INTERNAL.into());
    });
    match read {
        Ok(_) => {
            let _ = receiver.await;
        }
        Err(error) => {
            warn!("cannot watch the parent process: {error}");
            std::future::pending().await
        }
    }
}

/// Signal that reloads the configuration. All others stop the node.
const RELOAD: &str = "SIGHUP";

#[cfg(unix)]
fn forward(child: &Child, signal: &str) {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match signal {
        RELOAD => Signal::HUP,
        "SIGINT" => Signal::INT,
        _ => Signal::TERM,
    };
    // The child has not been reaped, so its process id cannot have been reused.
    if let Some(process) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        let _ = kill_process(process, signal);
    }
}

/// Does nothing: without signals, the end of the pipe stops the node.
#[cfg(not(unix))]
fn forward(_: &Child, _: &str) {}

/// Names of the signals to this process.
type Signals = mpsc::Receiver<&'static str>;

/// Installs the handlers of the signals.
fn signals() -> Result<Signals, Failure> {
    let (sender, signals) = mpsc::channel(1);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup()).map_err(Failure::internal)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            // Signals in quick succession are merged into one.
            while hangup.recv().await.is_some() && sender.send(RELOAD).await.is_ok() {}
        });
    }
    let stop = stop_signal()?;
    tokio::spawn(async move { sender.send(stop.await).await });
    Ok(signals)
}

/// Waits for the next signal that stops this process. Returns its name.
async fn stop_requested(signals: &mut Signals) -> &'static str {
    loop {
        match signals.recv().await {
            Some(RELOAD) => {}
            Some(signal) => return signal,
            // This cannot happen, because the task that waits for a stop has the sender.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn child_has_the_arguments_of_its_parent_except_supervised() {
        let child = |words: &str| {
            let own = words.split(' ').map(OsString::from);
            child_arguments(own, 7).join(OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(child("--log debug run 1 --supervised"), "--log debug run 1 --supervised-by=7");
        assert_eq!(child("run --supervised 1 --board b"), "run --supervised-by=7 1 --board b");
        assert_eq!(child("run --supervised -- --supervised"), "run --supervised-by=7 -- --supervised");
    }
}

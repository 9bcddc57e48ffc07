//! Process 1 of a container. Orphaned processes become children of process 1, which must reap them, and signals have
//! no default action for it. So the command runs in a child process; process 1 only reaps processes and forwards
//! signals.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::select_all;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

use super::own_program::own_program;
use super::{Command, current_thread_runtime};
use crate::commands::exit::{Failure, shell_code};

/// Maximum time until an orphan is reaped whose SIGCHLD was lost.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Returns true if this is process 1 and the command is a long-running one.
pub(super) fn is_needed(command: &Command) -> bool {
    let is_long_running = match command {
        Command::Run(_) | Command::Lock(_) | Command::Elect(_) => true,
        #[cfg(feature = "collector")]
        Command::Collect(_) => true,
        #[cfg(feature = "sim")]
        Command::ZooKeeper(_) => true,
        #[cfg(feature = "demo")]
        Command::Demo(_) => true,
        _ => false,
    };
    is_long_running && getpid().is_init()
}

/// Runs this command line in a child process. Returns its exit code.
pub(super) fn main() -> Result<ExitCode, Failure> {
    let runtime = current_thread_runtime()?;
    runtime.block_on(async {
        let handler = |kind| signal(kind).map_err(Failure::internal);
        let mut child_ended = handler(SignalKind::child())?;
        let mut signals = [
            (handler(SignalKind::terminate())?, Signal::TERM),
            (handler(SignalKind::interrupt())?, Signal::INT),
            (handler(SignalKind::hangup())?, Signal::HUP),
            (handler(SignalKind::quit())?, Signal::QUIT),
            (handler(SignalKind::user_defined1())?, Signal::USR1),
            (handler(SignalKind::user_defined2())?, Signal::USR2),
        ];
        let mut command = own_program();
        command.args(std::env::args_os().skip(1));
        let child = Pid::from_child(&command.spawn().map_err(Failure::internal)?);
        loop {
            let received = signals.iter_mut().map(|(signal, received)| {
                Box::pin(async {
                    signal.recv().await;
                    *received
                })
            });
            tokio::select! {
                (received, ..) = select_all(received) => {
                    // The child has not been reaped, so its process id cannot have been reused.
                    let _ = kill_process(child, received);
                }
                _ = child_ended.recv() => {}
                () = tokio::time::sleep(REAP_INTERVAL) => {}
            }
            if let Some(code) = reap(child) {
                return Ok(ExitCode::from(code));
            }
        }
    })
}

/// Reaps all processes that have ended. Returns the exit code of `child` if it is among them: its own, or 128 plus the
/// number of the signal that killed it.
fn reap(child: Pid) -> Option<u8> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => {
                return Some(shell_code(status.exit_status(), status.terminating_signal()));
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return None,
            // ECHILD: the child was reaped elsewhere, so its exit code is unknown.
            Err(_) => return Some(1),
        }
    }
}

//! Process 1 of a container. Orphaned processes become children of process 1, which must reap them, and signals have
//! no default action for it. So the command runs in a child process; process 1 only reaps processes and forwards
//! signals.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::select_all;
use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::{Command, current_thread_runtime};
use crate::commands::exit::{Failure, shell_code};
use crate::process::child_processes::{own_program, reap};

/// Maximum time until an orphan is reaped whose SIGCHLD was lost.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Returns true if this is process 1 and the command is a long-running one.
pub(super) fn is_needed(command: &Command) -> bool {
    let is_long_running = match command {
        Command::Run(_) | Command::Work(_) | Command::Lock(_) | Command::Elect(_) => true,
        Command::Classic(command) => command.is_long_running(),
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
        let handler =
            |handled: Signal| signal(SignalKind::from_raw(handled.as_raw())).map_err(Failure::internal);
        let mut child_ended = handler(Signal::CHILD)?;
        let mut signals = Vec::new();
        for forwarded in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2] {
            signals.push((handler(forwarded)?, forwarded));
        }
        let mut command = own_program();
        command.args(std::env::args_os().skip(1));
        let mut status = None;
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
            let is_last = reap(child, &mut status);
            if let Some(status) = status {
                return Ok(ExitCode::from(shell_code(status.exit_status(), status.terminating_signal())));
            }
            if is_last {
                // The child was reaped elsewhere, so its exit code is unknown.
                return Ok(ExitCode::FAILURE);
            }
        }
    })
}

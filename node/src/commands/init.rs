//! Process 1 of a container. Orphans become its children, and it must reap them; signals have no default action
//! for it. So the command itself runs in a child, and process 1 does these two things only.

use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use super::Command;
use super::own_program::own_program;
use crate::commands::exit::Failure;

/// Longest time that an orphan whose end was not announced stays a zombie.
const REAP: Duration = Duration::from_secs(1);

/// Returns whether this is process 1, and the command one that lives on.
pub(super) fn is_needed(command: &Command) -> bool {
    let lives_on = match command {
        Command::Run(_) | Command::Lock(_) | Command::Elect(_) => true,
        #[cfg(feature = "collector")]
        Command::Collect(_) => true,
        #[cfg(feature = "sim")]
        Command::ZooKeeper(_) => true,
        #[cfg(feature = "demo")]
        Command::Demo(_) => true,
        _ => false,
    };
    lives_on && getpid().is_init()
}

/// Runs this command line again in a child, and ends as that ends.
pub(super) fn main() -> Result<ExitCode, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(Failure::internal);
        let mut ended = listen(SignalKind::child())?;
        let mut signals = [
            (listen(SignalKind::terminate())?, Signal::TERM),
            (listen(SignalKind::interrupt())?, Signal::INT),
            (listen(SignalKind::hangup())?, Signal::HUP),
            (listen(SignalKind::quit())?, Signal::QUIT),
            (listen(SignalKind::user_defined1())?, Signal::USR1),
            (listen(SignalKind::user_defined2())?, Signal::USR2),
        ];
        let mut command = own_program();
        command.args(std::env::args_os().skip(1));
        let child = Pid::from_child(&command.spawn().map_err(Failure::internal)?);
        loop {
            tokio::select! {
                received = next(&mut signals) => {
                    // The child was not reaped yet, so its id is still its own.
                    let _ = kill_process(child, received);
                }
                _ = ended.recv() => {}
                () = tokio::time::sleep(REAP) => {}
            }
            if let Some(code) = reap(child) {
                return Ok(ExitCode::from(code));
            }
        }
    })
}

/// Returns the next signal to pass on.
async fn next(signals: &mut [(Signals, Signal)]) -> Signal {
    std::future::poll_fn(|context| {
        for (signal, received) in signals.iter_mut() {
            if signal.poll_recv(context).is_ready() {
                return std::task::Poll::Ready(*received);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Reaps every process that has ended. Returns the exit code of `child`, as a shell has it, if it is among them.
fn reap(child: Pid) -> Option<u8> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => {
                let code =
                    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
                return Some(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return None,
            // No child: that cannot be, and there is nothing left to wait for.
            Err(_) => return Some(1),
        }
    }
}

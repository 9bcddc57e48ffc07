//! `atalaya run --supervised`: a small parent that starts the node as a process of its own, clears up after it when it is
//! killed, and starts it again.
//!
//! The node's standard input is a pipe from the parent: when the parent is gone, however that ended, the pipe ends, and the
//! node withdraws as at SIGTERM. So no node goes on that nobody looks after, on any system.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::run::RunArgs;
use super::{process_environment, reap};
use crate::commands::exit::{Failure, INTERNAL};
use crate::process::restart_policy::{Restarts, is_worth_it};
use crate::process::state_dir::StateDir;

/// How long a node may take to withdraw; it promises two seconds.
const GRACE: Duration = Duration::from_secs(5);
/// How long clearing up may hold up a restart: the node clears up itself, once it is connected.
const CLEARING: Duration = Duration::from_secs(2);

/// The flag, and what the node gets in its place.
const FLAG: &str = "--supervised";
const CHILD_FLAG: &str = "--supervised-by";

pub(super) fn main(args: &RunArgs) -> Result<ExitCode, Failure> {
    // Now: an upgrade may replace the file while this runs.
    let program = std::env::current_exe().map_err(Failure::internal)?;
    let arguments = of_child(std::env::args_os().skip(1), std::process::id());
    let folder = match StateDir::find(args.state.state_dir.as_ref(), process_environment()) {
        StateDir::At(folder) => Some(folder),
        StateDir::Off | StateDir::Unknown => {
            warn!("without a state folder nothing is cleared up after a kill; see --state-dir");
            None
        }
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    runtime.block_on(supervise(args, &program, &arguments, folder.as_deref()))
}

async fn supervise(
    args: &RunArgs,
    program: &Path,
    arguments: &[OsString],
    folder: Option<&Path>,
) -> Result<ExitCode, Failure> {
    // What a node that is killed leaves becomes this process's, and ends.
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Failure::internal)?;
    let mut signals = Signals::new().map_err(Failure::internal)?;
    let mut restarts = Restarts::default();
    loop {
        let begin = Instant::now();
        let status = match start(program, arguments) {
            Ok(child) => {
                let (status, told) = watch(child, &mut signals).await.map_err(Failure::internal)?;
                sweep().await;
                if told {
                    // Killed before it could withdraw, or because it did not.
                    if status.code().is_none() {
                        clear_up(args, folder).await;
                    }
                    return Ok(ExitCode::from(code(status)));
                }
                Some(status)
            }
            Err(error) => {
                warn!("{} cannot be started: {error}", program.display());
                None
            }
        };
        if let Some(status) = status
            && !is_worth_it(status.code())
        {
            return Ok(ExitCode::from(code(status)));
        }
        let pause = restarts.pause(begin.elapsed());
        if let Some(status) = status {
            warn!("the node has ended ({status}); starting it again in {pause:?}");
        }
        let pausing = async {
            tokio::join!(tokio::time::sleep(pause), clear_up(args, folder));
        };
        tokio::select! {
            () = pausing => {}
            signal = signals.end() => {
                info!(signal, "stopping");
                clear_up(args, folder).await;
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// Starts the node. Like this process it gets the terminal's signals itself.
fn start(program: &Path, arguments: &[OsString]) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).kill_on_drop(true);
    // systemd's watchdog counts on this process; whoever feeds it is the node.
    if std::env::var("WATCHDOG_PID").is_ok_and(|process| process == std::process::id().to_string()) {
        command.env_remove("WATCHDOG_PID");
    }
    command.spawn()
}

/// Until it has ended: how, and whether it was told to.
async fn watch(mut child: Child, signals: &mut Signals) -> std::io::Result<(ExitStatus, bool)> {
    // Held here: waiting would close it at once.
    let mut leash = child.stdin.take();
    info!(process = child.id(), "started the node");
    let signal = loop {
        tokio::select! {
            status = child.wait() => return Ok((status?, false)),
            signal = signals.next() => match signal {
                Told::Reload => send(&child, Told::Reload),
                Told::Stop(name) => break name,
            },
        }
    };
    info!(signal, "telling the node to stop");
    send(&child, Told::Stop(signal));
    if cfg!(not(unix)) {
        drop(leash.take());
    }
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => Ok((status?, true)),
        Err(_) => {
            warn!("the node does not end within {GRACE:?}; killing it");
            child.start_kill()?;
            Ok((child.wait().await?, true))
        }
    }
}

/// Ends what the node has left: the programs of its sensors.
async fn sweep() {
    #[cfg(target_os = "linux")]
    {
        /// Interval between two looks at processes that are being killed.
        const GLANCE: Duration = Duration::from_millis(10);
        let left = async {
            while !atalaya_hal::tree::sweep() {
                tokio::time::sleep(GLANCE).await;
            }
        };
        if tokio::time::timeout(GRACE, left).await.is_err() {
            warn!("programs of the node's sensors were killed and have not ended");
        }
    }
}

async fn clear_up(args: &RunArgs, folder: Option<&Path>) {
    let Some(folder) = folder else { return };
    match tokio::time::timeout(CLEARING, reap::after(&args.id, folder)).await {
        Ok(Ok(removed)) if removed.is_empty() => {}
        Ok(Ok(removed)) => info!(znodes = removed.join(", "), "removed what the dead process left"),
        Ok(Err(problem)) => warn!("what the dead process left stays for now: {problem}"),
        Err(_) => {
            warn!("what the dead process left stays for now: ZooKeeper was not reached within {CLEARING:?}")
        }
    }
}

/// What the node is started with: the same, but for the flag.
fn of_child(own: impl Iterator<Item = OsString>, parent: u32) -> Vec<OsString> {
    let mut literal = false;
    own.map(|word| {
        literal |= word == "--";
        if !literal && word == FLAG { OsString::from(format!("{CHILD_FLAG}={parent}")) } else { word }
    })
    .collect()
}

/// Completes when the parent is gone, at whose pipe this process hangs.
pub(super) async fn orphaned() {
    let (gone, orphaned) = oneshot::channel();
    // A read that blocks: tokio's own would hold up the end of the runtime.
    let read = std::thread::Builder::new().name("leash".into()).spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = gone.send(());
        // A node that hangs does not withdraw, and no parent is left to kill it.
        std::thread::sleep(GRACE);
        std::process::exit(INTERNAL.into());
    });
    match read {
        Ok(_) => {
            let _ = orphaned.await;
        }
        Err(error) => {
            warn!("the parent is not watched: {error}");
            std::future::pending().await
        }
    }
}

/// What this process is told.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// By the signal of this name.
    Stop(&'static str),
    Reload,
}

#[cfg(unix)]
fn send(child: &Child, told: Told) {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match told {
        Told::Reload => Signal::HUP,
        Told::Stop("SIGINT") => Signal::INT,
        Told::Stop(_) => Signal::TERM,
    };
    // It was not waited for yet, so its id is still its own.
    if let Some(process) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        let _ = kill_process(process, signal);
    }
}

/// There are no signals: the end of the pipe is one.
#[cfg(not(unix))]
fn send(_: &Child, _: Told) {}

/// The exit code as a shell has it.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    status.code().or(signal.map(|signal| 128 + signal)).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The signals to this process, from now on.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancellation safe.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}

/// Ctrl-C is all there is.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals)
    }

    async fn next(&mut self) -> Told {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Told::Stop("Ctrl-C")
    }
}

impl Signals {
    /// The next that ends it.
    async fn end(&mut self) -> &'static str {
        loop {
            if let Told::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_node_is_started_as_its_parent_was_but_for_the_flag() {
        let child = |words: &str| {
            let own = words.split(' ').map(OsString::from);
            of_child(own, 7).join(OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(child("--log debug run 1 --supervised"), "--log debug run 1 --supervised-by=7");
        assert_eq!(child("run --supervised 1 --board b"), "run --supervised-by=7 1 --board b");
        assert_eq!(child("run --supervised -- --supervised"), "run --supervised-by=7 -- --supervised");
    }
}

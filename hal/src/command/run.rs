//! Runs a program with a timeout. In every case the run ends after the timeout, its process group is killed, and the
//! program is reaped.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::{Ended, Failed, MAX_OUTPUT};

/// Maximum length of stderr kept for the message, in bytes.
const MAX_COMPLAINT: usize = 1024;

/// Timeout for a killed program to die. It dies at once, unless it is blocked in the kernel.
const DYING: Duration = Duration::from_millis(500);

/// Interval of checks for the end of the program on systems without a notification.
const GLANCE: Duration = Duration::from_millis(5);

/// Runs `command`, whose stdout and stderr are pipes.
pub(super) fn run(command: &mut Command, timeout: Duration) -> Result<Ended, Failed> {
    let deadline = Instant::now() + timeout;
    let mut child = command.process_group(0).spawn().map_err(Failed::Start)?;
    let mut run = Run {
        exit: exit_of(&child),
        stdout: child.stdout.take().map(|pipe| Pipe::new(pipe.into(), MAX_OUTPUT)),
        stderr: child.stderr.take().map(|pipe| Pipe::new(pipe.into(), MAX_COMPLAINT)),
    };
    let result = run.follow(&child, deadline);
    // Kill in every case: processes started in the background hold the pipes and must not outlive the program. The
    // child is not reaped before, so that its process id cannot be reused yet.
    kill(&mut child);
    match result {
        Ok(End::Exit) => {}
        Ok(End::Late) => return Err(Failed::Late(bury(child, run.exit.as_ref()))),
        Ok(End::Endless) => return Err(Failed::Endless(bury(child, run.exit.as_ref()))),
        Err(error) => {
            bury(child, run.exit.as_ref());
            return Err(Failed::System(error));
        }
    }
    let status = child.wait().map_err(Failed::System)?;
    let bytes = |pipe: Option<Pipe>| pipe.map(|pipe| pipe.bytes).unwrap_or_default();
    Ok(Ended { status, stdout: bytes(run.stdout), stderr: bytes(run.stderr) })
}

enum End {
    Exit,
    Late,
    Endless,
}

struct Run {
    /// Becomes readable when the program has ended; None if the system does not support it.
    exit: Option<OwnedFd>,
    stdout: Option<Pipe>,
    stderr: Option<Pipe>,
}

impl Run {
    /// Reads the output until the program ends, the deadline passes or the output is too long.
    fn follow(&mut self, child: &Child, deadline: Instant) -> io::Result<End> {
        self.pipes().try_for_each(Pipe::open)?;
        loop {
            // Check for the end first and read the output afterwards, so that no output is missed. Check the time last:
            // if this process was suspended for a minute, a program that ended during that time is not late.
            let over = has_ended(child)?;
            self.pipes().try_for_each(|pipe| pipe.drain(over))?;
            if self.stdout.as_ref().is_some_and(|pipe| pipe.overflows) {
                return Ok(End::Endless);
            }
            if over {
                return Ok(End::Exit);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::Late);
            }
            wait(self.stdout.iter().chain(&self.stderr), self.exit.as_ref(), left)?;
        }
    }

    fn pipes(&mut self) -> impl Iterator<Item = &mut Pipe> {
        self.stdout.iter_mut().chain(self.stderr.iter_mut())
    }
}

/// Waits until one of the pipes has data, the program has ended, or `left` has passed.
fn wait<'a>(
    pipes: impl Iterator<Item = &'a Pipe>,
    exit: Option<&'a OwnedFd>,
    left: Duration,
) -> io::Result<()> {
    let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut watched: Vec<PollFd<'a>> =
        pipes.filter(|pipe| !pipe.closed).map(|pipe| watch(pipe.file.as_fd())).collect();
    watched.extend(exit.map(|exit| watch(exit.as_fd())));
    let longest = if exit.is_some() { left } else { left.min(GLANCE) };
    let timeout = Timespec::try_from(longest).map_err(io::Error::other)?;
    match poll(&mut watched, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The read end of a pipe.
struct Pipe {
    file: std::fs::File,
    bytes: Vec<u8>,
    /// Maximum number of bytes kept.
    most: usize,
    overflows: bool,
    closed: bool,
}

impl Pipe {
    fn new(pipe: OwnedFd, most: usize) -> Pipe {
        Pipe { file: pipe.into(), bytes: Vec::new(), most, overflows: false, closed: false }
    }

    fn open(&mut self) -> io::Result<()> {
        // Applies to the read end only: writes of the program still block, as programs expect.
        Ok(rustix::io::ioctl_fionbio(&self.file, true)?)
    }

    /// Reads the available data: all of it if the program has ended; otherwise one chunk at a time, so that a program
    /// that prints without end does not keep the caller from checking the time.
    fn drain(&mut self, all: bool) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut pieces = 0;
        while !self.closed && (all || pieces < 16) {
            match self.file.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(count) => {
                    let room = self.most - self.bytes.len();
                    self.overflows |= count > room;
                    self.bytes.extend_from_slice(&buffer[..count.min(room)]);
                    pieces += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // Processes that the program left behind may print without end.
            if all && self.overflows {
                break;
            }
        }
        Ok(())
    }
}

/// Returns true if the program has ended. Does not reap it.
fn has_ended(child: &Child) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        match rustix::process::waitid(WaitId::Pid(Pid::from_child(child)), options) {
            Ok(status) => return Ok(status.is_some()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(target_os = "linux")]
fn exit_of(child: &Child) -> Option<OwnedFd> {
    // Kernels before 5.3 and some sandboxes have no pidfd.
    rustix::process::pidfd_open(Pid::from_child(child), rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn exit_of(_: &Child) -> Option<OwnedFd> {
    None
}

/// Kills the processes of the program that still exist: the descendants of the keeper, or the process group.
fn kill(child: &mut Child) {
    // A keeper ends after all other processes have ended.
    if let Some(keeper) = super::KEEPER.get() {
        let end = Instant::now() + DYING;
        while matches!(has_ended(child), Ok(false)) && Instant::now() < end {
            if (keeper.kill_descendants)(child.id()).is_err() {
                break;
            }
            std::thread::sleep(GLANCE);
        }
        return;
    }
    // An error is expected here: no process is left in the group, or none to kill.
    let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.kill();
}

/// Reaps a killed program, or returns it if it does not die.
fn bury(mut child: Child, exit: Option<&OwnedFd>) -> Option<Child> {
    let deadline = Instant::now() + DYING;
    while matches!(has_ended(&child), Ok(false)) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || wait(std::iter::empty(), exit, left).is_err() {
            return Some(child);
        }
    }
    let _ = child.wait();
    None
}

//! Signals by process id; the one place that knows what the operating system offers.

/// What a process can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
    /// SIGHUP.
    Hup,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

/// Sends `signal` to a child that was not reaped yet, so its id cannot have passed to another process.
///
/// # Panics
///
/// When the operating system refuses, which for a child of our own means a mistake of ours.
#[cfg(unix)]
#[track_caller]
pub(crate) fn send(pid: u32, signal: Signal) {
    use rustix::process::Signal as Os;
    let os = match signal {
        Signal::Term => Os::TERM,
        Signal::Int => Os::INT,
        Signal::Hup => Os::HUP,
        Signal::Stop => Os::STOP,
        Signal::Continue => Os::CONT,
    };
    if let Err(error) = rustix::process::kill_process(os_pid(pid), os) {
        panic!("cannot send {signal:?} to process {pid}: {error}");
    }
}

/// Whether the child was stopped since it was last asked about.
#[cfg(unix)]
pub(crate) fn has_stopped(pid: u32) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let asked = waitid(WaitId::Pid(os_pid(pid)), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
    matches!(asked, Ok(Some(status)) if status.stopped())
}

#[cfg(unix)]
fn os_pid(pid: u32) -> rustix::process::Pid {
    i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a child's id is positive")
}

/// Signals are a Unix matter.
///
/// # Panics
///
/// Always.
#[cfg(not(unix))]
#[track_caller]
pub(crate) fn send(pid: u32, signal: Signal) {
    panic!(
        "cannot send {signal:?} to process {pid}: this system has no signals; run these tests on Linux or macOS"
    );
}

/// Signals are a Unix matter.
#[cfg(not(unix))]
pub(crate) fn has_stopped(_pid: u32) -> bool {
    false
}

//! Signals by process id. Only this module depends on what the operating system offers.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Term,
    Int,
    Hup,
    Stop,
    Continue,
}

/// Sends `signal` to a child that was not reaped yet, so that its id cannot belong to another process.
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

/// Returns true if the child was stopped since the last call.
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

/// Fails: signals exist only on Unix.
#[cfg(not(unix))]
#[track_caller]
pub(crate) fn send(pid: u32, signal: Signal) {
    panic!(
        "cannot send {signal:?} to process {pid}: this system has no signals; run these tests on Linux or macOS"
    );
}

/// Returns false: signals exist only on Unix.
#[cfg(not(unix))]
pub(crate) fn has_stopped(_pid: u32) -> bool {
    false
}

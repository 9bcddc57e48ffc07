//! Child processes: starting this program again, and reaping.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
#[cfg(target_os = "linux")]
use std::io;
use std::process::Command;

#[cfg(target_os = "linux")]
use atalaya_hal::command::Keeper;
#[cfg(unix)]
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

#[cfg(target_os = "linux")]
use super::process_tree;

/// Path of the running program on Linux. It still works after an upgrade has replaced the file.
#[cfg(target_os = "linux")]
const OWN: &str = "/proc/self/exe";

/// Returns a command that runs the program of this process.
pub(crate) fn own_program() -> Command {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(OWN);
        command.arg0("atalaya");
        command
    }
    #[cfg(not(target_os = "linux"))]
    Command::new(std::env::current_exe().unwrap_or_else(|_| "atalaya".into()))
}

/// Makes the programs of `command` sensors run below `atalaya keep`, which ends all their processes.
#[cfg(target_os = "linux")]
pub(crate) fn run_sensor_commands_below_keep() {
    let parent = std::process::id().to_string();
    let words = [OWN, "keep", "--sensor", "--parent", &parent, "--"];
    let kill_descendants = |keeper: u32| {
        let keeper = Pid::from_raw(keeper.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
        process_tree::kill(keeper).map(drop)
    };
    let words = words.map(OsString::from).to_vec();
    atalaya_hal::command::run_below(Keeper { words, kill_descendants });
}

/// Reaps all processes that have ended, and stores the status of `child` if it is among them. Returns true if no child
/// is left.
#[cfg(unix)]
pub(crate) fn reap(child: Pid, status: &mut Option<WaitStatus>) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, ended))) if pid == child => *status = Some(ended),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

//! Starting this program again in a child process.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::process::Command;

/// Path of the running program on Linux. It still works after an upgrade has replaced the file.
#[cfg(target_os = "linux")]
const OWN: &str = "/proc/self/exe";

/// Returns a command that runs the program of this process.
pub(super) fn own_program() -> Command {
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
pub(super) fn run_sensor_commands_below_keep() {
    let parent = std::process::id().to_string();
    let words = [OWN, "keep", "--sensor", "--parent", &parent, "--"];
    atalaya_hal::command::run_below(words.map(OsString::from).to_vec());
}

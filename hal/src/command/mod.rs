//! `chip = "command"`: a program that prints a number, for any source without a driver.
//!
//! ```toml
//! [[boards.pi.sensors]]
//! name = "ups"
//! chip = "command"
//! command = ["/usr/local/bin/ups-voltage", "--short"]   # no shell: ["sh", "-c", "..."] is one
//! quantity = "voltage"
//! timeout = "2s"
//! ```
//!
//! The program runs once for each read.
//!
//! * **Output**: one number on stdout, surrounded by optional whitespace, at most [`MAX_OUTPUT`] bytes (a program that
//!   prints more is killed). stderr may have any length; its first line is part of the error if the exit status is not
//!   0.
//! * **Timeout**: `timeout`, 3 s by default. After it the program is killed, with all processes that it started.
//!   Processes that it leaves behind when it ends in time are killed, too. That is its process group; with a [`Keeper`]
//!   it is every process that the program started, including daemons.
//! * **Working directory**: the folder of boards.toml. A relative program path with a `/` is resolved from there, too;
//!   a name without a `/` is searched in `PATH`.
//! * **Environment**: that of the node, without the variables that are for the node alone (`ATALAYA_*`, which may hold
//!   secrets, and systemd's `NOTIFY_SOCKET`, `WATCHDOG_*` and `LISTEN_*`), and with `LC_ALL=C`, so that numbers have a
//!   decimal point. stdin is empty; no other file descriptor of the node is open in it. The program has the permissions
//!   of the node.
//!
//! If the node is killed while the program runs, a [`Keeper`] kills the program too; without one the program continues
//! to run, unless a service manager ends both. Unix only.

#[cfg(unix)]
mod run;

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use smallvec::smallvec;

use crate::error::{Cause, Place, ReadError};
use crate::parse::{self, excerpt};
use crate::reading::{Quantity, Reading, Readings};
use crate::sensor::{Sensor, SensorInfo};

/// Maximum output of a program, in bytes.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// Text that a [`Keeper`] writes to stderr when it cannot run the program, followed by the error number.
pub const CANNOT_RUN: &str = "atalaya: cannot run the program of a sensor: os error ";
/// Exit codes of a keeper that cannot run the program, as in shells.
const CANNOT_RUN_CODES: [i32; 2] = [126, 127];

/// Program that runs the program of a sensor, and ends all processes which that program starts.
///
/// It must run the command in a process group of its own, end the processes that the command leaves behind, kill all of
/// them if this process ends, and end with the status of the command. If it cannot run the command, it writes
/// [`CANNOT_RUN`] to stderr and exits with 126 or 127.
#[derive(Debug)]
pub struct Keeper {
    /// Keeper and its arguments. Those of the command are appended.
    pub words: Vec<OsString>,
    /// Kills the descendants of the keeper with this process id, but not the keeper.
    pub kill_descendants: fn(u32) -> io::Result<()>,
}

static KEEPER: OnceLock<Keeper> = OnceLock::new();

/// Runs every program of this process below this keeper from now on. Only the first call has an effect.
pub fn run_below(keeper: Keeper) {
    let _ = KEEPER.set(keeper);
}

/// Environment variables of systemd that are for the node alone.
const PRIVATE: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Program that prints a number.
pub struct Program {
    command: Vec<String>,
    timeout: Duration,
    /// Working directory; empty for that of the node.
    folder: PathBuf,
    quantity: Quantity,
    /// Program that did not die when it was killed: it is blocked in the kernel, for example on a disk.
    undead: Option<Child>,
    info: SensorInfo,
}

/// Program that ended by itself.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    /// Beginning of stderr.
    stderr: Vec<u8>,
}

impl Ended {
    /// Returns the error of the keeper if it could not run the program.
    fn not_run(&self) -> Option<io::Error> {
        KEEPER.get()?;
        let code = self.status.code().filter(|code| CANNOT_RUN_CODES.contains(code));
        let number = code.and(self.stderr.trim_ascii().strip_prefix(CANNOT_RUN.as_bytes()))?;
        Some(io::Error::from_raw_os_error(std::str::from_utf8(number).ok()?.parse().ok()?))
    }
}

/// Reason why a program returned no number.
#[cfg_attr(not(unix), allow(dead_code, reason = "there, none is started"))]
#[derive(Debug)]
enum Failed {
    Start(io::Error),
    /// Killed after the timeout; contains the process if it did not die.
    Late(Option<Child>),
    /// Killed because it printed too much; contains the process if it did not die.
    Endless(Option<Child>),
    System(io::Error),
}

impl Program {
    /// Creates a sensor for the program `command[0]` with its arguments, with this `timeout`; the number is in the unit
    /// of `quantity`. `folder` is the folder of boards.toml. Starts nothing.
    pub fn new(
        command: Vec<String>,
        timeout: Duration,
        folder: impl AsRef<Path>,
        quantity: Quantity,
        info: SensorInfo,
    ) -> Program {
        let folder = folder.as_ref().to_path_buf();
        Program { command, timeout, folder, quantity, undead: None, info }
    }

    fn place(&self) -> Place {
        // The arguments are left out: they may contain a password.
        let program = self.command.first().map_or("", String::as_str);
        Place::at(format!("the command `{}`", excerpt(program.as_bytes())))
    }

    fn fault(&self, cause: Cause, why: impl Into<String>) -> ReadError {
        ReadError::with_source(cause, self.place(), why.into())
    }

    fn command(&self) -> Result<Command, ReadError> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(self.fault(Cause::Other, "there is no program to run"));
        };
        let folder = match self.folder.as_os_str().is_empty() {
            true => std::env::current_dir(),
            false => std::path::absolute(&self.folder),
        };
        let folder = folder.map_err(|error| self.fault(Cause::Other, error.to_string()))?;
        let program = match program.contains('/') {
            // An absolute path stays as it is.
            true => folder.join(program),
            false => PathBuf::from(program),
        };
        let mut command = match KEEPER.get().and_then(|keeper| keeper.words.split_first()) {
            Some((keeper, words)) => {
                let mut command = Command::new(keeper);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_private(name)) {
            command.env_remove(name);
        }
        command.args(arguments).env("LC_ALL", "C").current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    fn run(&mut self) -> Result<Ended, ReadError> {
        if let Some(mut child) = self.undead.take()
            && matches!(child.try_wait(), Ok(None))
        {
            let why = format!("process {} of an earlier read was killed and does not die", child.id());
            self.undead = Some(child);
            return Err(self.fault(Cause::Timeout, why));
        }
        let failed = match run(&mut self.command()?, self.timeout) {
            Ok(ended) => match ended.not_run() {
                Some(error) => Failed::Start(error),
                None => return Ok(ended),
            },
            Err(failed) => failed,
        };
        Err(match failed {
            Failed::Start(error) if error.kind() == ErrorKind::NotFound => {
                self.fault(Cause::NotPresent, format!("cannot start it: {error}"))
            }
            Failed::Start(error) => self.fault(Cause::Other, format!("cannot start it: {error}")),
            Failed::Late(undead) => {
                self.undead = undead;
                self.fault(Cause::Timeout, format!("not done after {:?}, so it was killed", self.timeout))
            }
            Failed::Endless(undead) => {
                self.undead = undead;
                self.fault(Cause::Other, format!("it printed more than {MAX_OUTPUT} bytes, so it was killed"))
            }
            Failed::System(error) => self.fault(Cause::Other, error.to_string()),
        })
    }
}

#[cfg(unix)]
use run::run;

#[cfg(not(unix))]
fn run(_: &mut Command, _: Duration) -> Result<Ended, Failed> {
    // Processes that a program has started cannot be ended there.
    Err(Failed::Start(io::Error::new(ErrorKind::Unsupported, "programs can be sensors on Unix only")))
}

fn is_private(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("ATALAYA_") || PRIVATE.contains(&name))
}

impl Sensor for Program {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let Ended { status, stdout, stderr } = self.run()?;
        if !status.success() {
            let line = stderr.trim_ascii().split(|&byte| byte == b'\n').next().unwrap_or_default();
            let complaint = if line.is_empty() { String::new() } else { format!(": {}", excerpt(line)) };
            return Err(self.fault(Cause::Other, format!("{status}{complaint}")));
        }
        let value = parse::number(&stdout)
            .map_err(|problem| self.fault(Cause::Other, format!("its output is {problem}")))?;
        let reading = Reading::new(self.quantity, value)
            .map_err(|error| self.fault(Cause::OutOfRange, error.to_string()))?;
        Ok(smallvec![reading])
    }
}

// These tests read /proc.
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;

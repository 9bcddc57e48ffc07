//! `chip = "command"`: a program that prints a number, for whatever has no driver here.
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
//! * **Output**: one number on stdout, blanks around it, at most [`MAX_OUTPUT`] bytes (then it is killed). stderr may be
//!   any length; the first line of it is in the error if the exit status is not 0.
//! * **Time**: `timeout`, 3 s if not set. Then the program is killed, with everything that it started. What it leaves
//!   behind when it ends in time is killed, too. On Linux that includes daemons ([`run_below`]), elsewhere only the
//!   process group.
//! * **Place**: it starts in the folder of boards.toml. A program with a `/` in its name that is relative starts there, too;
//!   without a `/` it is looked for in `PATH`.
//! * **Environment**: that of the node, without what is for the node alone (`ATALAYA_*`, which may hold secrets, and
//!   systemd's `NOTIFY_SOCKET`, `WATCHDOG_*` and `LISTEN_*`), and with `LC_ALL=C`, so that numbers have a point. stdin is
//!   empty; no other file of the node is open in it. Its rights are the node's.
//!
//! A node that is killed while the program runs takes it along on Linux; elsewhere the program runs on, unless a
//! service manager ends both. Unix only.

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
use crate::number::{excerpt, number};
use crate::reading::{Quantity, Reading, Readings};
use crate::sensor::{Sensor, SensorInfo};

/// The most that a program may print, in bytes.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// What a keeper ([`run_below`]) writes to stderr when it cannot run the program, followed by the number of the
/// error. Its exit code is then [`CANNOT_RUN_CODES`].
pub const CANNOT_RUN: &str = "atalaya: cannot run the program of a sensor: os error ";
/// Exit codes of a keeper that cannot run the program, as shells have them.
pub const CANNOT_RUN_CODES: [i32; 2] = [126, 127];

/// Words in front of each command.
static KEEPER: OnceLock<Vec<OsString>> = OnceLock::new();

/// Runs every program of this process below a keeper from now on: a program that gets these words, then those of the
/// command. It must run the command in a process group of its own, end what the command leaves behind, kill
/// everything if this process ends, and end as the command ends. The first call counts.
pub fn run_below(keeper: Vec<OsString>) {
    let _ = KEEPER.set(keeper);
}

/// What systemd tells the node and nobody else.
const PRIVATE: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// A program that prints a number.
pub struct Program {
    command: Vec<String>,
    timeout: Duration,
    /// Where it starts; empty for where the node is.
    folder: PathBuf,
    quantity: Quantity,
    /// One that did not die of being killed: it waits in the kernel, perhaps for a disk.
    undead: Option<Child>,
    info: SensorInfo,
}

/// A program that ended by itself.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    /// The beginning.
    stderr: Vec<u8>,
}

impl Ended {
    /// Returns why the keeper could not run the program, if that is what happened.
    fn not_run(&self) -> Option<io::Error> {
        KEEPER.get()?;
        let code = self.status.code().filter(|code| CANNOT_RUN_CODES.contains(code));
        let number = code.and(self.stderr.trim_ascii().strip_prefix(CANNOT_RUN.as_bytes()))?;
        Some(io::Error::from_raw_os_error(std::str::from_utf8(number).ok()?.parse().ok()?))
    }
}

/// Why a program gave nothing.
#[cfg_attr(not(unix), allow(dead_code, reason = "there, none is started"))]
#[derive(Debug)]
enum Failed {
    Start(io::Error),
    /// It was killed, and if it does not die of that, here it is.
    Late(Option<Child>),
    /// It was killed because it did not stop to print.
    Endless(Option<Child>),
    System(io::Error),
}

impl Program {
    /// The program `command[0]` with its arguments, which may run for `timeout`; its number is in the unit of `quantity`.
    /// `folder` is that of boards.toml. Nothing is started yet.
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
        // Without the arguments: there may be a password among them.
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
            // An absolute program stays as it is.
            true => folder.join(program),
            false => PathBuf::from(program),
        };
        let mut command = match KEEPER.get().and_then(|keeper| keeper.split_first()) {
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
    // Nothing there ends what a program has started.
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
        let value = number(&stdout)
            .map_err(|problem| self.fault(Cause::Other, format!("its output is {problem}")))?;
        let reading = Reading::new(self.quantity, value)
            .map_err(|error| self.fault(Cause::OutOfRange, error.to_string()))?;
        Ok(smallvec![reading])
    }
}

// They look into /proc.
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;

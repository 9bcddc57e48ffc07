//! How a command ends: the exit codes of sysexits(3), and what is said on the way out.

use std::process::ExitCode;

/// Why a command ended without success.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

/// EX_USAGE: the command line is wrong.
const USAGE: u8 = 64;
/// EX_DATAERR: what stands in ZooKeeper is not what it must be.
const DATA: u8 = 65;
/// EX_UNAVAILABLE: ZooKeeper cannot be reached.
const UNAVAILABLE: u8 = 69;
/// EX_SOFTWARE: a defect of the program, or a machine that gives it nothing.
pub(crate) const SOFTWARE: u8 = 70;
/// EX_CANTCREAT: the node id is taken.
const TAKEN: u8 = 73;
/// EX_IOERR: a sensor could not be read.
const IO: u8 = 74;
/// EX_TEMPFAIL: it was not to be had in time, or was lost; another try may have it.
const NOT_NOW: u8 = 75;
/// What a shell says of a command that cannot be run, and of one that is not there.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// EX_CONFIG: boards.toml or the environment is wrong.
const CONFIG: u8 = 78;

impl Failure {
    /// The command line is wrong (64).
    pub fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: USAGE, error: error.into() }
    }

    /// What stands in ZooKeeper is not what it must be (65).
    pub fn data(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: DATA, error: error.into() }
    }

    /// ZooKeeper cannot be reached (69).
    pub fn unavailable(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: UNAVAILABLE, error: error.into() }
    }

    /// The machine did not give what every program needs: threads, a runtime (70).
    pub fn software(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: SOFTWARE, error: error.into() }
    }

    /// The node id is taken (73).
    pub fn taken(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: TAKEN, error: error.into() }
    }

    /// A sensor could not be read (74).
    pub fn io(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: IO, error: error.into() }
    }

    /// It was not to be had in time, or was lost (75).
    pub fn not_now(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: NOT_NOW, error: error.into() }
    }

    /// A command could not be run: as a shell has it, 127 if it is not there, else 126.
    pub fn not_run(cause: &std::io::Error, error: impl Into<anyhow::Error>) -> Failure {
        let missing = cause.kind() == std::io::ErrorKind::NotFound;
        Failure { code: if missing { NOT_FOUND } else { NOT_EXECUTABLE }, error: error.into() }
    }

    /// boards.toml or the environment is wrong (78).
    pub fn config(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: CONFIG, error: error.into() }
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Returns the exit code as a number.
    pub(crate) fn number(&self) -> u8 {
        self.code
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

//! Exit codes, as in sysexits(3), and the error message of a command. Only `main` and the commands know them.

use std::process::{ExitCode, ExitStatus};

#[cfg(feature = "demo")]
use crate::demo::DemoError;
use crate::node::NodeError;
use crate::reload::{LoadError, OpenBoardError};
use crate::settings::SettingsError;
use crate::settings::api_token::TokenError;

/// Error of a command: a message for stderr and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: anyhow::Error,
}

/// `EX_USAGE`: the command line is wrong.
const USAGE: u8 = 64;
/// `EX_DATAERR`: data in ZooKeeper or in a file is malformed.
const DATA: u8 = 65;
/// `EX_UNAVAILABLE`: ZooKeeper or another server cannot be reached, or an address cannot be listened on.
const UNAVAILABLE: u8 = 69;
/// `EX_SOFTWARE`: a defect of this program, or the operating system refuses a resource.
pub(crate) const INTERNAL: u8 = 70;
/// `EX_CANTCREAT`: the node id is in use.
const ID_IN_USE: u8 = 73;
/// `EX_IOERR`: input or output failed, or a sensor or znode could not be read.
const IO: u8 = 74;
/// `EX_TEMPFAIL`: a resource was not available in time or was lost; a retry may succeed.
const TEMP_FAIL: u8 = 75;
/// `EX_CONFIG`: boards.toml or the environment is wrong.
const CONFIG: u8 = 78;
/// Exit code of a shell for a command that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// Exit code of a shell for a command that is not found.
const NOT_FOUND: u8 = 127;

impl Failure {
    /// Wrong command line (64).
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: USAGE, error: error.into() }
    }

    /// Malformed data in ZooKeeper or in a file (65).
    pub(crate) fn data(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: DATA, error: error.into() }
    }

    /// Unreachable server, or an address that cannot be listened on (69).
    pub(crate) fn unavailable(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: UNAVAILABLE, error: error.into() }
    }

    /// Missing resource of the operating system, such as a thread or a runtime (70).
    pub(crate) fn internal(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: INTERNAL, error: error.into() }
    }

    /// Node id that another process uses (73).
    pub(crate) fn id_in_use(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: ID_IN_USE, error: error.into() }
    }

    /// Failed input or output, including sensors and missing znodes (74).
    pub(crate) fn io(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: IO, error: error.into() }
    }

    /// Resource that was not available in time, or was lost (75).
    pub(crate) fn temp_fail(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: TEMP_FAIL, error: error.into() }
    }

    /// Command that could not be executed: as in a shell, 127 if it does not exist, 126 otherwise.
    pub(crate) fn not_run(cause: &std::io::Error, error: impl Into<anyhow::Error>) -> Failure {
        let missing = cause.kind() == std::io::ErrorKind::NotFound;
        Failure { code: if missing { NOT_FOUND } else { NOT_EXECUTABLE }, error: error.into() }
    }

    /// Wrong boards.toml or environment (78).
    pub(crate) fn config(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: CONFIG, error: error.into() }
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    pub(crate) fn number(&self) -> u8 {
        self.code
    }
}

/// Returns the exit code of a child process: its own, or 128 plus the number of the signal that killed it.
pub(crate) fn code_of(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    status.code().or(signal.map(|signal| 128 + signal)).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        match error {
            SettingsError::Flag { .. } => Failure::usage(error),
            _ => Failure::config(error),
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Failure {
        Failure::config(error)
    }
}

impl From<OpenBoardError> for Failure {
    fn from(error: OpenBoardError) -> Failure {
        match error {
            OpenBoardError::Thread(_) => Failure::internal(error),
            OpenBoardError::Board(_) | OpenBoardError::Sensor(_) => Failure::config(error),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Failure {
        match error {
            LoadError::Settings(error) => error.into(),
            LoadError::Open(error) => error.into(),
            LoadError::NoBoards => Failure::config(error),
            LoadError::Thread(_) | LoadError::Panicked => Failure::internal(error),
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Failure {
        match error {
            NodeError::IdInUse { .. } => Failure::id_in_use(error),
            NodeError::Unavailable { .. } => Failure::unavailable(error),
        }
    }
}

#[cfg(feature = "demo")]
impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Failure {
        match error {
            DemoError::Settings(error) => error.into(),
            DemoError::Board(error) => error.into(),
            DemoError::Listen { .. } => Failure::unavailable(error),
            DemoError::Terminal(_) | DemoError::Io(_) => Failure::io(error),
            DemoError::ZooKeeper(_) | DemoError::OpenFiles { .. } | DemoError::StartNode { .. } => {
                Failure::internal(error)
            }
        }
    }
}

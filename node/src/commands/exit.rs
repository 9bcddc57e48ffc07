//! Exit codes, as in sysexits(3), and the error message of a command. Only `main` and the commands know them.

use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::anyhow;
use atalaya_recipes::{ConnectError, ConnectString};

#[cfg(feature = "demo")]
use crate::demo::DemoError;
use crate::node::NodeError;
use crate::reload::{LoadError, OpenBoardError};
use crate::settings::SettingsError;

/// Error of a command: a message for stderr and an exit code.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}")]
pub(crate) struct Failure {
    code: u8,
    error: anyhow::Error,
}

/// Exit code for a missing resource of the operating system, or a defect of this program.
pub(crate) const INTERNAL: u8 = 70;

/// Defines a constructor of [`Failure`] per exit code.
macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident: $code:expr,)*) => {
        impl Failure {
            $($(#[$doc])* pub(crate) fn $name(error: impl Into<anyhow::Error>) -> Failure {
                Failure { code: $code, error: error.into() }
            })*
        }
    };
}

failures! {
    /// As in diff(1): there are differences.
    different: 1,
    /// A task has failed.
    task_failed: 1,
    /// `EX_USAGE`: the command line is wrong.
    usage: 64,
    /// `EX_DATAERR`: data in ZooKeeper or in a file is malformed.
    data: 65,
    /// `EX_UNAVAILABLE`: ZooKeeper or another server cannot be reached, or an address cannot be listened on.
    unavailable: 69,
    /// `EX_SOFTWARE`: the operating system refuses a resource, such as a thread or a runtime.
    internal: INTERNAL,
    /// `EX_CANTCREAT`: the node id is in use.
    id_in_use: 73,
    /// `EX_IOERR`: input or output failed, or a sensor or znode could not be read.
    io: 74,
    /// `EX_TEMPFAIL`: a resource was not available in time or was lost; a retry may succeed.
    temp_fail: 75,
    /// `EX_PROTOCOL`: no agreement with ZooKeeper's servers, such as a failed TLS handshake.
    protocol: 76,
    /// `EX_NOPERM`: ZooKeeper refuses the identity or an operation.
    no_permission: 77,
    /// `EX_CONFIG`: boards.toml or the environment is wrong.
    config: 78,
}

impl Failure {
    /// Command that could not be executed: as in a shell, 127 if it does not exist, 126 otherwise.
    pub(crate) fn not_run(cause: &std::io::Error, error: impl Into<anyhow::Error>) -> Failure {
        let is_missing = cause.kind() == std::io::ErrorKind::NotFound;
        Failure { code: if is_missing { 127 } else { 126 }, error: error.into() }
    }

    /// No session with ZooKeeper within `timeout`, for the reason of the last attempt.
    pub(crate) fn not_connected(
        servers: &ConnectString,
        reason: Option<&ConnectError>,
        timeout: Duration,
    ) -> Failure {
        let late = format!("ZooKeeper at {servers} was not reached within {timeout:?}");
        let remedy = "check --zookeeper and that the servers are running";
        match reason {
            Some(reason) if reason.is_final() || matches!(reason, ConnectError::Tls { .. }) => {
                Failure::refused(reason, format!("no session with ZooKeeper at {servers}: {reason}"))
            }
            Some(reason) => Failure::unavailable(anyhow!("{late}: {reason}; {remedy}")),
            None => Failure::unavailable(anyhow!("{late}; {remedy}")),
        }
    }

    /// ZooKeeper or this client refuses a session for `reason`, which `text` describes.
    pub(crate) fn refused(reason: &ConnectError, text: String) -> Failure {
        let error = anyhow!(text);
        match reason {
            reason if reason.is_identity_refused() => Failure::no_permission(error),
            ConnectError::TlsOptions(_) => Failure::config(error),
            _ => Failure::protocol(error),
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// Returns the exit code of a child process: its own, or 128 plus the number of the signal that killed it.
pub(crate) fn code_of(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None;
    shell_code(status.code(), signal)
}

/// Returns the exit code, or 128 plus the number of the signal, or 1 if there is neither.
pub(crate) fn shell_code(code: Option<i32>, signal: Option<i32>) -> u8 {
    code.or(signal.map(|signal| 128 + signal)).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        match error {
            SettingsError::Flag(..) => Failure::usage(error),
            _ => Failure::config(error),
        }
    }
}

impl From<atalaya_recipes::Error> for Failure {
    fn from(error: atalaya_recipes::Error) -> Failure {
        if error.is_no_auth() { Failure::no_permission(error) } else { Failure::temp_fail(error) }
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
            NodeError::Unavailable { servers, reason, timeout } => {
                Failure::not_connected(&servers, reason.as_ref(), timeout)
            }
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
            DemoError::ZooKeeper(_) | DemoError::OpenFiles { .. } => Failure::internal(error),
        }
    }
}

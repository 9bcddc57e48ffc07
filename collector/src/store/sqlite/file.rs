//! The file: its options, its identity, and the errors of using it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

use crate::store::error::StoreError;

/// Path and options of the file.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file. Its folder must exist; SQLite creates a `-wal` and a `-shm` file beside it.
    pub path: PathBuf,
    /// Timeout while another process locks the file.
    pub lock_timeout: Duration,
    /// Timeout of a read.
    pub read_timeout: Duration,
    /// Maximum size of the file, in bytes; further reports are refused until older ones are deleted.
    pub max_bytes: Option<u64>,
}

impl SqliteOptions {
    /// Returns the default options.
    pub fn new(path: impl Into<PathBuf>) -> SqliteOptions {
        SqliteOptions {
            path: path.into(),
            lock_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(5),
            max_bytes: None,
        }
    }
}

/// Returns the identity of the file at a path. It changes if the file is moved away or replaced.
#[cfg(unix)]
pub(super) fn file_id(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// On other systems an open file cannot be moved away.
#[cfg(not(unix))]
pub(super) fn file_id(path: &Path) -> Option<(u64, u64)> {
    path.exists().then_some((0, 0))
}

/// Returns the error for the client: the reason without the path.
pub(super) fn to_store_error(error: &rusqlite::Error) -> StoreError {
    let reason = match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => return StoreError::TooLong,
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program has locked it",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "its file is damaged",
        Some(ErrorCode::CannotOpen) => "its file cannot be opened",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "its file cannot be written",
        _ => "its file cannot be used",
    };
    StoreError::Unavailable(reason.to_owned())
}

//! Errors of the stores.

use thiserror::Error;

/// Error of a store. The call may be repeated later in all cases.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The store cannot be reached or written: full, locked, damaged.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Too many calls are waiting.
    #[error("too many requests wait for the store")]
    Busy,
    /// The query takes too long.
    #[error("the query takes too long: request a shorter time range")]
    TooLong,
}

impl StoreError {
    /// Returns the error of calls after the store was closed.
    pub(super) fn closed() -> StoreError {
        StoreError::Unavailable("it is closed".to_owned())
    }
}

/// Reason why a name does not open a store. The name is not repeated in full, because it may contain a password.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The kind of store is unknown.
    #[error("{0} is not a known store: use sqlite:PATH, redis://HOST:PORT, rediss://HOST:PORT or memory")]
    Unknown(String),
    /// The kind is known, but the name is not valid; the message contains the correct form.
    #[error("{0}")]
    Wrong(String),
    /// The system cannot start another thread.
    #[error("the thread of the store cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

//! Error of a check.

use thiserror::Error;

/// Reason why a value is invalid, for the client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    pub(crate) fn new(message: impl Into<String>) -> Invalid {
        Invalid(message.into())
    }

    /// Adds the name of the invalid value.
    pub(crate) fn of(self, value: impl std::fmt::Display) -> Invalid {
        Invalid(format!("{value}: {self}"))
    }
}

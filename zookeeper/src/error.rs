//! Error codes of the protocol. Used by all modules that may refuse a request.

use super::jute::Malformed;

/// Reason for the refusal of a request, as its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Code {
    /// Another operation of the same `multi` failed, so this one was not executed.
    RuntimeInconsistency = -2,
    /// The request is malformed.
    Marshalling = -5,
    /// The server does not support the request.
    Unimplemented = -6,
    /// The path or a flag is not allowed.
    BadArguments = -8,
    /// The znode does not exist.
    NoNode = -101,
    /// The znode's ACL does not permit the operation.
    NoAuth = -102,
    /// The znode has a different version.
    BadVersion = -103,
    /// An ephemeral znode cannot have children.
    NoChildrenForEphemerals = -108,
    /// The znode already exists.
    NodeExists = -110,
    /// The znode has children.
    NotEmpty = -111,
    /// The session has expired.
    SessionExpired = -112,
    /// The ACL is empty, or contains an invalid identity.
    InvalidAcl = -114,
    /// Authentication failed, or its scheme is unknown.
    AuthFailed = -115,
    /// The watch to remove does not exist.
    NoWatcher = -121,
    /// Reconfiguration is disabled.
    ReconfigDisabled = -123,
    /// The write would exceed a quota.
    QuotaExceeded = -125,
}

impl From<Malformed> for Code {
    fn from(Malformed: Malformed) -> Self {
        Self::Marshalling
    }
}

impl Code {
    /// Returns the number on the wire.
    pub(crate) fn number(self) -> i32 {
        self as i32
    }
}

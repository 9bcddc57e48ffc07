//! The error codes of the protocol. Used by everything that may refuse a request.

use super::jute::Malformed;

/// Why a request was refused, as the number that goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Code {
    /// Another operation of the same `multi` failed, so this one was not tried.
    RuntimeInconsistency = -2,
    /// The request's bytes are no request of its kind.
    Marshalling = -5,
    /// This server does not do that.
    Unimplemented = -6,
    /// The path or a flag is not allowed.
    BadArguments = -8,
    /// There is no such znode.
    NoNode = -101,
    /// The znode's ACL does not let this client do that.
    NoAuth = -102,
    /// The znode's version is another one.
    BadVersion = -103,
    /// An ephemeral znode cannot have children.
    NoChildrenForEphemerals = -108,
    /// The znode exists already.
    NodeExists = -110,
    /// The znode has children.
    NotEmpty = -111,
    /// The session is over.
    SessionExpired = -112,
    /// The ACL is empty, or names nobody that can exist.
    InvalidAcl = -114,
    /// Authentication failed, or its scheme is unknown.
    AuthFailed = -115,
    /// There is no such watch to remove.
    NoWatcher = -121,
    /// Reconfiguration is switched off.
    ReconfigDisabled = -123,
    /// There would be more than a quota allows.
    QuotaExceeded = -125,
}

impl From<Malformed> for Code {
    fn from(Malformed: Malformed) -> Self {
        Self::Marshalling
    }
}

impl Code {
    /// The number on the wire.
    pub(crate) fn number(self) -> i32 {
        self as i32
    }
}

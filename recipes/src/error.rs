//! Errors of requests to ZooKeeper, with operation and path.

use std::time::Duration;

use zookeeper_client as zk;

use crate::wrong_znode::{WrongZnode, ZnodeProblem, shown};

const MAX_EXCERPT_CHARS: usize = 80;

/// Failure of a request. [`Error::outcome_unknown`] returns true if the request may have taken effect nevertheless.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The session is not connected, or the session of this [`crate::Connection`] has been replaced. Nothing was sent.
    #[error("{operation} {path}: not connected to ZooKeeper")]
    NotConnected {
        /// Requested operation.
        operation: &'static str,
        /// Path of the znode.
        path: String,
    },
    /// No response came in time. A write may have taken effect, or may still take effect.
    #[error("{operation} {path}: no response from ZooKeeper within {after:?}")]
    Timeout {
        /// Requested operation.
        operation: &'static str,
        /// Path of the znode.
        path: String,
        /// Timeout that elapsed.
        after: Duration,
    },
    /// ZooKeeper, or its client library, returned an error.
    #[error("{operation} {path}: {source}{}", remedy(operation, path, source))]
    Refused {
        /// Requested operation.
        operation: &'static str,
        /// Path of the znode.
        path: String,
        /// Returned error.
        source: zk::Error,
    },
}

impl Error {
    /// Returns true if the request may have taken effect although it failed. Read the znode before you repeat it.
    pub fn outcome_unknown(&self) -> bool {
        use zk::Error::{ConnectionLoss, Custom, Timeout, UnexpectedError, UnmarshalError};
        let is_unknown = |answer: &zk::Error| {
            matches!(
                answer,
                ConnectionLoss | Timeout | UnexpectedError(_) | UnmarshalError { .. } | Custom(_)
            )
        };
        matches!(self, Error::Timeout { .. }) || self.answer().is_some_and(is_unknown)
    }

    /// Returns true if the connection or the session failed, not the request. Wait for the next connection and try
    /// again.
    pub fn is_connection_loss(&self) -> bool {
        use zk::Error::{AuthFailed, ClientClosed, NoHosts, SessionExpired, SessionMoved, Throttled};
        // After AuthFailed, a new session is started, with the credentials that are configured then.
        let is_loss = |answer: &zk::Error| {
            matches!(answer, AuthFailed | SessionExpired | SessionMoved | ClientClosed | NoHosts | Throttled)
        };
        matches!(self, Error::NotConnected { .. })
            || self.outcome_unknown()
            || self.answer().is_some_and(is_loss)
    }

    /// Returns true if the znode was created, changed or deleted by another client that was faster.
    pub(crate) fn is_conflict(&self) -> bool {
        self.is_no_node() || self.is_node_exists() || self.is_bad_version()
    }

    /// Returns true if a retry may succeed without an operator: the connection failed, or another client was faster.
    pub(crate) fn is_transient(&self) -> bool {
        self.is_connection_loss() || self.is_conflict()
    }

    /// Returns the error that ZooKeeper or its client library returned, if any.
    pub fn answer(&self) -> Option<&zk::Error> {
        match self {
            Error::Refused { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Returns the znode of the wrong type that made ZooKeeper refuse the operation, if that is the cause.
    pub fn wrong_znode(&self) -> Option<WrongZnode> {
        match self {
            Error::Refused { path, source, .. } => wrong_znode(path, source),
            _ => None,
        }
    }

    /// Returns true if the znode does not exist.
    pub fn is_no_node(&self) -> bool {
        matches!(self.answer(), Some(zk::Error::NoNode))
    }

    /// Returns true if the znode exists already.
    pub fn is_node_exists(&self) -> bool {
        matches!(self.answer(), Some(zk::Error::NodeExists))
    }

    /// Returns true if the ACL of the znode, or of its parent, does not permit the operation.
    pub fn is_no_auth(&self) -> bool {
        matches!(self.answer(), Some(zk::Error::NoAuth))
    }

    /// Returns true if ZooKeeper does not accept an ACL, for example because no server knows its scheme.
    pub fn is_invalid_acl(&self) -> bool {
        matches!(self.answer(), Some(zk::Error::InvalidAcl))
    }

    /// Returns true if the znode is not at the expected version.
    pub fn is_bad_version(&self) -> bool {
        matches!(self.answer(), Some(zk::Error::BadVersion))
    }
}

/// Returns the explanation and the remedy to append to a message; empty for most errors.
fn remedy(operation: &str, path: &str, source: &zk::Error) -> String {
    match source {
        zk::Error::NoAuth => missing_permission(operation, path),
        zk::Error::InvalidAcl => {
            ": the ACL is empty or has an unknown scheme, or it has scheme auth and this client has no identity"
                .to_owned()
        }
        _ => wrong_znode(path, source)
            .map_or_else(String::new, |wrong| format!(": {wrong}; {}", wrong.remedy())),
    }
}

fn wrong_znode(path: &str, source: &zk::Error) -> Option<WrongZnode> {
    match source {
        zk::Error::NotEmpty => Some(WrongZnode::new(path, ZnodeProblem::HasChildren)),
        zk::Error::NoChildrenForEphemerals => Some(WrongZnode::new(parent(path), ZnodeProblem::Ephemeral)),
        _ => None,
    }
}

/// Returns a text that names the permission that `operation` needs, and the znode whose ACL must grant it.
fn missing_permission(operation: &str, path: &str) -> String {
    let (permission, znode) = match operation {
        "create" => ("CREATE", parent(path)),
        "delete" => ("DELETE", parent(path)),
        "set" => ("WRITE", path),
        "setAcl" => ("ADMIN", path),
        "get" | "getAcl" | "ls" | "check" => ("READ", path),
        "mkdir" => {
            let path = shown(path);
            return format!(
                ": this client lacks the CREATE permission on the nearest existing parent of {path}"
            );
        }
        _ => return ": this client lacks a permission".to_owned(),
    };
    let znode = shown(znode);
    format!(
        ": this client lacks the {permission} permission on {znode}; grant it with zkCli.sh setAcl {znode}"
    )
}

/// Returns the beginning of the data of a znode, for an error message.
pub(crate) fn excerpt(data: &[u8]) -> String {
    // A character has at most four bytes.
    let head = &data[..data.len().min(MAX_EXCERPT_CHARS * 4)];
    String::from_utf8_lossy(head).chars().take(MAX_EXCERPT_CHARS).collect()
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_the_missing_permission_and_the_znode_that_has_to_grant_it() {
        for (operation, path, expected) in [
            (
                "create",
                "/mediciones/1",
                "the CREATE permission on /mediciones; grant it with zkCli.sh setAcl /mediciones",
            ),
            ("create", "/barrier", "the CREATE permission on /; "),
            ("delete", "/election/a__lock__01", "the DELETE permission on /election; "),
            ("set", "/counter", "the WRITE permission on /counter; "),
            ("ls", "/mediciones", "the READ permission on /mediciones; "),
            ("setAcl", "/mediciones", "the ADMIN permission on /mediciones; "),
            ("mkdir", "/a/b", "the CREATE permission on the nearest existing parent of /a/b"),
        ] {
            let error = Error::Refused { operation, path: path.into(), source: zk::Error::NoAuth };
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn error_of_a_session_that_ended_is_a_connection_loss() {
        let refused = |source| Error::Refused { operation: "get", path: "/a".into(), source };
        for ended in [zk::Error::AuthFailed, zk::Error::SessionExpired, zk::Error::ClientClosed] {
            let error = refused(ended);
            assert!(error.is_connection_loss() && !error.outcome_unknown(), "{error}");
        }
        assert!(!refused(zk::Error::NoAuth).is_connection_loss());
    }

    #[test]
    fn refusal_because_of_a_wrong_znode_names_it_and_the_remedy() {
        let refused = |path: &str, source| Error::Refused { operation: "delete", path: path.into(), source };
        let error = refused("/barrier", zk::Error::NotEmpty);
        assert_eq!(error.wrong_znode(), Some(WrongZnode::new("/barrier", ZnodeProblem::HasChildren)));
        assert!(error.to_string().contains("list them with: atalaya inspect /barrier"), "{error}");
        let error = refused("/mediciones/1", zk::Error::NoChildrenForEphemerals);
        assert_eq!(error.wrong_znode(), Some(WrongZnode::new("/mediciones", ZnodeProblem::Ephemeral)));
        assert!(error.to_string().contains("zkCli.sh delete /mediciones"), "{error}");
        assert_eq!(refused("/a", zk::Error::NoNode).wrong_znode(), None);
    }
}

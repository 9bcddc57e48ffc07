//! What can go wrong with a call to ZooKeeper, said with the operation and the path.

use std::time::Duration;

use zookeeper_client as zk;

use crate::wrong_znode::{WrongZnode, ZnodeProblem, shown};

/// A failed call. [`Error::outcome_unknown`] tells whether it may have taken effect all the same.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no connected session at the moment, or the session of this [`crate::Connection`] has been replaced. Nothing
    /// was sent.
    #[error("{operation} {path}: not connected to ZooKeeper")]
    NotConnected {
        /// What was asked for.
        operation: &'static str,
        /// On which znode.
        path: String,
    },
    /// No answer came in time. A write may have taken effect, or may still.
    #[error("{operation} {path}: no answer from ZooKeeper within {after:?}")]
    Timeout {
        /// What was asked for.
        operation: &'static str,
        /// On which znode.
        path: String,
        /// How long was waited.
        after: Duration,
    },
    /// ZooKeeper, or its client, answered with an error.
    #[error("{operation} {path}: {source}{}", remedy(operation, path, source))]
    Refused {
        /// What was asked for.
        operation: &'static str,
        /// On which znode.
        path: String,
        /// The answer.
        source: zk::Error,
    },
}

impl Error {
    /// The operation may have taken effect although it failed: look before it is done again.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Error::NotConnected { .. } => false,
            Error::Timeout { .. } => true,
            Error::Refused { source, .. } => matches!(
                source,
                zk::Error::ConnectionLoss
                    | zk::Error::Timeout
                    | zk::Error::UnexpectedError(_)
                    | zk::Error::UnmarshalError { .. }
                    | zk::Error::Custom(_)
            ),
        }
    }

    /// The connection or the session is the trouble, not the request: wait for the next link and try again.
    pub fn is_connection_loss(&self) -> bool {
        match self {
            Error::NotConnected { .. } | Error::Timeout { .. } => true,
            Error::Refused { source, .. } => {
                self.outcome_unknown()
                    || matches!(
                        source,
                        zk::Error::SessionExpired
                            | zk::Error::SessionMoved
                            | zk::Error::ClientClosed
                            | zk::Error::NoHosts
                            | zk::Error::Throttled
                    )
            }
        }
    }

    /// Returns whether trying again may succeed without the help of an operator: the connection is the trouble, or another
    /// client was faster.
    pub(crate) fn is_transient(&self) -> bool {
        self.is_connection_loss() || self.is_no_node() || self.is_node_exists() || self.is_bad_version()
    }

    /// ZooKeeper's own answer, if it was one.
    pub fn answer(&self) -> Option<&zk::Error> {
        match self {
            Error::Refused { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Returns the znode that has the wrong type for the operation, if that is why ZooKeeper refused it.
    pub fn wrong_znode(&self) -> Option<WrongZnode> {
        let Error::Refused { path, source, .. } = self else { return None };
        match source {
            zk::Error::NotEmpty => Some(WrongZnode::new(path, ZnodeProblem::HasChildren)),
            zk::Error::NoChildrenForEphemerals => {
                Some(WrongZnode::new(parent(path), ZnodeProblem::Ephemeral))
            }
            _ => None,
        }
    }

    /// The znode does not exist.
    pub fn is_no_node(&self) -> bool {
        matches!(self.answer(), Some(zk::Error::NoNode))
    }

    /// The znode exists already.
    pub fn is_node_exists(&self) -> bool {
        matches!(self.answer(), Some(zk::Error::NodeExists))
    }

    /// The znode is not at the version that was expected.
    pub fn is_bad_version(&self) -> bool {
        matches!(self.answer(), Some(zk::Error::BadVersion))
    }
}

/// Returns the explanation and the remedy that are appended to an answer; empty for most answers.
fn remedy(operation: &str, path: &str, source: &zk::Error) -> String {
    let explained = |wrong: WrongZnode| format!(": {wrong}; {}", wrong.remedy());
    match source {
        zk::Error::NoAuth => missing_permission(operation, path),
        zk::Error::NotEmpty => explained(WrongZnode::new(path, ZnodeProblem::HasChildren)),
        zk::Error::NoChildrenForEphemerals => {
            explained(WrongZnode::new(parent(path), ZnodeProblem::Ephemeral))
        }
        _ => String::new(),
    }
}

/// Names the permission that `operation` needs, and the znode whose ACL has to grant it.
fn missing_permission(operation: &str, path: &str) -> String {
    let (permission, znode) = match operation {
        "create" => ("CREATE", parent(path)),
        "delete" => ("DELETE", parent(path)),
        "set" => ("WRITE", path),
        "get" | "ls" | "check" => ("READ", path),
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
            ("mkdir", "/a/b", "the CREATE permission on the nearest existing parent of /a/b"),
        ] {
            let error = Error::Refused { operation, path: path.into(), source: zk::Error::NoAuth };
            assert!(error.to_string().contains(expected), "{error}");
        }
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

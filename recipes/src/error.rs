//! What can go wrong with a call to ZooKeeper, said with the operation and the path.

use std::time::Duration;

use zookeeper_client as zk;

/// A failed call. [`Error::outcome_unknown`] tells whether it may have taken effect all the same.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no connected session at the moment, or the session of this [`crate::Link`] has been replaced. Nothing
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
    #[error("{operation} {path}: {source}")]
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
    pub fn is_link_trouble(&self) -> bool {
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

    /// ZooKeeper's own answer, if it was one.
    pub fn answer(&self) -> Option<&zk::Error> {
        match self {
            Error::Refused { source, .. } => Some(source),
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

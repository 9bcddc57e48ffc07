//! Reasons why a session cannot be started, or cannot reconnect.

use zookeeper_client as zk;

/// Reason why the last attempt to connect failed. See
/// [`Session::connect_error`](super::Session::connect_error).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No server accepted a connection and answered on it.
    #[error("no server is reachable")]
    Unreachable,
    /// The servers refused the SASL or `addauth` credentials, three times in a row.
    #[error("ZooKeeper refused the user name or the password")]
    AuthFailed,
    /// The servers ignored SASL because they are not configured for it. The session would have no SASL identity.
    #[cfg(feature = "sasl-digest-md5")]
    #[error("ZooKeeper ignored SASL; configure authProvider and a JAAS file on the servers")]
    SaslIgnored,
    /// The chroot does not exist, and the ACL of its parent does not permit this client to create it.
    #[error("the chroot {0} does not exist, and this client may not create it")]
    NoChroot(String),
    /// No answer came within the session timeout.
    #[error("no answer within the session timeout")]
    Timeout,
    /// The TLS options are not usable, such as a key that does not belong to the certificate.
    #[cfg(feature = "tls")]
    #[error("TLS options: {0}")]
    TlsOptions(String),
    /// A server is reachable, but the TLS handshake with it fails.
    #[cfg(feature = "tls")]
    #[error("TLS handshake with {server}: {failure}")]
    Tls {
        /// Address of the server.
        server: String,
        /// Cause.
        failure: super::TlsFailure,
    },
    /// A server sent what ZooKeeper does not send, or a response above the limit.
    #[error("{server} {problem}")]
    BadResponse {
        /// Address of the server.
        server: String,
        /// Cause.
        problem: super::BadResponse,
    },
    /// The local port of the session cannot be opened, or its connections cannot be checked.
    #[error("local port of the ZooKeeper client: {0}")]
    Relay(String),
    /// Another error of ZooKeeper or its client library.
    #[error(transparent)]
    Client(zk::Error),
}

impl ConnectError {
    /// Returns true if another attempt with the same certificates and credentials cannot succeed. A server that is
    /// just starting may cause the others.
    pub fn is_final(&self) -> bool {
        match self {
            ConnectError::AuthFailed | ConnectError::NoChroot(_) => true,
            #[cfg(feature = "sasl-digest-md5")]
            ConnectError::SaslIgnored => true,
            #[cfg(feature = "tls")]
            ConnectError::TlsOptions(_) => true,
            #[cfg(feature = "tls")]
            ConnectError::Tls { failure, .. } => {
                !matches!(failure, super::TlsFailure::NotTls | super::TlsFailure::Other(_))
            }
            _ => false,
        }
    }

    /// Returns true if the servers refused the user, the password or the client certificate, or the permission to create
    /// the chroot.
    pub fn is_identity_refused(&self) -> bool {
        match self {
            ConnectError::AuthFailed | ConnectError::NoChroot(_) => true,
            #[cfg(feature = "tls")]
            ConnectError::Tls { failure: super::TlsFailure::ClientCertificate(_), .. } => true,
            _ => false,
        }
    }
}

impl From<zk::Error> for ConnectError {
    fn from(error: zk::Error) -> ConnectError {
        match error {
            zk::Error::NoHosts => ConnectError::Unreachable,
            zk::Error::AuthFailed => ConnectError::AuthFailed,
            zk::Error::Timeout => ConnectError::Timeout,
            error => ConnectError::Client(error),
        }
    }
}

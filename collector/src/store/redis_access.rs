//! Access to a Redis: a password from a file, and TLS.

use std::fmt;

/// Password and certificates for a Redis. The default: none.
#[derive(Clone, Default)]
pub struct RedisAccess {
    /// Password of the user in the address, or of the default user. Takes precedence over a password in the address.
    pub password: Option<String>,
    /// Certificates in PEM, one of which must have signed that of Redis. `None`: those that the system trusts.
    pub ca: Option<Vec<u8>>,
    /// Client certificate and its key, both in PEM.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for RedisAccess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedisAccess").finish_non_exhaustive()
    }
}

//! Client for a Redis, with its address.

use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use tokio_rustls::rustls::crypto::ring;

use crate::store::redis_access::RedisAccess;

impl RedisAccess {
    /// Creates a client for `redis://` or, with TLS, `rediss://`.
    ///
    /// # Errors
    /// Returns the reason, without the password, if the address or a certificate is not valid.
    pub(super) fn client(&self, address: &str) -> Result<Client, &'static str> {
        // The library's message may repeat the address with its password.
        let mut info = address.into_connection_info().map_err(|_| "the address is not valid")?;
        if let Some(password) = &self.password {
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                Err("TLS without a check of the certificate is not supported")
            }
            ConnectionAddr::TcpTls { .. } => self.client_with_tls(info),
            _ if self.ca.is_some() || self.certificate.is_some() => {
                Err("certificates are for TLS, which needs rediss://")
            }
            _ => Client::open(info).map_err(|_| "the address is not valid"),
        }
    }

    fn client_with_tls(&self, info: ConnectionInfo) -> Result<Client, &'static str> {
        // The library takes the process-wide provider; this fails if it is set already.
        let _ = ring::default_provider().install_default();
        let pair = self.certificate.clone();
        let client_tls = pair.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        let certificates = TlsCertificates { client_tls, root_cert: self.ca.clone() };
        Client::build_with_tls(info, certificates)
            .map_err(|_| "the certificates are not PEM, or not usable for TLS")
    }
}

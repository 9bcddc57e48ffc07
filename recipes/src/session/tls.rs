//! TLS to ZooKeeper: certificates, and the cause of a failed handshake.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, pem,
};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig, RootCertStore};

use super::{ConnectError, Secret, lock};

/// Certificates for TLS. Clones share them, so that they can be replaced while a session uses them.
///
/// Host names of the servers are verified. All servers of the session use TLS.
#[derive(Clone)]
pub struct Tls(Arc<Mutex<Arc<ClientConfig>>>);

/// PEM texts of the certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPem {
    /// Certificates of the authorities that sign the certificates of the servers, and optional revocation lists.
    pub ca: String,
    /// Certificate chain and key of the client, if the servers require one.
    pub identity: Option<(String, Secret)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Returns options with the certificates in `pem`.
    ///
    /// Uses the provider of cryptography that the program has installed for rustls, or else *ring*.
    ///
    /// # Errors
    /// Returns [`ConnectError::TlsOptions`] if a text is not valid, has no certificate or no key, or if the key does
    /// not belong to the certificate.
    pub fn new(pem: &TlsPem) -> Result<Tls, ConnectError> {
        Ok(Tls(Arc::new(Mutex::new(parse(pem)?))))
    }

    /// Replaces the certificates. The next connection uses them, also a reconnect of the current session; the current
    /// connection remains.
    ///
    /// # Errors
    /// As [`Tls::new`]. The old certificates remain in use.
    pub fn reload(&self, pem: &TlsPem) -> Result<(), ConnectError> {
        *lock(&self.0) = parse(pem)?;
        Ok(())
    }

    /// Makes a TLS handshake with the server at `host`. A connection that the server closes during the handshake is a
    /// failure too.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, TlsFailure> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsFailure::ServerName)?;
        let config = Arc::clone(&lock(&self.0));
        let connected = TlsConnector::from(config).connect(name, stream).await;
        connected.map_err(|error| classify(&error).unwrap_or(TlsFailure::NotTls))
    }
}

fn parse(pem: &TlsPem) -> Result<Arc<ClientConfig>, ConnectError> {
    let invalid = |what: &str, error: &dyn fmt::Display| ConnectError::TlsOptions(format!("{what}: {error}"));
    let bad_ca = |error: pem::Error| invalid("CA", &error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.ca.as_bytes()) {
        roots.add(certificate.map_err(bad_ca)?).map_err(|error| invalid("CA", &error))?;
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem.ca.as_bytes()).collect();
    let provider =
        CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()));
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .with_crls(lists.map_err(bad_ca)?)
        .build()
        .map_err(|error| invalid("CA", &error))?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| ConnectError::TlsOptions(error.to_string()))?;
    let builder = builder.with_webpki_verifier(verifier);
    let Some((chain, key)) = &pem.identity else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let certificates = certificates.map_err(|error| invalid("client certificate", &error))?;
    if certificates.is_empty() {
        return Err(invalid("client certificate", &pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_slice(key.expose().as_bytes());
    let private = private.map_err(|error| invalid("client key", &error))?;
    let config = builder.with_client_auth_cert(certificates, private);
    config.map(Arc::new).map_err(|error| invalid("client key", &error))
}

/// Cause of a failed TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The certificate of the server is not signed by the configured CA.
    #[error("the server's certificate is not signed by the configured CA")]
    UnknownIssuer,
    /// The certificate of the server, or of its CA, has expired.
    #[error("the server's certificate has expired, or the clock of this host is wrong")]
    Expired,
    /// The certificate of the server is not valid yet, for example because the clock is in 1970.
    #[error("the server's certificate is not valid yet; is the clock of this host right?")]
    NotYetValid,
    /// The certificate of the server does not contain the host name in the connect string.
    #[error("the server's certificate is for another host name")]
    WrongHostName,
    /// The host in the connect string cannot be in a certificate.
    #[error("the host is neither a host name nor an IP address that a certificate can contain")]
    ServerName,
    /// The server closed the connection, or answered without TLS.
    #[error("the server does not answer with TLS; is this its port for clients without TLS?")]
    NotTls,
    /// The server refused the client's certificate, or requires one.
    #[error("the server refused the client's certificate ({0})")]
    ClientCertificate(String),
    /// Another cause.
    #[error("{0}")]
    Other(String),
}

/// Returns the cause of a failure, or `None` if the connection failed below TLS.
pub(super) fn classify(error: &io::Error) -> Option<TlsFailure> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let failure = match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFailure::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFailure::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsFailure::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFailure::WrongHostName
            }
            error => TlsFailure::Other(error.to_string()),
        },
        rustls::Error::InvalidMessage(_) => TlsFailure::NotTls,
        rustls::Error::AlertReceived(alert) if is_about_certificate(*alert) => {
            TlsFailure::ClientCertificate(format!("{alert:?}"))
        }
        error => TlsFailure::Other(error.to_string()),
    };
    Some(failure)
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_of_failed_handshakes_are_distinguished() {
        let certificate = |error| classify(&io::Error::other(rustls::Error::InvalidCertificate(error)));
        assert_eq!(certificate(CertificateError::UnknownIssuer), Some(TlsFailure::UnknownIssuer));
        assert_eq!(certificate(CertificateError::BadSignature), Some(TlsFailure::UnknownIssuer));
        assert_eq!(certificate(CertificateError::Expired), Some(TlsFailure::Expired));
        assert_eq!(certificate(CertificateError::NotValidYet), Some(TlsFailure::NotYetValid));
        assert_eq!(certificate(CertificateError::NotValidForName), Some(TlsFailure::WrongHostName));
        let revoked = certificate(CertificateError::Revoked);
        assert!(matches!(revoked, Some(TlsFailure::Other(_))), "{revoked:?}");
        let alert = |alert| classify(&io::Error::other(rustls::Error::AlertReceived(alert)));
        let required = alert(AlertDescription::CertificateRequired);
        assert_eq!(required, Some(TlsFailure::ClientCertificate("CertificateRequired".into())));
        assert!(matches!(alert(AlertDescription::ProtocolVersion), Some(TlsFailure::Other(_))));
        assert_eq!(classify(&io::Error::from(io::ErrorKind::UnexpectedEof)), None);
    }
}

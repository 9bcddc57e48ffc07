//! TLS to ZooKeeper: certificates, and the cause of a failed handshake.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, pem,
};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig, RootCertStore};
use zookeeper_client as zk;

use super::{ConnectError, Secret, lock};

/// Wait for an alert after the handshake. With TLS 1.3, a server checks the client's certificate after the client has
/// completed the handshake.
const ALERT_TIMEOUT: Duration = Duration::from_millis(500);

/// Certificates for TLS. Clones share them, so that they can be replaced while a session uses them.
///
/// Host names of the servers are verified. All servers of the session use TLS.
#[derive(Clone)]
pub struct Tls {
    /// Certificates of the connections that the client library makes.
    certs: zk::TlsDynamicCerts,
    /// The same certificates, for the diagnosis of a failed handshake.
    config: Arc<Mutex<Arc<ClientConfig>>>,
}

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
    /// # Panics
    /// Panics if the program links more than one provider of cryptography for rustls and has not chosen a default one.
    ///
    /// # Errors
    /// Returns [`ConnectError::TlsOptions`] if a text is not valid, has no certificate or no key, or if the key does
    /// not belong to the certificate.
    pub fn new(pem: &TlsPem) -> Result<Tls, ConnectError> {
        let (certs, config) = parse(pem)?;
        Ok(Tls { certs: zk::TlsDynamicCerts::new(certs), config: Arc::new(Mutex::new(config)) })
    }

    /// Replaces the certificates. The next connection uses them, also a reconnect of the current session; the current
    /// connection remains.
    ///
    /// # Errors
    /// As [`Tls::new`]. The old certificates remain in use.
    pub fn reload(&self, pem: &TlsPem) -> Result<(), ConnectError> {
        let (certs, config) = parse(pem)?;
        self.certs.update(certs);
        *lock(&self.config) = config;
        Ok(())
    }

    pub(super) fn client_options(&self) -> zk::TlsOptions {
        zk::TlsOptions::new().with_certs(self.certs.clone())
    }

    /// Connects to each of `servers` in turn until a handshake fails, and returns the cause. Returns `None` if none
    /// fails.
    pub(super) async fn diagnose(&self, servers: &str, timeout: Duration) -> Option<ConnectError> {
        for server in servers.split(',') {
            let config = Arc::clone(&lock(&self.config));
            if let Ok(Err(failure)) = tokio::time::timeout(timeout, handshake(config, server)).await {
                return Some(ConnectError::Tls { server: server.to_owned(), failure });
            }
        }
        None
    }
}

/// Checks that each of `servers` has a name that a certificate can contain. The client library panics otherwise.
pub(super) fn check_names(servers: &str) -> Result<(), ConnectError> {
    for server in servers.split(',') {
        server_name(server).map_err(|failure| ConnectError::Tls { server: server.to_owned(), failure })?;
    }
    Ok(())
}

/// Returns the name that the certificate of `server`, a `host:port`, has to contain.
fn server_name(server: &str) -> Result<ServerName<'static>, TlsFailure> {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| TlsFailure::ServerName)
}

fn parse(pem: &TlsPem) -> Result<(zk::TlsCerts, Arc<ClientConfig>), ConnectError> {
    let invalid = |what: &str, error: &dyn fmt::Display| ConnectError::TlsOptions(format!("{what}: {error}"));
    let bad_ca = |error: pem::Error| invalid("CA", &error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.ca.as_bytes()) {
        roots.add(certificate.map_err(bad_ca)?).map_err(|error| invalid("CA", &error))?;
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem.ca.as_bytes()).collect();
    let verifier = WebPkiServerVerifier::builder(Arc::new(roots))
        .with_crls(lists.map_err(bad_ca)?)
        .build()
        .map_err(|error| invalid("CA", &error))?;
    let builder = ClientConfig::builder().with_webpki_verifier(verifier);
    let ca = zk::TlsCa::from_pem(&pem.ca).map_err(|error| invalid("CA", &error))?;
    let certs = zk::TlsCerts::builder().with_ca(ca);
    let (certs, config) = match &pem.identity {
        None => (certs, builder.with_no_client_auth()),
        Some((chain, key)) => {
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
            let certificates = certificates.map_err(|error| invalid("client certificate", &error))?;
            if certificates.is_empty() {
                let missing = pem::Error::NoItemsFound;
                return Err(invalid("client certificate", &missing));
            }
            let private = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
                .map_err(|error| invalid("client key", &error))?;
            let config = builder
                .with_client_auth_cert(certificates, private)
                .map_err(|error| invalid("client key", &error))?;
            let identity = zk::TlsIdentity::from_pem(chain, key.expose())
                .map_err(|error| invalid("client certificate", &error))?;
            (certs.with_identity(identity), config)
        }
    };
    let certs = certs.build().map_err(|error| invalid("CA", &error))?;
    Ok((certs, Arc::new(config)))
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

/// Makes a TLS handshake and ends the connection. An error of the TCP connection is not a failure of TLS.
async fn handshake(config: Arc<ClientConfig>, server: &str) -> Result<(), TlsFailure> {
    let name = server_name(server)?;
    let Ok(stream) = TcpStream::connect(server).await else { return Ok(()) };
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let mut stream = connected.map_err(|error| classify(&error).unwrap_or(TlsFailure::NotTls))?;
    match tokio::time::timeout(ALERT_TIMEOUT, stream.read_u8()).await {
        Ok(Err(error)) => classify(&error).map_or(Ok(()), Err),
        _ => Ok(()),
    }
}

/// Returns the cause of a failure, or `None` if the connection failed below TLS.
fn classify(error: &io::Error) -> Option<TlsFailure> {
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

    #[test]
    fn server_name_is_the_host_without_port_and_brackets() {
        for (server, expected) in
            [("zk1:2181", "zk1"), ("192.168.1.10:2281", "192.168.1.10"), ("[::1]:2181", "::1")]
        {
            assert_eq!(server_name(server).unwrap().to_str(), expected);
        }
        // The client library panics on this name.
        assert_eq!(server_name("[fe80::1%eth0]:2181"), Err(TlsFailure::ServerName));
        assert!(check_names("zk1:2181,[fe80::1%eth0]:2181").is_err());
    }
}

//! Connection to a broker, with or without TLS.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::address::BrokerUrl;
use super::packet_limit::PacketLimit;
use crate::read_limited::read_limited;

/// Maximum size of a password file or a file with certificates.
pub(super) const MAX_FILE: usize = 1 << 20;

/// Stream to a broker.
pub(super) type Stream = PacketLimit<Box<dyn Duplex>>;

/// Requirements of the MQTT client.
pub(super) trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// Connects to a broker.
///
/// # Errors
/// The system, or the TLS handshake.
pub(super) async fn connect(broker: BrokerUrl, tls: Option<Arc<ClientConfig>>) -> io::Result<Stream> {
    let stream = TcpStream::connect((broker.host(), broker.port())).await?;
    let stream: Box<dyn Duplex> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let name = ServerName::try_from(broker.host().to_owned()).map_err(io::Error::other)?;
            Box::new(TlsConnector::from(config).connect(name, stream).await?)
        }
    };
    Ok(PacketLimit::new(stream))
}

/// Returns the TLS configuration, with the authorities of the system and those in the file `ca`.
///
/// # Errors
/// The file, for a message.
pub(super) fn tls(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    // A machine may have no certificates, or some that cannot be used.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        let invalid = |problem: String| format!("the file {} {problem}", path.display());
        let pem =
            read_limited(path, MAX_FILE).map_err(|error| invalid(format!("cannot be read: {error}")))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = certificates.map_err(|error| invalid(format!("is not PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(invalid("has no certificate".to_owned()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| invalid(format!("has a wrong certificate: {error}")))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

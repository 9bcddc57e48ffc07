//! TLS for zookeeper-client, whose own TLS would compile a second library of cryptography.

use std::path::Path;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Returns the address of a port on loopback whose connections go to `server` through TLS, with the client's
/// certificate. Panics if the files cannot be used.
pub async fn tls_tunnel(server: &str, ca: &Path, certificate: &Path, key: &Path) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(server.rsplit_once(':').unwrap().0.to_owned()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = server.to_owned();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (connector, name, server) = (connector.clone(), name.clone(), server.clone());
            tokio::spawn(async move {
                let stream = TcpStream::connect(&server).await?;
                stream.set_nodelay(true)?;
                client.set_nodelay(true)?;
                let mut stream = connector.connect(name, stream).await?;
                copy_bidirectional(&mut client, &mut stream).await
            });
        }
    });
    address
}

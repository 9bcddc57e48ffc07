//! Certificate for HTTPS. It can be reloaded while connections are open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Reason why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file contains no certificate.
    #[error("{}: no certificate in PEM can be read: {}", .0.display(), .1)]
    Certificate(PathBuf, String),
    /// The file contains no key.
    #[error("{}: no private key in PEM can be read: {}", .0.display(), .1)]
    Key(PathBuf, String),
    /// Certificate and key do not match, or TLS does not support them.
    #[error("{} and its key: {}", .0.display(), .1)]
    Unfit(PathBuf, rustls::Error),
}

/// Certificate and its key. Clones share their content: reloading one reloads all.
#[derive(Clone)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Tls {
    /// Reads a certificate, followed by its chain, and its key, both in PEM. Supports TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// Returns an error if the files cannot be read or do not match.
    pub fn load(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Tls, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let config = Arc::new(RwLock::new(Arc::new(read(&certificate, &key)?)));
        Ok(Tls { certificate, key, config })
    }

    /// Reads both files again, for future connections. If that fails, the old certificate remains in use.
    ///
    /// # Errors
    /// The same as those of [`Tls::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(read(&self.certificate, &self.key)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let unreadable =
        |error: &dyn std::fmt::Display| TlsError::Certificate(certificate.to_owned(), error.to_string());
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .map_err(|error| unreadable(&error))?
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(&error))?;
    if chain.is_empty() {
        return Err(unreadable(&"there is none"));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| TlsError::Key(key.to_owned(), error.to_string()))?;
    let unfit = |error| TlsError::Unfit(certificate.to_owned(), error);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

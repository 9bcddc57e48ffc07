//! Address, credentials and certificates of a broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use atalaya_config::{MqttConfig, MqttVersion, OutputConfig};
use atalaya_hal::read_limited;
use reqwest::Url;
use rumqttc_v4::tokio_rustls::rustls::crypto::ring;
use rumqttc_v4::tokio_rustls::rustls::pki_types::CertificateDer;
use rumqttc_v4::tokio_rustls::rustls::pki_types::pem::PemObject as _;
use rumqttc_v4::tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::topics::id;
use crate::outputs::Sender;

/// Maximum size of the file with the password, in bytes.
const MAX_PASSWORD: usize = 4096;
/// Maximum size of the file with certificates, in bytes.
const MAX_CERTIFICATES: usize = 1024 * 1024;

/// A broker and the identity with which a node connects.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_v5: bool,
    /// The same for all connections of one node and output, so that the broker ends a stale one.
    pub(super) client_id: String,
    is_tls: bool,
    ca: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
}

/// User and password, and the TLS configuration.
pub(super) type Secrets = (Option<(String, Vec<u8>)>, Option<Arc<ClientConfig>>);

impl Broker {
    /// Returns the broker of an output. The error names the setting or file that cannot be used.
    pub(super) fn new(config: &OutputConfig, mqtt: &MqttConfig, sender: &Sender) -> Result<Broker, String> {
        let (host, port, is_tls) = parse_url(&config.url.value)?;
        let path = |file: &Option<atalaya_config::Located<String>>| {
            file.as_ref().map(|file| PathBuf::from(&file.value))
        };
        let parts = [&sender.fleet, sender.node.as_str(), &config.name].map(id);
        let broker = Broker {
            host,
            port,
            is_v5: mqtt.version == MqttVersion::V5,
            client_id: format!("atalaya-{}", parts.join("__")),
            is_tls,
            ca: path(&config.ca),
            user: config.user.as_ref().map(|user| user.value.clone()),
            password_file: path(&config.password_file),
        };
        if broker.ca.is_some() && !is_tls {
            return Err("`ca` needs an address that begins with mqtts://".to_owned());
        }
        broker.secrets()?;
        Ok(broker)
    }

    /// Reads the password and the certificates; may block.
    pub(super) fn secrets(&self) -> Result<Secrets, String> {
        let password = self.password_file.as_deref().map(read_password).transpose()?;
        let credentials = self.user.clone().map(|user| (user, password.unwrap_or_default()));
        let tls = if self.is_tls { Some(Arc::new(tls(self.ca.as_deref())?)) } else { None };
        Ok((credentials, tls))
    }

    /// Returns the reason of a refused connection.
    pub(super) fn denied(&self, code: &str) -> String {
        match (&self.user, &self.password_file) {
            (None, _) => format!("the broker refuses clients without a user ({code})"),
            (Some(user), None) => format!("the broker refuses the user `{user}` without a password ({code})"),
            (Some(user), Some(file)) => {
                format!(
                    "the broker refuses the user `{user}` with the password in {} ({code})",
                    file.display()
                )
            }
        }
    }
}

/// Returns host, port, and true for TLS.
fn parse_url(text: &str) -> Result<(String, u16, bool), String> {
    let url = Url::parse(text).map_err(|error| format!("its address is not a URL: {error}"))?;
    let (is_tls, default_port) = match url.scheme() {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        scheme => return Err(format!("`{scheme}` is neither mqtt nor mqtts")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its address has a user; write `user` and `password_file` instead".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("its address has more than a host and a port".to_owned());
    }
    let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('%'));
    let host = host.ok_or("its address has no valid host")?.to_owned();
    if is_tls && host.starts_with('[') {
        return Err("TLS needs a host name or an IPv4 address, not an IPv6 address".to_owned());
    }
    Ok((host, url.port().unwrap_or(default_port), is_tls))
}

fn read_password(file: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the password in {}: {error}", file.display());
    let mut password = read_limited(file, MAX_PASSWORD).map_err(|error| failed(&error))?;
    for end in [b'\n', b'\r'] {
        password.pop_if(|byte| *byte == end);
    }
    if password.is_empty() { Err(failed(&"the file is empty")) } else { Ok(password) }
}

/// Returns a TLS configuration that trusts the certificates of the system and those in `ca`.
fn tls(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        let failed = |error: &dyn std::fmt::Display| format!("the certificates in {}: {error}", ca.display());
        let pem = read_limited(ca, MAX_CERTIFICATES).map_err(|error| failed(&error))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| failed(&error))?;
            roots.add(certificate).map_err(|error| failed(&error))?;
        }
        if roots.is_empty() {
            return Err(failed(&"the file has no certificate"));
        }
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS is not possible: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_broker_has_a_scheme_a_host_and_a_port() {
        let parsed = |text| parse_url(text).map(|(host, port, is_tls)| format!("{host} {port} {is_tls}"));
        for (text, expected) in [
            ("mqtt://broker", "broker 1883 false"),
            ("mqtt://192.0.2.1:1884/", "192.0.2.1 1884 false"),
            ("mqtts://broker.example", "broker.example 8883 true"),
            ("mqtt://[2001:db8::1]:1883", "[2001:db8::1] 1883 false"),
        ] {
            assert_eq!(parsed(text).unwrap(), expected);
        }
        for text in [
            "broker",
            "http://broker",
            "mqtt://",
            "mqtt://user@broker",
            "mqtt://broker/topic",
            "mqtt://broker?x",
            "mqtts://[::1]",
            "mqtt://broker:70000",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn password_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        for (content, expected) in
            [("secret", "secret"), ("secret\n", "secret"), ("two words\r\n", "two words")]
        {
            std::fs::write(&file, content).unwrap();
            assert_eq!(read_password(&file).unwrap(), expected.as_bytes());
        }
        std::fs::write(&file, "\n").unwrap();
        assert!(read_password(&file).unwrap_err().contains("empty"));
        let missing = read_password(&folder.path().join("missing")).unwrap_err();
        assert!(missing.contains("missing"), "{missing}");
    }
}

//! TLS in front of a server on this machine, with its own certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::install::{self, Part};
use crate::process::Process;
use crate::scratch::Scratch;
use crate::spawn::parent_death_command;

const START: Duration = Duration::from_secs(60);

/// Creates a self-signed certificate for `address`, and its key, in `folder`. Returns the PEM files.
#[track_caller]
pub fn make_certificate(folder: &Path, address: &str) -> (PathBuf, PathBuf) {
    install::require(&[Part::OpenSsl]);
    let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| folder.join(name));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    make.args(["-days", "30", "-subj", "/CN=atalaya-testbed"]);
    // The certificate cannot sign others.
    make.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    make.args(["-addext", &format!("subjectAltName=IP:{address}")]);
    make.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let made = make.output().expect("run openssl");
    assert!(made.status.success(), "openssl makes no certificate: {}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

/// A TLS server that forwards the decrypted data. Dropping it ends it.
pub struct Tls {
    port: u16,
    certificate: Vec<u8>,
    /// Holds the key.
    _folder: Scratch,
    _process: Process,
}

impl Tls {
    /// Starts in front of `port` of loopback; creates a certificate for `address`.
    #[track_caller]
    pub fn before(port: u16, address: &str) -> Self {
        install::require(&[Part::Python]);
        let folder = Scratch::new("tls");
        let both = folder.path().join("both.pem");
        let (certificate, key) = make_certificate(folder.path(), address);
        let certificate = fs::read(&certificate).expect("read the certificate");
        let key = fs::read(&key).expect("read the key");
        fs::write(&both, [&certificate[..], &key[..]].concat()).expect("write certificate and key");

        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("pi/tls.py");
        let mut command = parent_death_command("python3");
        command.arg(script).arg(port.to_string()).arg(&both);
        let process = Process::spawn(command).called("tls.py", 20);
        let line = process.wait_for_line("listening ", START);
        let port = line.text.rsplit(' ').next().and_then(|port| port.parse().ok());
        let port = port.expect("tls.py says its port");
        Self { port, certificate, _folder: folder, _process: process }
    }

    /// Returns its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the certificate that its clients must trust, as PEM.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

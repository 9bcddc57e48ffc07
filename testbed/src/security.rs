//! Certificates, users and passwords of secured ZooKeeper servers and of their clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::install::{self, Part};
use crate::scratch::Scratch;

/// Users that authenticate by SASL, with their passwords. The servers know all of them.
const USERS: [(&str, &str); 5] = [
    ("fleet", "fleet-password"),
    ("fleet-a", "password-a"),
    ("fleet-b", "password-b"),
    ("admin", "admin-password"),
    ("outsider", "outsider-password"),
];

/// ACL of the state of a fleet whose nodes are the user `fleet`, in the format of
/// [`Kazoo::secured`](crate::Kazoo::secured).
pub const FLEET_ACL: &str = "sasl:fleet:cdrw sasl:admin:cdrwa";

const AUTHORITY: &str = "\
[ca]
default_ca = testbed
[testbed]
database = index
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
copy_extensions = copy
policy = names
[names]
commonName = supplied
";

/// Issuer and validity of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issue {
    /// Valid for 30 days.
    Valid,
    /// Expired years ago.
    Expired,
    /// Signed by an authority that neither servers nor clients trust.
    OtherAuthority,
}

/// Files with which servers and clients encrypt and authenticate.
///
/// Servers read their certificate when they start. So a new one takes effect when the server is restarted; ZooKeeper
/// 3.8.0 cannot read it again while it runs (`client.certReload` needs 3.8.2). Sessions survive the restart.
pub struct Security {
    folder: Scratch,
}

impl Security {
    /// Creates an authority, a certificate for servers at 127.0.0.1, a certificate for clients, and a password file for
    /// each user.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "makes files")]
    pub fn new() -> Security {
        install::require(&[Part::OpenSsl]);
        let security = Security { folder: Scratch::new("security") };
        security.make_authority("ca");
        security.make_authority("other-ca");
        security.issue_server_certificate(Issue::Valid);
        security.issue_client_certificate(Issue::Valid, "client");
        security.issue("testbed", Issue::Valid, "testbed");
        security.join("testbed", &security.testbed_certificate());
        for (user, password) in USERS {
            let file = security.password_file(user);
            fs::write(&file, format!("{password}\n")).expect("write a password file");
            keep_private(&file);
        }
        security
    }

    /// Returns the file with the certificate of the authority that signs all others.
    pub fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Returns the file with the certificate of clients.
    pub fn certificate(&self) -> PathBuf {
        self.file("client.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.file("client.key")
    }

    /// Returns the password file of a user: `fleet`, `fleet-a`, `fleet-b`, `admin` or `outsider`.
    pub fn password_file(&self, user: &str) -> PathBuf {
        self.file(&format!("{user}.password"))
    }

    /// Replaces the certificate of the servers and its key. They use it after their next start.
    #[track_caller]
    pub fn issue_server_certificate(&self, issue: Issue) {
        self.issue("server", issue, "server");
        self.join("server", &self.key_store());
    }

    /// Replaces the certificate of the clients and its key. A client with it has the identity `x509:CN=` and this name.
    #[track_caller]
    pub fn issue_client_certificate(&self, issue: Issue, common_name: &str) {
        self.issue("client", issue, common_name);
    }

    /// Returns the environment of a node, or of a command, that authenticates as `user`, in a fleet whose nodes are the
    /// user `fleet`, with `acl = "fleet"`.
    pub fn environment(&self, user: &str) -> Vec<(String, String)> {
        let settings = [
            ("CA", self.ca().display().to_string()),
            ("CERTIFICATE", self.certificate().display().to_string()),
            ("KEY", self.key().display().to_string()),
            ("USER", user.to_owned()),
            ("PASSWORD_FILE", self.password_file(user).display().to_string()),
        ];
        let acl = [("ACL", "fleet"), ("ACL_FLEET", "sasl:fleet"), ("ACL_ADMIN", "sasl:admin")];
        let settings = settings.map(|(name, value)| (format!("ATALAYA_ZOOKEEPER_{name}"), value));
        settings
            .into_iter()
            .chain(acl.map(|(name, value)| (format!("ATALAYA_{name}"), value.to_owned())))
            .collect()
    }

    /// Returns the lines of a server's `zoo.cfg` that open a port for TLS on loopback, require a certificate of its
    /// clients, and accept identities of scheme `sasl`.
    pub(crate) fn zoo_cfg(&self, port: u16) -> String {
        format!(
            "secureClientPort={port}\n\
             secureClientPortAddress=127.0.0.1\n\
             serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
             ssl.keyStore.location={}\n\
             ssl.trustStore.location={}\n\
             ssl.clientAuth=need\n\
             authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n",
            self.key_store().display(),
            self.ca().display(),
        )
    }

    pub(crate) fn users(&self) -> &'static [(&'static str, &'static str)] {
        &USERS
    }

    /// Returns the file with the certificate of the servers and its key, in ZooKeeper's format.
    fn key_store(&self) -> PathBuf {
        self.file("server-store.pem")
    }

    /// Returns the file with a certificate of the testbed itself, and its key, which is always valid.
    pub(crate) fn testbed_certificate(&self) -> PathBuf {
        self.file("testbed-store.pem")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    fn make_authority(&self, name: &str) {
        let mut make = self.openssl();
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        make.args(["-days", "30", "-subj", &format!("/CN=atalaya-testbed-{name}")]);
        make.args(["-addext", "basicConstraints=critical,CA:TRUE"]);
        make.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        make.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
        run(make);
    }

    /// Writes `name.pem` and `name.key`. Each file is replaced atomically: a node never reads half of it.
    #[track_caller]
    fn issue(&self, name: &str, issue: Issue, common_name: &str) {
        let mut request = self.openssl();
        request.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        request.args(["-subj", &format!("/CN={common_name}"), "-addext", "subjectAltName=IP:127.0.0.1"]);
        request.args(["-keyout", "new.key", "-out", "new.csr"]);
        run(request);
        let authority = if issue == Issue::OtherAuthority { "other-ca" } else { "ca" };
        fs::write(self.file("ca.cnf"), AUTHORITY).expect("write the configuration of openssl");
        // The certificates are not revoked, so the list of them is not kept.
        fs::write(self.file("index"), "").expect("write the index of openssl");
        let mut sign = self.openssl();
        sign.args(["ca", "-batch", "-notext", "-config", "ca.cnf", "-in", "new.csr", "-out", "new.pem"]);
        sign.args(["-cert", &format!("{authority}.pem"), "-keyfile", &format!("{authority}.key")]);
        match issue {
            Issue::Expired => sign.args(["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"]),
            Issue::Valid | Issue::OtherAuthority => sign.args(["-days", "30"]),
        };
        run(sign);
        keep_private(&self.file("new.key"));
        for end in ["key", "pem"] {
            let (new, old) = (self.file(&format!("new.{end}")), self.file(&format!("{name}.{end}")));
            fs::rename(new, old).expect("replace a certificate");
        }
    }

    /// Writes the certificate `name.pem` and its key into one file.
    fn join(&self, name: &str, path: &Path) {
        let read = |end: &str| fs::read(self.file(&format!("{name}.{end}"))).expect("read a PEM file");
        fs::write(path, [read("pem"), read("key")].concat()).expect("write a PEM file");
        keep_private(path);
    }

    fn openssl(&self) -> Command {
        let mut command = Command::new("openssl");
        command.current_dir(self.folder.path());
        command
    }
}

/// Makes a file readable only for its owner: nodes warn about secrets that others can read.
fn keep_private(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("make a file private");
    }
    #[cfg(not(unix))]
    let _ = path;
}

#[track_caller]
fn run(mut command: Command) {
    let output = command.output().expect("run openssl");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

//! Certificates and identity of the ZooKeeper session. Their files are read again while the node runs, because
//! certificates and passwords are replaced before they expire.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atalaya_hal::bounded;
use atalaya_recipes::{
    AclProvider, AuthId, ConnectError, ConnectString, Credentials, Secret, SessionOptions, Tls, TlsPem,
};
use tracing::{info, warn};

use super::api_token::exposure;
use super::{AuthScheme, Settings, acl};
use crate::model::acl_policy::AclPolicy;

/// Interval at which a running node reads the files again.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum size of a file with certificates, in bytes.
const MAX_PEM_SIZE: usize = 1024 * 1024;
/// Maximum size of a password, in bytes.
const MAX_PASSWORD_SIZE: usize = 1024;

/// Error of reading the certificates or the password. It contains neither key nor password.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A setting needs another one.
    #[error("{set} is set, but {missing} is not")]
    Incomplete {
        /// Name of the setting.
        set: &'static str,
        /// Name of the missing one.
        missing: &'static str,
    },
    /// A policy for ACLs without the identities of the nodes.
    #[error(
        "acl is set, but no identity of the nodes; set zookeeper_user, or acl_fleet if the nodes identify themselves by \
         certificates"
    )]
    NoFleetIdentity,
    /// A user name that the scheme cannot send.
    #[error("zookeeper_user: {0}")]
    User(&'static str),
    /// A file that cannot be read.
    #[error("{setting}: {}: {problem}", file.display())]
    File {
        /// Name of the setting.
        setting: &'static str,
        /// Path of the file.
        file: PathBuf,
        /// Reason.
        problem: String,
    },
    /// Certificates that cannot be used.
    #[error("certificates for ZooKeeper: {0}")]
    Certificates(ConnectError),
}

/// Certificates and identity of the ZooKeeper session. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ZooKeeperAccess(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    files: Files,
    scheme: AuthScheme,
    tls: Option<Tls>,
    credentials: Option<Credentials>,
    /// Identity by user and password, at the start.
    own_identity: Option<AuthId>,
    policy: AclPolicy,
    /// What the files contained when they were read last.
    contents: Mutex<Contents>,
    is_reading: AtomicBool,
    /// Error of the last attempt to read the files again.
    problem: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Files {
    ca: Option<PathBuf>,
    /// Client certificate and its key.
    identity: Option<(PathBuf, PathBuf)>,
    password: Option<PathBuf>,
}

#[derive(Debug, Default, PartialEq)]
struct Contents {
    pem: Option<TlsPem>,
    password: Option<Secret>,
}

impl ZooKeeperAccess {
    /// Reads the files that the settings name; may block.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn read(settings: &Settings) -> Result<ZooKeeperAccess, AccessError> {
        let files = files(settings)?;
        let contents = files.read()?;
        let tls = contents.pem.as_ref().map(Tls::new).transpose().map_err(AccessError::Certificates)?;
        let user = settings.zookeeper_user.as_ref().zip(contents.password.clone());
        let own_identity =
            user.as_ref().map(|(user, password)| acl::own_identity(settings.zookeeper_auth, user, password));
        let policy = acl::policy(settings, own_identity.as_ref())?;
        let credentials = user.map(|(user, password)| Credentials::new(user, password));
        Ok(ZooKeeperAccess(Arc::new(Inner {
            files,
            scheme: settings.zookeeper_auth,
            tls,
            credentials,
            own_identity,
            policy,
            contents: Mutex::new(contents),
            is_reading: AtomicBool::new(false),
            problem: Mutex::new(None),
        })))
    }

    /// Returns the options of a session.
    pub fn options(&self, servers: ConnectString, timeout: Duration) -> SessionOptions {
        let mut options = SessionOptions::new(servers, timeout);
        if !self.0.policy.is_open() {
            let policy = self.0.policy.clone();
            options = options.with_acl(AclProvider::by_path(move |path| policy.acl(path)));
        }
        if let Some(tls) = &self.0.tls {
            options = options.with_tls(tls.clone());
        }
        match (&self.0.credentials, self.0.scheme) {
            (Some(credentials), AuthScheme::Sasl) => options.with_sasl(credentials.clone()),
            (Some(credentials), AuthScheme::Digest) => options.with_auth(credentials.clone()),
            (None, _) => options,
        }
    }

    /// Returns the policy for the ACLs of the fleet's znodes.
    pub(crate) fn policy(&self) -> &AclPolicy {
        &self.0.policy
    }

    /// Returns the identity that the servers give to this client because of its user and password, if it has any.
    pub(crate) fn own_identity(&self) -> Option<&AuthId> {
        self.0.own_identity.as_ref()
    }

    /// Returns true if the servers know who this client is: by its user or by its certificate.
    pub(crate) fn has_identity(&self) -> bool {
        self.0.credentials.is_some() || self.0.files.identity.is_some()
    }

    /// Returns warnings, with the remedy, for the files with secrets that other users can read.
    pub(crate) fn exposures(&self) -> impl Iterator<Item = String> {
        let Files { identity, password, .. } = &self.0.files;
        let key = identity.as_ref().map(|(_, key)| key);
        key.into_iter().chain(password).filter_map(|file| exposure(file))
    }

    /// Reads the files again in a separate thread, because the disk may hang; does nothing while such a thread runs,
    /// or without files. Logs what has changed, or an error that differs from the last one. After an error, the previous
    /// certificates and password stay.
    pub(crate) fn read_again(&self) {
        let Files { ca, password, .. } = &self.0.files;
        if ca.is_none() && password.is_none() || self.0.is_reading.swap(true, Ordering::AcqRel) {
            return;
        }
        let access = self.clone();
        let read = move || {
            access.reload();
            access.0.is_reading.store(false, Ordering::Release);
        };
        if std::thread::Builder::new().name("access".to_owned()).spawn(read).is_err() {
            self.0.is_reading.store(false, Ordering::Release);
        }
    }

    fn reload(&self) {
        let problem = self.replace().err().map(|error| error.to_string());
        let mut last = self.0.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(problem) = problem.as_ref().filter(|problem| last.as_ref() != Some(problem)) {
            warn!("{problem}; keeping the previous certificates and password");
        }
        *last = problem;
    }

    /// Replaces certificates and password if their files have changed.
    fn replace(&self) -> Result<(), AccessError> {
        let new = self.0.files.read()?;
        let mut contents = self.0.contents.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(tls), Some(pem)) = (&self.0.tls, &new.pem)
            && new.pem != contents.pem
        {
            tls.reload(pem).map_err(AccessError::Certificates)?;
            info!("the certificates for ZooKeeper have changed; the next connection uses them");
        }
        if let (Some(credentials), Some(password)) = (&self.0.credentials, &new.password)
            && new.password != contents.password
        {
            credentials.set_password(password.expose());
            info!("the password for ZooKeeper has changed; the next session uses it");
        }
        *contents = new;
        Ok(())
    }
}

/// Reads the files again and again, until dropped.
pub(crate) async fn keep_current(access: &ZooKeeperAccess) {
    let mut ticks = tokio::time::interval(REFRESH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        access.read_again();
    }
}

/// Returns the files, or an error if a setting needs another one.
fn files(settings: &Settings) -> Result<Files, AccessError> {
    let Settings { zookeeper_ca: ca, zookeeper_certificate: certificate, zookeeper_key: key, .. } = settings;
    let needs = |set, is_set: bool, missing, is_there: bool| match is_set && !is_there {
        true => Err(AccessError::Incomplete { set, missing }),
        false => Ok(()),
    };
    needs("zookeeper_certificate", certificate.is_some(), "zookeeper_key", key.is_some())?;
    needs("zookeeper_key", key.is_some(), "zookeeper_certificate", certificate.is_some())?;
    needs("zookeeper_certificate", certificate.is_some(), "zookeeper_ca", ca.is_some())?;
    let (user, password) = (&settings.zookeeper_user, &settings.zookeeper_password_file);
    needs("zookeeper_user", user.is_some(), "zookeeper_password_file", password.is_some())?;
    needs("zookeeper_password_file", password.is_some(), "zookeeper_user", user.is_some())?;
    if settings.zookeeper_auth == AuthScheme::Digest && user.as_ref().is_some_and(|user| user.contains(':')) {
        return Err(AccessError::User(
            "a name with a colon is not possible with zookeeper_auth = \"digest\"",
        ));
    }
    Ok(Files { ca: ca.clone(), identity: certificate.clone().zip(key.clone()), password: password.clone() })
}

impl Files {
    fn read(&self) -> Result<Contents, AccessError> {
        let read_pem = |setting, file: &Path| read_text(setting, file, MAX_PEM_SIZE);
        let ca = self.ca.as_ref().map(|file| read_pem("zookeeper_ca", file)).transpose()?;
        let identity = match &self.identity {
            Some((certificate, key)) => Some((
                read_pem("zookeeper_certificate", certificate)?,
                Secret::from(read_pem("zookeeper_key", key)?),
            )),
            None => None,
        };
        let password = self.password.as_ref().map(|file| read_password(file)).transpose()?;
        Ok(Contents { pem: ca.map(|ca| TlsPem { ca, identity }), password })
    }
}

/// Reads a password: the first line of the file.
fn read_password(file: &Path) -> Result<Secret, AccessError> {
    let setting = "zookeeper_password_file";
    let error =
        |problem: &str| AccessError::File { setting, file: file.to_owned(), problem: problem.to_owned() };
    let text = read_text(setting, file, MAX_PASSWORD_SIZE)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(error("it is empty"));
    }
    if password.contains(char::is_control) {
        return Err(error("it has more than one line, or control characters; it must be the password alone"));
    }
    Ok(Secret::from(password))
}

fn read_text(setting: &'static str, file: &Path, max_size: usize) -> Result<String, AccessError> {
    let error = |problem| AccessError::File { setting, file: file.to_owned(), problem };
    let bytes = bounded::read(file, max_size).map_err(|problem| error(problem.to_string()))?;
    String::from_utf8(bytes).map_err(|_| error("it is not UTF-8 text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        Settings {
            zookeeper_user: Some("fleet".to_owned()),
            zookeeper_password_file: Some(folder.join("password")),
            ..Settings::default()
        }
    }

    fn password_of(access: &ZooKeeperAccess) -> Option<String> {
        let contents = access.0.contents.lock().unwrap();
        contents.password.as_ref().map(|password| password.expose().to_owned())
    }

    #[test]
    fn access_without_settings_has_no_identity_and_reads_nothing() {
        let access = ZooKeeperAccess::read(&Settings::default()).unwrap();
        assert!(!access.has_identity() && access.exposures().next().is_none());
        access.reload();
    }

    #[test]
    fn access_reports_the_missing_setting() {
        let file = || Some(PathBuf::from("x.pem"));
        let none = Settings::default();
        for (settings, missing) in [
            (Settings { zookeeper_certificate: file(), ..none.clone() }, "zookeeper_key is not"),
            (Settings { zookeeper_key: file(), ..none.clone() }, "zookeeper_certificate is not"),
            (
                Settings { zookeeper_key: file(), zookeeper_certificate: file(), ..none.clone() },
                "zookeeper_ca is not",
            ),
            (Settings { zookeeper_user: Some("u".into()), ..none.clone() }, "zookeeper_password_file is not"),
            (Settings { zookeeper_password_file: file(), ..none.clone() }, "zookeeper_user is not"),
            (Settings { zookeeper_ca: file(), ..none.clone() }, "zookeeper_ca: x.pem: "),
        ] {
            let error = ZooKeeperAccess::read(&settings).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn password_is_one_line_and_an_error_keeps_the_previous_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "s3 cret\r\n").unwrap();
        let access = ZooKeeperAccess::read(&settings(folder.path())).unwrap();
        assert!(access.has_identity());
        assert_eq!(password_of(&access).as_deref(), Some("s3 cret"));
        assert!(!format!("{access:?}").contains("s3 cret"));
        for wrong in ["", "\n", "one\ntwo\n", &"x".repeat(MAX_PASSWORD_SIZE + 1)] {
            std::fs::write(&file, wrong).unwrap();
            let error = ZooKeeperAccess::read(&settings(folder.path())).unwrap_err().to_string();
            assert!(error.contains("zookeeper_password_file") && error.len() < 400, "{error}");
            access.reload();
            assert_eq!(password_of(&access).as_deref(), Some("s3 cret"));
        }
        std::fs::write(&file, "new").unwrap();
        access.reload();
        assert_eq!(password_of(&access).as_deref(), Some("new"));
    }

    #[test]
    fn certificates_that_cannot_be_used_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "no certificate").unwrap();
        let settings = Settings { zookeeper_ca: Some(file), ..Settings::default() };
        let error = ZooKeeperAccess::read(&settings).unwrap_err();
        assert!(matches!(error, AccessError::Certificates(_)), "{error}");
    }
}

//! Certificates and identity of the ZooKeeper session. Their files are read again while the node runs, because
//! certificates and passwords are replaced before they expire.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atalaya_hal::read_limited;
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
    /// What is used, from the files when they were read last.
    pem: Mutex<Option<TlsPem>>,
    password: Mutex<Option<Secret>>,
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

impl ZooKeeperAccess {
    /// Reads the files that the settings name; may block.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn read(settings: &Settings) -> Result<ZooKeeperAccess, AccessError> {
        let files = files(settings)?;
        let (pem, password) = (files.read_pem()?, files.read_password()?);
        let tls = pem.as_ref().map(Tls::new).transpose().map_err(AccessError::Certificates)?;
        let user = settings.zookeeper_user.as_ref().zip(password.clone());
        let own_identity =
            user.as_ref().map(|(user, password)| acl::own_identity(settings.zookeeper_auth, user, password));
        let policy = acl::policy(settings, own_identity.as_ref()).ok_or(AccessError::NoFleetIdentity)?;
        let credentials = user.map(|(user, password)| Credentials::new(user, password));
        Ok(ZooKeeperAccess(Arc::new(Inner {
            files,
            scheme: settings.zookeeper_auth,
            tls,
            credentials,
            own_identity,
            policy,
            pem: Mutex::new(pem),
            password: Mutex::new(password),
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
        // One unusable file must not keep the other secrets outdated.
        let replaced = [self.replace_certificates(), self.replace_password()];
        let problems = replaced.into_iter().filter_map(Result::err).map(|error| error.to_string());
        let problem = problems.reduce(|one, other| format!("{one}; {other}"));
        let mut last = lock(&self.0.problem);
        if let Some(problem) = problem.as_ref().filter(|problem| last.as_ref() != Some(problem)) {
            warn!("{problem}; keeping the previous one");
        }
        *last = problem;
    }

    /// Replaces the certificates if their files have changed.
    fn replace_certificates(&self) -> Result<(), AccessError> {
        let (Some(tls), Some(new)) = (&self.0.tls, self.0.files.read_pem()?) else { return Ok(()) };
        let mut pem = lock(&self.0.pem);
        if pem.as_ref() != Some(&new) {
            tls.reload(&new).map_err(AccessError::Certificates)?;
            info!("the certificates for ZooKeeper have changed; the next connection uses them");
            *pem = Some(new);
        }
        Ok(())
    }

    /// Replaces the password if its file has changed.
    fn replace_password(&self) -> Result<(), AccessError> {
        let (Some(credentials), Some(new)) = (&self.0.credentials, self.0.files.read_password()?) else {
            return Ok(());
        };
        let mut password = lock(&self.0.password);
        if password.as_ref() != Some(&new) {
            credentials.set_password(new.expose());
            info!("the password for ZooKeeper has changed; the next session uses it");
            *password = Some(new);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn read_pem(&self) -> Result<Option<TlsPem>, AccessError> {
        let read = |setting, file: &Path| read_text(setting, file, MAX_PEM_SIZE);
        let Some(ca) = &self.ca else { return Ok(None) };
        let ca = read("zookeeper_ca", ca)?;
        let identity = match &self.identity {
            Some((certificate, key)) => {
                let key = Secret::from(read("zookeeper_key", key)?);
                Some((read("zookeeper_certificate", certificate)?, key))
            }
            None => None,
        };
        Ok(Some(TlsPem { ca, identity }))
    }

    fn read_password(&self) -> Result<Option<Secret>, AccessError> {
        self.password.as_ref().map(|file| read_password(file)).transpose()
    }
}

/// Reads a password, which is the whole file but for the newline at its end.
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
    let bytes = read_limited(file, max_size).map_err(|problem| error(problem.to_string()))?;
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
        lock(&access.0.password).as_ref().map(|password| password.expose().to_owned())
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
    fn password_is_replaced_although_the_certificates_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "old").unwrap();
        let mut access = ZooKeeperAccess::read(&settings(folder.path())).unwrap();
        let inner = Arc::get_mut(&mut access.0).unwrap();
        inner.files.ca = Some(folder.path().join("missing.pem"));
        std::fs::write(folder.path().join("password"), "new").unwrap();
        access.reload();
        assert_eq!(password_of(&access).as_deref(), Some("new"));
        let problem = lock(&access.0.problem).clone().unwrap();
        assert!(problem.contains("missing.pem"), "{problem}");
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

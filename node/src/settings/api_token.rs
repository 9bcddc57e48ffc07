//! What the API is shown, if it wants to know who reports: a bearer token (RFC 6750). From a file, which is read again
//! whenever the API does not know the token, or from the environment. It is never shown to anybody else, logs included.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::{Context as _, bail, ensure};
use atalaya_hal::bounded;
use reqwest::Url;
use reqwest::header::HeaderValue;
use tracing::{info, warn};

/// Bytes of a file that may be a token.
const LONGEST: usize = 4096;

/// The variable that holds a token itself, for containers.
pub(crate) const VARIABLE: &str = "ATALAYA_API_TOKEN";

/// A token and where it comes from. Clones are one.
#[derive(Clone)]
pub struct ApiToken(Arc<Inner>);

struct Inner {
    /// `None`: from the environment.
    file: Option<PathBuf>,
    /// Origin to which it may be sent; `None`: it is not sent anywhere.
    meant_for: Option<Url>,
    /// `Bearer …`; `None`: it was not read yet.
    header: RwLock<Option<HeaderValue>>,
    /// Somebody is reading the file.
    reading: AtomicBool,
    /// What was wrong with it when it was last read again.
    problem: Mutex<Option<String>>,
}

impl ApiToken {
    /// The one in a file, which is not read yet. It is sent to the origin of `meant_for` only: a client that may
    /// write `/config/api_url` in ZooKeeper must not be able to have it sent to a server of its own.
    pub fn in_file(path: impl Into<PathBuf>, meant_for: Option<Url>) -> ApiToken {
        ApiToken::of(Some(path.into()), meant_for, None)
    }

    /// This one, for the same origin only.
    ///
    /// # Errors
    /// It can be none.
    pub fn given(token: &str, meant_for: Option<Url>) -> anyhow::Result<ApiToken> {
        Ok(ApiToken::of(None, meant_for, Some(header(token)?)))
    }

    fn of(file: Option<PathBuf>, meant_for: Option<Url>, header: Option<HeaderValue>) -> ApiToken {
        ApiToken(Arc::new(Inner {
            file,
            meant_for,
            header: RwLock::new(header),
            reading: AtomicBool::new(false),
            problem: Mutex::new(None),
        }))
    }

    /// Reads the file, if it comes from one; may block. What was known before stays if that fails.
    ///
    /// # Errors
    /// The file cannot be read, or holds no token.
    pub fn read(&self) -> anyhow::Result<()> {
        let Some(path) = &self.0.file else { return Ok(()) };
        let header = from_file(path).with_context(|| format!("the token in {}", path.display()))?;
        *self.0.header.write().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    /// What to send as `Authorization`; marked as a secret.
    pub fn header(&self) -> Option<HeaderValue> {
        self.0.header.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true if it may be sent to `url`.
    pub fn is_for(&self, url: &Url) -> bool {
        self.0.meant_for.as_ref().is_some_and(|own| own.origin() == url.origin())
    }

    /// Returns true if it may be sent to any origin.
    pub fn is_bound(&self) -> bool {
        self.0.meant_for.is_some()
    }

    /// Returns the origin to which it may be sent, for messages.
    pub fn bound_to(&self) -> String {
        match &self.0.meant_for {
            Some(own) => format!("it is bound to {}", own.origin().ascii_serialization()),
            None => "it is bound to no origin (api_token_origin, or this node's own api_url)".to_owned(),
        }
    }

    /// The API does not know the token: perhaps the file holds another one by now. Reads it in a thread of its own, because
    /// it may be on a disk that hangs; one at a time.
    pub fn read_again(&self) {
        if self.0.file.is_none() || self.0.reading.swap(true, Ordering::AcqRel) {
            return;
        }
        let token = self.clone();
        let read = move || {
            token.look();
            token.0.reading.store(false, Ordering::Release);
        };
        if std::thread::Builder::new().name("token".to_owned()).spawn(read).is_err() {
            self.0.reading.store(false, Ordering::Release);
        }
    }

    /// Reads it, and says what came of that, unless it is what came of it before.
    fn look(&self) {
        let before = self.header();
        let problem = self.read().err().map(|error| format!("{error:#}"));
        let mut known = self.0.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match &problem {
            Some(problem) if *known != Some(problem.clone()) => warn!("{problem}; the one before stays"),
            None if before != self.header() => info!("{self} has changed: it is used from now on"),
            _ => {}
        }
        *known = problem;
    }

    /// Returns the other users that can read the file, and the remedy; `None`: no others.
    pub fn exposure(&self) -> Option<String> {
        self.0.file.as_ref().and_then(|path| exposure(path))
    }
}

/// Where it comes from.
impl fmt::Display for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.file {
            Some(path) => write!(f, "the token in {}", path.display()),
            None => write!(f, "the token in {VARIABLE}"),
        }
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiToken").field("file", &self.0.file).finish_non_exhaustive()
    }
}

impl PartialEq for ApiToken {
    fn eq(&self, other: &ApiToken) -> bool {
        let parts = |token: &ApiToken| (token.0.file.clone(), token.0.meant_for.clone(), token.header());
        Arc::ptr_eq(&self.0, &other.0) || parts(self) == parts(other)
    }
}

/// Returns the other users that can read or change a file with secrets, and the remedy; `None`: no others. Access by the group
/// counts only for a file of this user: `root:atalaya` with mode 640 is a common setup.
pub(crate) fn exposure(path: &Path) -> Option<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let about = std::fs::metadata(path).ok()?;
        let is_own = about.uid() == rustix::process::geteuid().as_raw();
        let (who, remedy) = match about.mode() {
            mode if mode & 0o006 != 0 && is_own => ("every user of this machine", "go-rwx"),
            mode if mode & 0o006 != 0 => ("every user of this machine", "o-rwx"),
            mode if mode & 0o060 != 0 && is_own => ("its group", "g-rwx"),
            _ => return None,
        };
        Some(format!("{who} can read or change it: chmod {remedy} {}", path.display()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

fn from_file(path: &Path) -> anyhow::Result<HeaderValue> {
    let bytes = bounded::read(path, LONGEST)?;
    let text = String::from_utf8(bytes).ok().context("it is not text")?;
    header(&text)
}

/// What is wrong with a token says nothing of it.
fn header(token: &str) -> anyhow::Result<HeaderValue> {
    let token = token.trim();
    ensure!(!token.is_empty(), "there is nothing");
    ensure!(token.len() <= LONGEST, "it is longer than {LONGEST} bytes");
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("it is not one word of ASCII: the token stands there alone, without a name before it");
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).context("it cannot be sent")?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "abc.def-123/456==";

    #[test]
    fn a_token_is_one_word() {
        let token = ApiToken::given(&format!("  {SECRET}\n"), None).unwrap();
        let header = token.header().unwrap();
        assert_eq!(header.to_str().unwrap(), format!("Bearer {SECRET}"));
        assert!(header.is_sensitive());
        for wrong in ["", " \n", "write abcdef", "two\nlines", "señal", "a\u{7f}b", &"x".repeat(LONGEST + 1)]
        {
            let problem = format!("{:#}", ApiToken::given(wrong, None).unwrap_err());
            assert!(wrong.trim().is_empty() || !problem.contains(wrong), "{problem}");
        }
    }

    #[test]
    fn nobody_sees_it() {
        let token = ApiToken::given(SECRET, None).unwrap();
        let shown = format!("{token} {token:?} {:?}", token.header());
        assert!(!shown.contains(SECRET), "{shown}");
    }

    #[test]
    fn it_is_for_one_origin() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let token = ApiToken::given(SECRET, Some(url("http://h:8000/nuevo"))).unwrap();
        assert!(token.is_for(&url("http://h:8000/api/v1/fleet")));
        for other in ["http://h/nuevo", "https://h:8000/nuevo", "http://g:8000/nuevo"] {
            assert!(!token.is_for(&url(other)), "{other}");
        }
        assert!(token.is_bound() && token.bound_to().contains("http://h:8000"));
    }

    #[test]
    fn token_without_an_origin_is_sent_nowhere() {
        let token = ApiToken::given(SECRET, None).unwrap();
        assert!(!token.is_for(&"http://h/".parse().unwrap()) && !token.is_bound());
        assert!(token.bound_to().contains("api_token_origin"));
    }

    proptest! {
        #[test]
        fn token_reads_any_text_in_linear_time_to_a_header_or_an_error_without_it(data in crate::model::foreign_input::bytes()) {
            let text = String::from_utf8_lossy(&data);
            let began = std::time::Instant::now();
            let read = header(&text);
            prop_assert!(crate::model::foreign_input::in_time(began, text.len()));
            match read {
                Ok(header) => {
                    prop_assert!(header.is_sensitive() && header.len() <= LONGEST + 7);
                    prop_assert!(header.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)));
                }
                Err(problem) => prop_assert!(problem.to_string().len() < 200),
            }
        }

        #[test]
        fn token_file_with_any_bytes_is_read_within_its_limit(data in crate::model::foreign_input::bytes()) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &data).unwrap();
            if let Ok(header) = from_file(file.path()) {
                prop_assert!(data.len() <= LONGEST && header.len() <= LONGEST + 7);
            }
        }
    }

    #[test]
    fn a_file_is_read_and_read_again_and_what_was_known_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = ApiToken::in_file(&path, None);
        let same = token.clone();
        assert!(token.header().is_none());
        assert!(format!("{:#}", token.read().unwrap_err()).contains("token"));
        std::fs::write(&path, format!("{SECRET}\n")).unwrap();
        token.read().unwrap();
        assert_eq!(same.header().unwrap().to_str().unwrap(), format!("Bearer {SECRET}"));
        std::fs::write(&path, "").unwrap();
        token.look();
        assert_eq!(same.header().unwrap().to_str().unwrap(), format!("Bearer {SECRET}"));
        std::fs::write(&path, "another").unwrap();
        token.look();
        assert_eq!(same.header().unwrap().to_str().unwrap(), "Bearer another");
        let fresh = ApiToken::in_file(&path, None);
        assert_ne!(fresh, token);
        fresh.read().unwrap();
        assert_eq!(fresh, token);
    }

    #[cfg(unix)]
    #[test]
    fn secret_file_that_others_can_read_is_reported_with_path_and_remedy() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, SECRET).unwrap();
        for (mode, remedy) in [
            (0o600, None),
            (0o400, None),
            (0o640, Some("chmod g-rwx")),
            (0o660, Some("chmod g-rwx")),
            (0o644, Some("chmod go-rwx")),
            (0o604, Some("chmod go-rwx")),
            (0o602, Some("chmod go-rwx")),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let found = ApiToken::in_file(&path, None).exposure();
            assert_eq!(found.is_some(), remedy.is_some(), "{mode:o}: {found:?}");
            if let (Some(found), Some(remedy)) = (found, remedy) {
                assert!(found.contains(remedy) && found.contains(&path.display().to_string()), "{found}");
            }
        }
        assert_eq!(exposure(&folder.path().join("missing")), None);
    }
}

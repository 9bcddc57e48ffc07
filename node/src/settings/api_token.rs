//! API token: a bearer token (RFC 6750), from a file or from the environment. The file is read again when the API
//! rejects the token. The token is sent to one origin only and is never logged.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use atalaya_hal::read_limited;
use reqwest::Url;
use reqwest::header::HeaderValue;
use tracing::{info, warn};

/// Maximum size of a token, in bytes.
const MAX_SIZE: usize = 4096;

/// Environment variable that holds a token itself, for containers.
pub(crate) const VARIABLE: &str = "ATALAYA_API_TOKEN";

/// An API token and its source. Clones share the token that was read last.
#[derive(Clone, Debug)]
pub struct ApiToken {
    /// Origin to which the token may be sent. `None`: it is not sent.
    origin: Option<Url>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `None`: the token is from the environment.
    file: Option<PathBuf>,
    /// `Bearer …`, marked as sensitive. `None`: the file has not been read yet.
    header: RwLock<Option<HeaderValue>>,
    is_reading: AtomicBool,
    /// Error of the last attempt to read the file again.
    problem: Mutex<Option<String>>,
}

/// Error of reading a token. It does not contain the token.
#[derive(Debug, thiserror::Error)]
#[error("the token in {}: {problem}", file.display())]
pub struct TokenError {
    file: PathBuf,
    problem: String,
}

/// Reason why a text is not a token.
const NOT_ONE_WORD: &str =
    "it is not one word of ASCII characters; it must be the token alone, without a name before it";

impl ApiToken {
    /// Returns the token in a file, which is not read yet.
    pub fn in_file(path: impl Into<PathBuf>) -> ApiToken {
        ApiToken::new(Some(path.into()), None)
    }

    /// Returns a token from the environment, or the reason why the text is not a token.
    pub(crate) fn given(token: &str) -> Result<ApiToken, String> {
        Ok(ApiToken::new(None, Some(header(token)?)))
    }

    fn new(file: Option<PathBuf>, header: Option<HeaderValue>) -> ApiToken {
        let shared = Shared {
            file,
            header: RwLock::new(header),
            is_reading: AtomicBool::new(false),
            problem: Mutex::new(None),
        };
        ApiToken { origin: None, shared: Arc::new(shared) }
    }

    /// Returns the token, bound to the origin of `url`. A token is sent to no other origin: a client that can write
    /// `/config/api_url` in ZooKeeper must not be able to have it sent to its own server.
    #[must_use]
    pub fn with_origin(self, url: Option<Url>) -> ApiToken {
        ApiToken { origin: url, ..self }
    }

    /// Reads the file, if the token is from a file; may block. After an error, the previous token stays.
    ///
    /// # Errors
    /// The file cannot be read, or it does not contain a token.
    pub fn read(&self) -> Result<(), TokenError> {
        let Some(file) = &self.shared.file else { return Ok(()) };
        let header = from_file(file).map_err(|problem| TokenError { file: file.clone(), problem })?;
        *self.shared.header.write().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    /// Returns the value of the `Authorization` header, marked as sensitive.
    pub fn header(&self) -> Option<HeaderValue> {
        self.shared.header.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true if the token may be sent to `url`.
    pub fn is_for(&self, url: &Url) -> bool {
        self.origin.as_ref().is_some_and(|own| own.origin() == url.origin())
    }

    /// Returns true if the token is bound to an origin, without which it is not sent.
    pub fn is_bound(&self) -> bool {
        self.origin.is_some()
    }

    /// Returns the origin to which the token may be sent, for messages.
    pub(crate) fn bound_to(&self) -> String {
        match &self.origin {
            Some(own) => format!("it is bound to {}", own.origin().ascii_serialization()),
            None => "it is bound to no origin (set api_token_origin, or this node's own api_url)".to_owned(),
        }
    }

    /// Reads the file again after the API has rejected the token, because the file may contain another token by then.
    /// Reads in a separate thread, because the disk may hang; does nothing while such a thread runs.
    pub fn read_again(&self) {
        if self.shared.file.is_none() || self.shared.is_reading.swap(true, Ordering::AcqRel) {
            return;
        }
        let token = self.clone();
        let read = move || {
            token.reload();
            token.shared.is_reading.store(false, Ordering::Release);
        };
        if std::thread::Builder::new().name("token".to_owned()).spawn(read).is_err() {
            self.shared.is_reading.store(false, Ordering::Release);
        }
    }

    /// Reads the file and logs a new token, or an error that differs from the last one.
    fn reload(&self) {
        let before = self.header();
        let problem = self.read().err().map(|error| error.to_string());
        let mut last = self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match &problem {
            Some(problem) if *last != Some(problem.clone()) => warn!("{problem}; keeping the previous token"),
            None if before != self.header() => info!("{self} has changed; using the new one"),
            _ => {}
        }
        *last = problem;
    }

    /// Returns a warning with the remedy if other users can read the file.
    pub fn exposure(&self) -> Option<String> {
        self.shared.file.as_ref().and_then(|path| exposure(path))
    }
}

/// Shows the source of the token.
impl fmt::Display for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shared.file {
            Some(path) => write!(f, "the token in {}", path.display()),
            None => write!(f, "the token in {VARIABLE}"),
        }
    }
}

impl PartialEq for ApiToken {
    fn eq(&self, other: &ApiToken) -> bool {
        let is_same = || self.shared.file == other.shared.file && self.header() == other.header();
        self.origin == other.origin && (Arc::ptr_eq(&self.shared, &other.shared) || is_same())
    }
}

/// Returns a warning with the remedy if other users can read or change a file with secrets. Access by the group counts
/// only for a file of this user, because `root:atalaya` with mode 640 is a common setup.
pub(crate) fn exposure(path: &Path) -> Option<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path).ok()?;
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
        let (users, remedy) = match metadata.mode() {
            mode if mode & 0o006 != 0 && is_own => ("every user of this machine", "go-rwx"),
            mode if mode & 0o006 != 0 => ("every user of this machine", "o-rwx"),
            mode if mode & 0o060 != 0 && is_own => ("its group", "g-rwx"),
            _ => return None,
        };
        Some(format!("{users} can read or change it: chmod {remedy} {}", path.display()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

fn from_file(path: &Path) -> Result<HeaderValue, String> {
    let bytes = read_limited(path, MAX_SIZE).map_err(|error| error.to_string())?;
    header(&String::from_utf8(bytes).map_err(|_| NOT_ONE_WORD)?)
}

fn header(token: &str) -> Result<HeaderValue, String> {
    let token = token.trim();
    if token.is_empty() {
        return Err("it is empty".to_owned());
    }
    if token.len() > MAX_SIZE {
        return Err(format!("it is longer than {MAX_SIZE} bytes"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(NOT_ONE_WORD.to_owned());
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| NOT_ONE_WORD)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "abc.def-123/456==";

    #[test]
    fn token_is_one_word_and_a_sensitive_header() {
        let token = ApiToken::given(&format!("  {SECRET}\n")).unwrap();
        let header = token.header().unwrap();
        assert_eq!(header.to_str().unwrap(), format!("Bearer {SECRET}"));
        assert!(header.is_sensitive());
        for wrong in ["", " \n", "write abcdef", "two\nlines", "señal", "a\u{7f}b", &"x".repeat(MAX_SIZE + 1)]
        {
            let problem = format!("{:#}", ApiToken::given(wrong).unwrap_err());
            assert!(wrong.trim().is_empty() || !problem.contains(wrong), "{problem}");
        }
    }

    #[test]
    fn token_is_not_shown_by_display_and_debug() {
        let token = ApiToken::given(SECRET).unwrap();
        let shown = format!("{token} {token:?} {:?}", token.header());
        assert!(!shown.contains(SECRET), "{shown}");
    }

    #[test]
    fn token_is_for_one_origin_or_none() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let token = ApiToken::given(SECRET).unwrap().with_origin(Some(url("http://h:8000/nuevo")));
        assert!(token.is_for(&url("http://h:8000/api/v1/fleet")));
        for other in ["http://h/nuevo", "https://h:8000/nuevo", "http://g:8000/nuevo"] {
            assert!(!token.is_for(&url(other)), "{other}");
        }
        assert!(token.is_bound() && token.bound_to().contains("http://h:8000"));
        let token = ApiToken::given(SECRET).unwrap();
        assert!(!token.is_for(&"http://h/".parse().unwrap()) && !token.is_bound());
        assert!(token.bound_to().contains("api_token_origin"));
    }

    proptest! {
        #[test]
        fn token_reads_any_text_or_file_in_linear_time_to_a_header_or_a_short_error(data in crate::model::foreign_input::bytes()) {
            let text = String::from_utf8_lossy(&data);
            let read = crate::model::foreign_input::in_time(text.len(), || header(&text));
            match read {
                Ok(header) => {
                    prop_assert!(header.is_sensitive() && header.len() <= MAX_SIZE + 7);
                    prop_assert!(header.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)));
                }
                Err(problem) => prop_assert!(problem.len() < 200),
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &data).unwrap();
            if let Ok(header) = from_file(file.path()) {
                prop_assert!(data.len() <= MAX_SIZE && header.len() <= MAX_SIZE + 7);
            }
        }
    }

    #[test]
    fn token_file_is_read_again_and_an_error_keeps_the_previous_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = ApiToken::in_file(&path);
        let same = token.clone();
        assert!(token.header().is_none());
        assert!(format!("{:#}", token.read().unwrap_err()).contains("token"));
        std::fs::write(&path, format!("{SECRET}\n")).unwrap();
        token.read().unwrap();
        assert_eq!(same.header().unwrap().to_str().unwrap(), format!("Bearer {SECRET}"));
        std::fs::write(&path, "").unwrap();
        token.reload();
        assert_eq!(same.header().unwrap().to_str().unwrap(), format!("Bearer {SECRET}"));
        std::fs::write(&path, "another").unwrap();
        token.reload();
        assert_eq!(same.header().unwrap().to_str().unwrap(), "Bearer another");
        let fresh = ApiToken::in_file(&path);
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
            let found = ApiToken::in_file(&path).exposure();
            assert_eq!(found.is_some(), remedy.is_some(), "{mode:o}: {found:?}");
            if let (Some(found), Some(remedy)) = (found, remedy) {
                assert!(found.contains(remedy) && found.contains(&path.display().to_string()), "{found}");
            }
        }
        assert_eq!(exposure(&folder.path().join("missing")), None);
    }
}

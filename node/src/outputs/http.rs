//! HTTP client of a receiver.
//!
//! * Answers are read up to [`MAX_BODY`], within the timeout of the request.
//! * Redirects are not followed: a receiver gets records and credentials at its configured address only.
//! * The file with a password or token is read by the first request, and again by the request after an answer 401 or
//!   403. Neither is ever part of a message.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use atalaya_config::OutputConfig;
use atalaya_hal::read_limited;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::tls::Certificate;
use reqwest::{Client, Response, StatusCode, Url};
use tracing::warn;

use super::{Outcome, Sender};
use crate::http_client::{self, is_local, read_body, root_cause, with_clock_hint};
use crate::model::text::{sanitize_for_log, truncate};
use crate::settings::api_token::exposure;

/// Maximum size of a body that is read, in bytes. The rest is discarded, and the connection is closed.
const MAX_BODY: usize = 16 * 1024;
/// Maximum length of the receiver's own words in a reason, in characters.
const MAX_DETAIL: usize = 200;
/// Maximum size of a file with a password or a token, in bytes.
const MAX_SECRET: usize = 4096;
/// Maximum size of a file with certificates, in bytes.
const MAX_CERTIFICATES: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct HttpClient {
    url: Url,
    user_agent: String,
    credentials: Credentials,
    /// Certificates of authorities that are trusted besides those of the system.
    authorities: Vec<Certificate>,
    /// Created by the first request: it takes more memory than the rest of a node.
    client: OnceLock<Client>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Beginning of the body; empty if none has arrived in time.
    pub(super) body: String,
    is_html: bool,
    /// Reason for a status that is not a success, in a sentence without a subject: `it answers …`.
    pub(super) reason: String,
}

impl HttpClient {
    /// Prepares a client that sends to `url`. `token_scheme` is the word before a token: `Bearer`, or `Token` for
    /// InfluxDB. The error names the problem of the settings.
    pub(super) fn new(
        config: &OutputConfig,
        url: Url,
        token_scheme: &'static str,
        sender: &Sender,
    ) -> Result<HttpClient, String> {
        let authorities = match &config.ca {
            None => Vec::new(),
            Some(file) => read_certificates(Path::new(&file.value))
                .map_err(|problem| format!("the certificates in {}: {problem}", file.value))?,
        };
        let node = sender.node.as_str().escape_default();
        Ok(HttpClient {
            url,
            user_agent: format!("atalaya/{} (node {node})", env!("CARGO_PKG_VERSION")),
            credentials: Credentials::new(config, token_scheme)?,
            authorities,
            client: OnceLock::new(),
        })
    }

    /// Sends a POST request and waits for the answer, up to `timeout`. The error is the reason why there is none.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the receiver may have stored the records or not.
    pub(super) async fn post(
        &self,
        headers: HeaderMap,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Answer, String> {
        match tokio::time::timeout(timeout, self.try_post(headers, body, timeout)).await {
            Ok(result) => result,
            Err(_) => Err(no_answer(timeout)),
        }
    }

    async fn try_post(&self, headers: HeaderMap, body: Vec<u8>, timeout: Duration) -> Result<Answer, String> {
        let setup_error = |error: reqwest::Error| format!("cannot set up HTTP: {}", root_cause(&error));
        let mut request = self.client().map_err(setup_error)?.post(self.url.clone()).headers(headers);
        if let Some(authorization) = self.credentials.header().await? {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response =
            request.body(body).timeout(timeout).send().await.map_err(|error| match error.is_timeout() {
                true => no_answer(timeout),
                false => with_clock_hint(root_cause(&error), SystemTime::now()),
            })?;
        Ok(self.answer(response).await)
    }

    async fn answer(&self, mut response: Response) -> Answer {
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let is_html =
            header(CONTENT_TYPE).is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
        let location = header(LOCATION).and_then(|to| self.url.join(to).ok());
        let body = read_body(&mut response, MAX_BODY).await.unwrap_or_default();
        let body = String::from_utf8_lossy(&body).into_owned();
        let mut reason = format!("it answers {status}");
        match (status, location) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                self.credentials.read_again();
                reason += &format!(" to {}", self.credentials.description());
            }
            (status, Some(to)) if status.is_redirection() => {
                let to = format!("{}{}", to.origin().ascii_serialization(), to.path());
                reason += &format!(" and redirects to {}: write that address", sanitize_for_log(&to));
            }
            _ => {}
        }
        let detail = detail(&body);
        if !is_html && !detail.is_empty() {
            reason += &format!(": {}", truncate(&detail, MAX_DETAIL));
        }
        Answer { status, body, is_html, reason }
    }

    fn client(&self) -> reqwest::Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = http_client::builder().user_agent(&self.user_agent).redirect(Policy::none());
        builder = match self.url.scheme() {
            // Without TLS, reading the machine's certificates is useless work.
            "http" => builder.tls_certs_only(std::iter::empty()),
            _ => builder.tls_certs_merge(self.authorities.iter().cloned()),
        };
        if is_local(&self.url) {
            builder = builder.no_proxy();
        }
        let client = builder.build()?;
        Ok(self.client.get_or_init(|| client))
    }
}

impl Answer {
    /// Returns the outcome of a request that stores all records of its body or none.
    pub(super) fn outcome(self) -> Outcome {
        match self.status {
            status if status.is_success() => Outcome::Accepted(Vec::new()),
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => Outcome::Refused(self.reason),
            _ => Outcome::Failed(self.reason),
        }
    }

    /// Returns the outcome as [`Answer::outcome`] for a receiver that never answers with a page of HTML: such an answer
    /// is from a proxy or a login page.
    pub(super) fn outcome_of_api(mut self) -> Outcome {
        if self.is_html {
            self.reason += " with a page of HTML, so it is not the receiver that answers";
            return Outcome::Failed(self.reason);
        }
        self.outcome()
    }
}

/// User and password, or a token.
#[derive(Debug)]
struct Credentials {
    kind: Kind,
    /// Value of the header, marked as sensitive. `None`: the file must be read.
    header: Mutex<Option<HeaderValue>>,
}

#[derive(Clone, Debug)]
enum Kind {
    None,
    /// User, with a file for the password.
    Basic(String, Option<PathBuf>),
    /// Scheme and file.
    Token(&'static str, PathBuf),
}

impl Credentials {
    fn new(config: &OutputConfig, token_scheme: &'static str) -> Result<Credentials, String> {
        let file = |file: &Option<atalaya_config::Located<String>>| {
            file.as_ref().map(|file| PathBuf::from(&file.value))
        };
        let kind = match (&config.user, file(&config.token_file)) {
            (Some(_), Some(_)) => return Err("it has a user and a token".to_owned()),
            (None, None) => Kind::None,
            (Some(user), None) if user.value.contains(':') => {
                return Err("the user name contains a colon, which HTTP does not allow".to_owned());
            }
            (Some(user), None) => Kind::Basic(user.value.clone(), file(&config.password_file)),
            (None, Some(token)) => Kind::Token(token_scheme, token),
        };
        if let Kind::Basic(_, Some(file)) | Kind::Token(_, file) = &kind
            && let Some(exposure) = exposure(file)
        {
            warn!(output = config.name, "{exposure}");
        }
        Ok(Credentials { kind, header: Mutex::default() })
    }

    /// Returns the header, and reads its file if that is necessary.
    async fn header(&self) -> Result<Option<HeaderValue>, String> {
        if let Kind::None = self.kind {
            return Ok(None);
        }
        let known = self.header.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() {
            return Ok(known);
        }
        let kind = self.kind.clone();
        // The disk may hang; the caller has a timeout.
        let read = tokio::task::spawn_blocking(move || kind.read()).await;
        let header = read.map_err(|error| error.to_string())??;
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = Some(header.clone());
        Ok(Some(header))
    }

    /// Makes the next request read the file again.
    fn read_again(&self) {
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn description(&self) -> String {
        match &self.kind {
            Kind::None => "a request without user and token (user, password_file, token_file)".to_owned(),
            Kind::Basic(user, None) => format!("the user {user} without a password"),
            Kind::Basic(user, Some(file)) => {
                format!("the user {user} with the password in {}", file.display())
            }
            Kind::Token(_, file) => format!("the token in {}", file.display()),
        }
    }
}

impl Kind {
    fn read(&self) -> Result<HeaderValue, String> {
        let text = match self {
            Kind::None => String::new(),
            Kind::Basic(user, None) => format!("Basic {}", STANDARD.encode(format!("{user}:"))),
            Kind::Basic(user, Some(file)) => {
                let password = read_secret(file).map_err(|problem| message("password", file, problem))?;
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
            Kind::Token(scheme, file) => {
                let token = read_secret(file).map_err(|problem| message("token", file, problem))?;
                if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(message("token", file, "it is not one word of ASCII characters".to_owned()));
                }
                format!("{scheme} {token}")
            }
        };
        let mut header = HeaderValue::try_from(text).map_err(|_| "credentials cannot be sent".to_owned())?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn message(name: &str, file: &Path, problem: String) -> String {
    format!("the {name} in {}: {problem}", file.display())
}

/// Reads a password or a token: the first line of a file that has no other.
fn read_secret(file: &Path) -> Result<String, String> {
    let bytes = read_limited(file, MAX_SECRET).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let line = text.trim_end_matches(['\r', '\n']);
    match line {
        "" => Err("it is empty".to_owned()),
        line if line.contains(['\r', '\n']) => Err("it has several lines".to_owned()),
        line => Ok(line.to_owned()),
    }
}

fn read_certificates(file: &Path) -> Result<Vec<Certificate>, String> {
    let pem = read_limited(file, MAX_CERTIFICATES).map_err(|error| error.to_string())?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if certificates.is_empty() => Err("it has no certificate (PEM)".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(root_cause(&error)),
    }
}

/// Returns the receiver's own words: `error` or `message` of JSON, otherwise the body.
fn detail(body: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let text = ["error", "message"].iter().find_map(|name| json[name].as_str());
    text.unwrap_or(body).trim().to_owned()
}

fn no_answer(timeout: Duration) -> String {
    format!("no answer within {timeout:?}")
}

pub(super) fn parse_url(config: &OutputConfig) -> Result<Url, String> {
    let url = Url::parse(&config.url.value).map_err(|error| format!("the address is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address contains a user or a password: use `user` and `password_file`".to_owned());
    }
    if url.fragment().is_some() {
        return Err("the address contains a `#`".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
#[cfg(feature = "history")]
#[path = "http_tests.rs"]
mod tests;

//! Tokens, TLS certificate, and credentials for Redis.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use atalaya_collector::{RedisAccess, Tls, Tokens};
use atalaya_hal::read_limited;
use tracing::warn;

use crate::commands::exit::Failure;
use crate::settings::api_token::exposure;

/// Maximum size of a file with tokens, a password, certificates or a key, in bytes.
const MAX_SIZE: usize = 1 << 20;

pub(super) fn read_tokens(path: &Path) -> anyhow::Result<Tokens> {
    // `read_limited` refuses pipes, which would block this read and all later reloads.
    let text = read_limited(path, MAX_SIZE).map_err(anyhow::Error::from);
    let text = text.and_then(|bytes| String::from_utf8(bytes).context("the file is not UTF-8 text"));
    let tokens = text.and_then(|text| Ok(Tokens::parse(&text)?));
    let tokens = tokens.with_context(|| format!("the token file {}", path.display()))?;
    warn_if_exposed("the token file", path);
    Ok(tokens)
}

/// Loads the certificate and its key. Returns `None` if neither is given.
pub(super) fn load_tls(certificate: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<Tls>, Failure> {
    let Some((certificate, key)) = pair("tls", certificate, key)? else { return Ok(None) };
    warn_if_exposed("the TLS key", &key);
    Tls::load(certificate, key).map(Some).map_err(Failure::config)
}

/// Returns a certificate with its key, or `None` if neither is given.
fn pair<T>(flag: &str, certificate: Option<T>, key: Option<T>) -> Result<Option<(T, T)>, Failure> {
    if certificate.is_some() != key.is_some() {
        return Err(Failure::usage(anyhow!("--{flag}-certificate and --{flag}-key must be given together")));
    }
    Ok(certificate.zip(key))
}

fn warn_if_exposed(what: &str, path: &Path) {
    if let Some(exposure) = exposure(path) {
        warn!("{what} is not private: {exposure}");
    }
}

/// Reads the files with a password, trusted certificates, a client certificate and its key. Returns `None` if none is
/// given.
pub(super) fn redis_access(files: [Option<PathBuf>; 4]) -> Result<Option<RedisAccess>, Failure> {
    if files.iter().all(Option::is_none) {
        return Ok(None);
    }
    let [password, ca, certificate, key] = files;
    let read = |what: &str, path: &PathBuf| {
        let bytes = read_limited(path, MAX_SIZE);
        bytes.map_err(|error| Failure::config(anyhow!("{what} in {}: {error}", path.display())))
    };
    let mut access = RedisAccess::default();
    if let Some(path) = &password {
        warn_if_exposed("the file with the password for Redis", path);
        let text = String::from_utf8(read("the password for Redis", path)?).unwrap_or_default();
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.chars().any(char::is_control) {
            let problem = "expected one line of text";
            return Err(Failure::config(anyhow!("the password for Redis in {}: {problem}", path.display())));
        }
        access.password = Some(text.to_owned());
    }
    access.ca = ca.as_ref().map(|path| read("the CA certificates for Redis", path)).transpose()?;
    if let Some((certificate, key)) = pair("redis", certificate, key)? {
        warn_if_exposed("the key for Redis", &key);
        let certificate = read("the certificate for Redis", &certificate)?;
        access.certificate = Some((certificate, read("the key for Redis", &key)?));
    }
    Ok(Some(access))
}
